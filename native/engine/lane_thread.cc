#include "lane_thread.h"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#include "thread.h"
#include "trace.h"

namespace batched {
namespace {

bool may_isolate(Code code) { return code == Code::kBackend || code == Code::kOutOfMemory; }

// Of one batch, this many rows at fault are found; with more of them the model is rather at fault itself.
constexpr std::size_t kMostRowsAtFault = 4;

// Enough to halve down to one row at fault, running both halves at each level.
std::size_t runs_to_find_a_row(std::size_t rows) {
  return 2 * static_cast<std::size_t>(std::bit_width(rows - 1)) + 1;
}

}  // namespace

LaneThread::LaneThread(std::unique_ptr<Lane> lane, const Signature& signature, const BatchLayout& layout,
                       Dispatcher& dispatcher, Clock& clock)
    : lane_(std::move(lane)), signature_(signature), layout_(layout), dispatcher_(dispatcher), clock_(clock) {
  state_.slots = state_.free_slots = lane_->slots();
  state_.stats.name = lane_->name();
  for (std::size_t slot = lane_->slots(); slot-- > 0;) free_slots_.push_back(slot);
  dispatcher_.add_lane(&state_);
}

void LaneThread::interrupt() {
  const MutexLock lock(lane_mutex_);
  if (lane_) lane_->interrupt();
}

std::optional<DeviceUse> LaneThread::device_use() {
  const MutexLock lock(lane_mutex_);
  std::optional<DeviceUse> use = lane_ ? lane_->device_use() : std::nullopt;
  if (use) use->computed -= computed_before_.load(std::memory_order_relaxed);
  return use;
}

void LaneThread::clear_device_use() {
  const MutexLock lock(lane_mutex_);
  if (const std::optional<DeviceUse> use = lane_ ? lane_->device_use() : std::nullopt) {
    computed_before_.store(use->computed, std::memory_order_relaxed);
  }
}

void LaneThread::join() {
  if (thread_.joinable()) thread_.join();
}

void LaneThread::start() {
  thread_ = std::thread([this] { loop(); });
}

void LaneThread::loop() {
  name_this_thread(lane_->name());
  yield_to_javascript();
  Batch batch;
  Completion completion;
  for (;;) {
    if (running_.empty() && !retries_.empty()) {
      batch = std::move(retries_.front());
      retries_.pop_front();
      dispatcher_.take_slot(&state_);
      if (lost_) {
        dispatcher_.finish(&state_, &batch, lost_status_, nullptr);
      } else if (stage(&batch)) {
        run_staged();
      }
      continue;
    }
    if (lost_ && running_.empty()) break;
    // While rows wait to be run again nothing new is bound, or a saturated lane would never come to them.
    const bool takes_work = retries_.empty() && !lost_;
    switch (dispatcher_.wait(&state_, takes_work, &batch, &completion)) {
      case Dispatcher::Step::kBatch:
        if (stage(&batch)) run_staged();
        break;
      case Dispatcher::Step::kCompleted:
        complete(completion);
        break;
      case Dispatcher::Step::kRetire:
        end({});
        return;
    }
  }
  end(lost_status_);
}

void LaneThread::end(const Status& lost) {
  std::unique_ptr<Lane> lane;
  {
    const MutexLock lock(lane_mutex_);
    lane = std::move(lane_);
  }
  lane.reset();
  dispatcher_.retire(&state_, lost);
}

bool LaneThread::stage(Batch* batch) {
  if (!dispatcher_.drop_settled(&state_, batch)) return false;
  const TraceRange range("stage", batch->rows.size());
  const Nanos begin = clock_.now();
  gathered_.clear();
  batch->shape.rows = batch->rows.size();
  batch->shape.longest = 0;
  batch->tokens = 0;
  for (const CallRow* const row : batch->rows) {
    gathered_.push_back(row->call->inputs_of(*row));
    batch->shape.longest = std::max(batch->shape.longest, row->length);
    batch->tokens += row->length;
  }
  layout_.fit(gathered_, &batch->shape);
  batch->slot = free_slots_.back();
  free_slots_.pop_back();
  const Status status = lane_->stage(batch->slot, batch->shape, &inputs_);
  if (!status.ok()) {
    free_slots_.push_back(batch->slot);
    fail(std::move(*batch), status);
    return false;
  }
  for (std::size_t i = 0; i < signature_.inputs.size(); ++i) {
    layout_.gather(gathered_, batch->shape, i, inputs_[i]);
  }
  batch->staging = clock_.now() - begin;
  staged_.push_back(std::move(*batch));
  return true;
}

void LaneThread::run_staged() {
  while (!staged_.empty() && running_.size() < lane_->runs()) {
    running_.push_back(std::move(staged_.front()));
    staged_.pop_front();
    Batch& batch = running_.back();
    dispatcher_.started(&state_, &batch);
    const TraceRange range("run", trace_batch(batch.rows.size(), batch.shape.padded_tokens(), batch.tokens));
    const Nanos begin = clock_.now();
    lane_->run(batch.slot, batch.shape, batch.alone,
               [this](Status status) { dispatcher_.completed(&state_, std::move(status)); });
    if (lane_->runs() > 1) dispatcher_.launched(&state_, clock_.now() - begin);
  }
}

void LaneThread::complete(const Completion& completion) {
  Batch batch = std::move(running_.front());
  running_.pop_front();
  batch.began = completion.began;
  batch.ended = completion.ended;
  const Status& status = completion.status;
  if (status.code() != Code::kDeviceLost) run_staged();
  if (status.ok()) {
    dispatcher_.count_run(&state_, batch);
    scatter(&batch);
    return;
  }
  report(batch, status);
  free_slots_.push_back(batch.slot);
  fail(std::move(batch), status);
  if (!lost_) return;
  for (; !staged_.empty(); staged_.pop_front()) {
    free_slots_.push_back(staged_.front().slot);
    dispatcher_.finish(&state_, &staged_.front(), status, nullptr);
  }
}

void LaneThread::scatter(Batch* batch) {
  const TraceRange range("scatter", batch->rows.size());
  const BatchOutputs outputs{layout_, batch->shape, lane_->outputs(batch->slot)};
  const Status status = check_outputs(*batch, outputs.tensors);
  report(*batch, status);
  if (status.ok()) {
    store_rows(*batch, outputs);
    dispatcher_.finish(&state_, batch, status, &outputs);
  } else {
    dispatcher_.finish(&state_, batch, status, nullptr);
  }
  free_slots_.push_back(batch->slot);
}

void LaneThread::report(const Batch& batch, const Status& status) {
  if (!dispatcher_.watchers().any()) return;
  BatchReport report;
  report.lane = state_.stats.name;
  report.facts.rows = batch.rows.size();
  report.facts.padded_tokens = batch.shape.padded_tokens();
  report.facts.reason = batch.reason;
  report.facts.tokens = batch.tokens;
  for (const CallRow* const row : batch.rows) {
    report.facts.queued = std::max(report.facts.queued, batch.began - row->enqueued);
  }
  report.duration = batch.ended - batch.began;
  report.status = status;
  dispatcher_.watchers().tell(std::move(report));
}

void LaneThread::fail(Batch batch, const Status& status) {
  if (status.code() == Code::kDeviceLost && !lost_) {
    lost_ = true;
    lost_status_ = status;
  }
  const std::size_t rows = batch.rows.size();
  if (rows == 1 || !may_isolate(status.code())) {
    if (batch.retry_budget && batch.retry_budget->rows > 0) {
      --batch.retry_budget->rows;
      batch.retry_budget->runs = batch.retry_budget->per_row;
    }
    dispatcher_.finish(&state_, &batch, status, nullptr);
    return;
  }
  const bool memory = status.code() == Code::kOutOfMemory;
  if (!batch.retry_budget) {
    const std::size_t runs = runs_to_find_a_row(rows);
    batch.retry_budget = std::make_shared<RetryBudget>(RetryBudget{runs, runs, kMostRowsAtFault - 1});
  }
  if (!memory) {
    if (batch.retry_budget->runs < 2) {
      dispatcher_.finish(&state_, &batch, status, nullptr);
      return;
    }
    batch.retry_budget->runs -= 2;
  }
  dispatcher_.retry(&state_, memory ? batch.shape.padded_tokens() / 2 : 0);
  Batch second = batch;
  const auto middle = static_cast<std::ptrdiff_t>(rows / 2);
  second.rows.erase(second.rows.begin(), second.rows.begin() + middle);
  batch.rows.resize(rows / 2);
  retries_.push_front(std::move(second));
  retries_.push_front(std::move(batch));
}

// Before anything is indexed by row: an output must be of the promised type and have a place for each.
Status LaneThread::check_outputs(const Batch& batch, std::span<const TensorView> outputs) const {
  if (outputs.size() != signature_.outputs.size()) {
    return {Code::kOutputMismatch, "the lane gave " + std::to_string(outputs.size()) +
                                       " outputs instead of " + std::to_string(signature_.outputs.size())};
  }
  for (std::size_t o = 0; o < outputs.size(); ++o) {
    const TensorSpec& spec = signature_.outputs[o];
    if (!spec.axes.empty() && outputs[o].dims.rank() != spec.axes.size()) {
      return {Code::kOutputMismatch, "output '" + spec.name + "' has dims " +
                                         to_string(outputs[o].dims.span()) + " instead of " +
                                         std::to_string(spec.axes.size()) + " axes"};
    }
    if (outputs[o].dtype != spec.dtype) {
      return {Code::kOutputMismatch, "output '" + spec.name + "' is " + dtype_name(outputs[o].dtype) +
                                         " instead of " + dtype_name(spec.dtype)};
    }
    if (!layout_.holds_rows(o, outputs[o].dims, batch.rows.size())) {
      return {Code::kOutputMismatch,
              "output '" + spec.name + "' of dims " + to_string(outputs[o].dims.span()) + " does not have " +
                  std::to_string(batch.rows.size()) + " rows on axis " + std::to_string(spec.batch_axis)};
    }
  }
  return Status::okay();
}

// A call of several rows keeps each row's outputs until its last row is done. No lock: a bound row
// belongs to its lane, and the call lives while a row of it is bound.
void LaneThread::store_rows(const Batch& batch, const BatchOutputs& outputs) const {
  const std::size_t count = signature_.outputs.size();
  for (std::size_t r = 0; r < batch.rows.size(); ++r) {
    Call& call = *batch.rows[r]->call;
    if (call.rows.size() == 1) continue;
    const auto index = static_cast<std::size_t>(batch.rows[r] - call.rows.data());
    std::vector<TensorView> parts(count);
    std::size_t bytes = 0;
    for (std::size_t o = 0; o < count; ++o) {
      parts[o].dtype = signature_.outputs[o].dtype;
      parts[o].dims =
          layout_.row_dims(batch.shape, call.inputs_of(*batch.rows[r]), o, outputs.tensors[o].dims);
      bytes += parts[o].bytes();
    }
    call.row_data[index] = std::make_unique_for_overwrite<std::byte[]>(bytes);
    std::byte* to = call.row_data[index].get();
    for (std::size_t o = 0; o < count; ++o) {
      layout_.scatter(outputs.tensors[o], o, r, parts[o].dims, to);
      parts[o].data = to;
      to += parts[o].bytes();
      call.row_outputs[index * count + o] = parts[o];
    }
  }
}

}  // namespace batched
