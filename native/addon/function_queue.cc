#include "function_queue.h"

#include <algorithm>
#include <span>

#include "js_objects.h"
#include "option_reader.h"

namespace batched {
namespace {

// The calls of a tick, in numbers: rows, priority and deadline (milliseconds from now, < 0: none) each.
constexpr std::size_t kNumbersPerCall = 3;

template <typename T>
std::span<T> span_of(const Napi::Value& value) {
  napi_typedarray_type type = napi_uint8_array;
  std::size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(value.Env(), value, &type, &length, &data, nullptr, nullptr) != napi_ok)
    return {};
  return {static_cast<T*>(data), length};
}

QueueBounds queue_bounds(const OptionReader& options) {
  QueueBounds bounds;
  bounds.max_rows = options.size("maxQueueRows");
  return bounds;
}

}  // namespace

Napi::Function FunctionQueue::define(Napi::Env env) {
  return DefineClass(env, "FunctionQueue",
                     {
                         InstanceMethod<&FunctionQueue::admit>("admit"),
                         InstanceMethod<&FunctionQueue::admit_singles>("admitSingles"),
                         InstanceMethod<&FunctionQueue::next>("next"),
                         InstanceMethod<&FunctionQueue::last_batch>("lastBatch"),
                         InstanceMethod<&FunctionQueue::finish>("finish"),
                         InstanceMethod<&FunctionQueue::remove>("remove"),
                         InstanceMethod<&FunctionQueue::queued>("queued"),
                         InstanceMethod<&FunctionQueue::count>("count"),
                         InstanceAccessor<&FunctionQueue::size>("size"),
                         InstanceMethod<&FunctionQueue::stats>("stats"),
                         InstanceMethod<&FunctionQueue::clear_stats>("clearStats"),
                     });
}

