#include "js_objects.h"

#include <array>

namespace batched {
namespace {

// The order of DispatchReason.
constexpr std::array<const char*, static_cast<std::size_t>(DispatchReason::kCount)> kReasonNames = {
    "full", "idle", "timeout", "staged"};

double milliseconds(Nanos nanos) { return static_cast<double>(nanos) / static_cast<double>(kMillisecond); }

Napi::Array tensor_specs(Napi::Env env, const std::vector<TensorSpec>& specs) {
  auto list = Napi::Array::New(env, specs.size());
  for (std::uint32_t i = 0; i < specs.size(); ++i) {
    const TensorSpec& spec = specs[i];
    auto dims = Napi::Array::New(env, spec.axes.size());
    auto symbols = Napi::Array::New(env, spec.axes.size());
    for (std::uint32_t axis = 0; axis < spec.axes.size(); ++axis) {
      dims.Set(axis, static_cast<double>(spec.axes[axis].size));
      symbols.Set(axis, spec.axes[axis].symbol);
    }
    auto object = Napi::Object::New(env);
    object.Set("name", spec.name);
    object.Set("type", dtype_name(spec.dtype));
    object.Set("dims", dims);
    object.Set("symbols", symbols);
    object.Set("batchAxis", spec.batch_axis);
    list.Set(i, object);
  }
  return list;
}

Napi::Object percentiles(Napi::Env env, const Histogram& histogram) {
  auto object = Napi::Object::New(env);
  object.Set("p50", milliseconds(histogram.percentile(0.5)));
  object.Set("p90", milliseconds(histogram.percentile(0.9)));
  object.Set("p99", milliseconds(histogram.percentile(0.99)));
  object.Set("max", milliseconds(histogram.max()));
  object.Set("sum", histogram.sum() / static_cast<double>(kMillisecond));
  object.Set("count", static_cast<double>(histogram.count()));
  return object;
}

}  // namespace

Napi::Object status_object(Napi::Env env, const Status& status) {
  auto object = Napi::Object::New(env);
  object.Set("code", static_cast<double>(status.code()));
  object.Set("message", status.message());
  return object;
}

Napi::Object signature_object(Napi::Env env, const Signature& signature) {
  auto object = Napi::Object::New(env);
  object.Set("inputs", tensor_specs(env, signature.inputs));
  object.Set("outputs", tensor_specs(env, signature.outputs));
  object.Set("fixedBatch", static_cast<double>(signature.fixed_batch));
  return object;
}

Napi::Object counters_object(Napi::Env env, const Counters& counters) {
  auto object = Napi::Object::New(env);
  const auto set = [&](const char* name, std::uint64_t value) {
    object.Set(name, static_cast<double>(value));
  };
  set("admitted", counters.admitted);
  set("processed", counters.processed);
  set("failed", counters.failed);
  set("cancelled", counters.cancelled);
  set("timedOut", counters.timed_out);
  set("closed", counters.closed);
  set("rejected", counters.rejected);
  set("isolated", counters.isolated);
  set("batches", counters.batches);
  set("retries", counters.retries);
  set("batchRows", counters.batch_rows);
  set("usefulTokens", counters.useful_tokens);
  set("paddedTokens", counters.padded_tokens);
  auto reasons = Napi::Object::New(env);
  for (std::size_t reason = 0; reason < kReasonNames.size(); ++reason) {
    reasons.Set(kReasonNames[reason], static_cast<double>(counters.reasons[reason]));
  }
  object.Set("dispatchReasons", reasons);
  auto sizes = Napi::Object::New(env);
  for (std::uint32_t rows = 0; rows < counters.batch_sizes.size(); ++rows) {
    if (counters.batch_sizes[rows] > 0) sizes.Set(rows, static_cast<double>(counters.batch_sizes[rows]));
  }
  object.Set("batchSizes", sizes);
  object.Set("queueTime", percentiles(env, counters.queue_time));
  object.Set("processingTime", percentiles(env, counters.processing_time));
  object.Set("totalTime", percentiles(env, counters.total_time));
  return object;
}

Napi::Object stats_object(Napi::Env env, const EngineStats& stats) {
  Napi::Object object = counters_object(env, stats.counters);
  object.Set("queueRows", static_cast<double>(stats.queue_rows));
  object.Set("queueTokens", static_cast<double>(stats.queue_tokens));
  object.Set("heldBytes", static_cast<double>(stats.held_bytes));
  object.Set("elapsed", milliseconds(stats.elapsed));
  auto lanes = Napi::Array::New(env, stats.lanes.size());
  for (std::uint32_t i = 0; i < stats.lanes.size(); ++i) {
    const LaneStats& lane = stats.lanes[i];
    auto entry = Napi::Object::New(env);
    entry.Set("name", lane.name);
    entry.Set("batches", static_cast<double>(lane.batches));
    const auto elapsed = static_cast<double>(stats.elapsed > 0 ? stats.elapsed : 1);
    entry.Set("busy", static_cast<double>(lane.busy) / elapsed);
    entry.Set("healthy", lane.healthy);
    if (lane.device) {
      auto device = Napi::Object::New(env);
      device.Set("busy", static_cast<double>(lane.device->computed) / elapsed);
      device.Set("bytes", static_cast<double>(lane.device->bytes));
      device.Set("graphs", static_cast<double>(lane.device->graphs));
      entry.Set("device", device);
    }
    lanes.Set(i, entry);
  }
  object.Set("lanes", lanes);
  return object;
}

Napi::Object facts_object(Napi::Env env, const BatchFacts& facts) {
  auto object = Napi::Object::New(env);
  object.Set("rows", static_cast<double>(facts.rows));
  object.Set("tokens", static_cast<double>(facts.tokens));
  object.Set("paddedTokens", static_cast<double>(facts.padded_tokens));
  object.Set("reason", kReasonNames[static_cast<std::size_t>(facts.reason)]);
  object.Set("queueMs", milliseconds(facts.queued));
  return object;
}

Napi::Object report_object(Napi::Env env, const BatchReport& report) {
  auto object = Napi::Object::New(env);
  object.Set("name", report.name);
  object.Set("lane", report.lane);
  object.Set("facts", facts_object(env, report.facts));
  object.Set("durationMs", milliseconds(report.duration));
  if (!report.status.ok()) object.Set("refusal", status_object(env, report.status));
  return object;
}

}  // namespace batched