FunctionQueue::FunctionQueue(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<FunctionQueue>(info),
      scheduler_(OptionReader(info[0].As<Napi::Object>()).policy(),
                 queue_bounds(OptionReader(info[0].As<Napi::Object>())), false),
      clock_(steady_clock()) {}

void FunctionQueue::add_blocks(std::uint32_t slot) {
  while (slot >= blocks_.size() * kRowsPerBlock) {
    auto block = std::make_unique<SlotRow[]>(kRowsPerBlock);
    for (std::size_t i = 0; i < kRowsPerBlock; ++i) {
      block[i].slot = static_cast<std::uint32_t>(blocks_.size() * kRowsPerBlock + i);
    }
    blocks_.push_back(std::move(block));
  }
}

// Rows of a tick were enqueued at the same time, and are neighbours: each such run is recorded at once.
template <typename Rows>
void FunctionQueue::record_ages(const Rows& rows, Nanos now, Histogram* histogram) {
  Nanos enqueued = 0;
  std::uint32_t times = 0;
  for (const Row* const row : rows) {
    if (times > 0 && row->enqueued != enqueued) {
      histogram->record(now - enqueued, times);
      times = 0;
    }
    enqueued = row->enqueued;
    ++times;
  }
  if (times > 0) histogram->record(now - enqueued, times);
}

// admit(slots, lengths, groups, calls, callCount): the number of calls refused because the queue is full;
// their number of rows is made negative.
Napi::Value FunctionQueue::admit(const Napi::CallbackInfo& info) {
  const auto slots = span_of<std::uint32_t>(info[0]);
  const auto lengths = span_of<std::uint32_t>(info[1]);
  const auto groups = span_of<std::uint32_t>(info[2]);
  const auto calls = span_of<double>(info[3]);
  const auto call_count = static_cast<std::size_t>(info[4].As<Napi::Number>().Uint32Value());
  const Nanos now = clock_.now();
  double refused = 0;
  std::size_t at = 0;
  for (std::size_t c = 0; c < call_count && (c + 1) * kNumbersPerCall <= calls.size(); ++c) {
    double* const call = calls.data() + c * kNumbersPerCall;
    const auto rows = std::min(static_cast<std::size_t>(call[0]), slots.size() - at);
    const Nanos deadline =
        call[2] < 0 ? kNever : later(now, static_cast<Nanos>(call[2] * static_cast<double>(kMillisecond)));
    entering_.clear();
    for (std::size_t r = at; r < at + rows; ++r) {
      Row* const row = row_at(slots[r]);
      row->length = r < lengths.size() ? lengths[r] : 1;
      row->group = r < groups.size() ? groups[r] : 0;
      row->deadline = deadline;
      entering_.push_back(row);
    }
    at += rows;
    if (scheduler_.admit(entering_, 0, call[1], now).ok()) {
      counters_.admitted += rows;
    } else {
      counters_.rejected += rows;
      call[0] = -call[0];
      ++refused;
    }
  }
  return Napi::Number::New(info.Env(), refused);
}

// admitSingles(slots, lengths, count): admits calls of one row each, without priority or deadline; how many
// of them found room. The later ones are refused.
Napi::Value FunctionQueue::admit_singles(const Napi::CallbackInfo& info) {
  const auto slots = span_of<std::uint32_t>(info[0]);
  const auto lengths = span_of<std::uint32_t>(info[1]);
  const auto count =
      std::min(static_cast<std::size_t>(info[2].As<Napi::Number>().Uint32Value()), slots.size());
  const Nanos now = clock_.now();
  std::size_t admitted = 0;
  for (; admitted < count; ++admitted) {
    Row* const row = row_at(slots[admitted]);
    row->length = admitted < lengths.size() ? lengths[admitted] : 1;
    row->group = 0;
    row->deadline = kNever;
    if (!scheduler_.admit(std::span(&row, 1), 0, 0, now).ok()) break;
  }
  counters_.admitted += admitted;
  counters_.rejected += count - admitted;
  return Napi::Number::New(info.Env(), static_cast<double>(admitted));
}

// next(batch, force): > 0: so many slots were written to `batch` and are bound; 0: nothing to do;
// < 0: ask again in that many milliseconds. `force` does not wait for a fuller batch.
Napi::Value FunctionQueue::next(const Napi::CallbackInfo& info) {
  const auto out = span_of<std::uint32_t>(info[0]);
  const Nanos now = clock_.now();
  const Nanos asked = info[1].As<Napi::Boolean>() ? kNever : now;
  const Decision& decision = scheduler_.next(LaneView{}, asked, &batch_);
  if (decision.kind == Decision::Kind::kIdle) return Napi::Number::New(info.Env(), 0);
  if (decision.kind == Decision::Kind::kWaitUntil) {
    const auto wait = static_cast<double>(decision.until - now) / static_cast<double>(kMillisecond);
    return Napi::Number::New(info.Env(), -std::max(wait, 0.01));
  }
  std::uint64_t useful = 0;
  std::uint32_t longest = 0;
  for (std::size_t r = 0; r < batch_.size() && r < out.size(); ++r) {
    const auto* row = static_cast<const SlotRow*>(batch_[r]);
    out[r] = row->slot;
    useful += row->length;
    longest = std::max(longest, row->length);
  }
  reason_ = decision.reason;
  record_ages(batch_, now, &counters_.queue_time);
  counters_.count_batch(batch_.size(), useful, std::uint64_t{longest} * batch_.size(), decision.reason);
  return Napi::Number::New(info.Env(), static_cast<double>(batch_.size()));
}

// lastBatch(): what next() has just bound.
Napi::Value FunctionQueue::last_batch(const Napi::CallbackInfo& info) {
  const Nanos now = clock_.now();
  BatchFacts facts;
  std::uint32_t longest = 0;
  for (const Row* const row : batch_) {
    facts.tokens += row->length;
    facts.queued = std::max(facts.queued, now - row->enqueued);
    longest = std::max(longest, row->length);
  }
  facts.rows = batch_.size();
  facts.padded_tokens = std::uint64_t{longest} * batch_.size();
  facts.reason = reason_;
  return facts_object(info.Env(), facts);
}

// finish(batch, milliseconds, processed): the bound rows have been run; so many of them were settled with a
// result.
void FunctionQueue::finish(const Napi::CallbackInfo& info) {
  const auto batch = span_of<std::uint32_t>(info[0]);
  const double milliseconds = info[1].As<Napi::Number>().DoubleValue();
  counters_.processing_time.record(static_cast<Nanos>(milliseconds * static_cast<double>(kMillisecond)));
  batch_.clear();
  for (const std::uint32_t slot : batch) batch_.push_back(row_at(slot));
  record_ages(batch_, clock_.now(), &counters_.total_time);
  counters_.count_settled(Code::kOk, info[2].As<Napi::Number>().Uint32Value());
}

// remove(slot): whether the row was still waiting.
Napi::Value FunctionQueue::remove(const Napi::CallbackInfo& info) {
  Row* const row = row_at(info[0].As<Napi::Number>().Uint32Value());
  const bool queued = row->queued();
  if (queued) scheduler_.remove(row);
  return Napi::Boolean::New(info.Env(), queued);
}

// queued(slot): whether the row is waiting.
Napi::Value FunctionQueue::queued(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), row_at(info[0].As<Napi::Number>().Uint32Value())->queued());
}

// count(code, rows): so many rows ended with that code.
void FunctionQueue::count(const Napi::CallbackInfo& info) {
  const auto code = static_cast<Code>(info[0].As<Napi::Number>().Uint32Value());
  counters_.count_settled(code, info[1].As<Napi::Number>().Uint32Value());
}

Napi::Value FunctionQueue::size(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(scheduler_.rows()));
}

Napi::Value FunctionQueue::stats(const Napi::CallbackInfo& info) {
  Napi::Object object = counters_object(info.Env(), counters_);
  object.Set("queueRows", static_cast<double>(scheduler_.rows()));
  object.Set("queueTokens", static_cast<double>(scheduler_.tokens()));
  return object;
}

void FunctionQueue::clear_stats(const Napi::CallbackInfo& /*info*/) { counters_.clear(); }

}  // namespace batched
