#include "dispatcher.h"

#include <algorithm>
#include <cassert>

#include "trace.h"

namespace batched {
namespace {

constexpr const char* kClosedMessage = "the engine is closed";
constexpr const char* kLostMessage = "no lane of the engine is healthy; the last one ended with: ";
constexpr Nanos kStagingMemory = 8;  // batches over which a lane's staging time is averaged

}  // namespace

Dispatcher::Dispatcher(const Signature& signature, const PolicyOptions& policy, const QueueBounds& bounds,
                       const CostModel& cost, Clock& clock)
    : signature_(signature), clock_(clock), scheduler_(policy, bounds, true), counting_since_(clock.now()) {
  scheduler_.cost() = cost;
}

void Dispatcher::add_lane(LaneState* lane) {
  MutexLock lock(mutex_);
  lanes_.push_back(lane);
}

// --- Calls ------------------------------------------------------------------------------------------

Status Dispatcher::admit(std::unique_ptr<Call>& call, Nanos now) {
  if (closing_) return {Code::kClosed, kClosedMessage};
  if (retired_ == lanes_.size()) return lost_;
  if (call->deadline <= now) return {Code::kDeadline, "the deadline had passed when the call was made"};
  entering_.clear();
  for (CallRow& row : call->rows) {
    row.call = call.get();
    row.deadline = call->deadline;
    entering_.push_back(&row);
  }
  Status status = scheduler_.admit(entering_, call->bytes, call->priority, now);
  if (!status.ok()) return status;
  call->rows_left = call->rows.size();
  if (call->rows.size() > 1) {
    call->row_data.resize(call->rows.size());
    call->row_outputs.resize(call->rows.size() * signature_.outputs.size());
  }
  counters_.admitted += call->rows.size();
  if (call->deadline != kNever) {
    expiry_.push(call.get());
    if (expiry_.top() == call.get()) timer_wake_.notify_one();
  }
  if (call->cancellable) cancellable_[{call->sink.get(), call->id}] = call.get();
  Call* const admitted = call.release();  // the rows in the queue own it now
  assert(admitted->rows_left > 0);
  (void)admitted;
  return status;
}

void Dispatcher::submit(std::span<std::unique_ptr<Call>> calls, std::span<Status> statuses) {
  const TraceRange range("admit", calls.size());
  MutexLock lock(mutex_);
  const Nanos now = clock_.now();
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const std::size_t rows = calls[i]->rows.size();
    statuses[i] = admit(calls[i], now);
    if (!statuses[i].ok()) counters_.rejected += rows;
  }
  wake_lanes(scheduler_.rows());
}

Status Dispatcher::submit(std::unique_ptr<Call>& call) {
  Status status;
  submit(std::span(&call, 1), std::span(&status, 1));
  return status;
}

// A settled call gives up the rows that still wait. It is freed by the settlement, outside the lock,
// unless a lane still holds rows of it.
void Dispatcher::settle(Call* call, Code code, std::string message, Settlement* settlement) {
  assert(!call->settled);
  call->settled = true;
  if (call->place_in_expiry != kNotInHeap) expiry_.remove(call);
  if (call->cancellable) cancellable_.erase({call->sink.get(), call->id});
  if (call->rows_left > 0) {
    for (CallRow& row : call->rows) {
      if (!row.queued()) continue;
      scheduler_.remove(&row);
      --call->rows_left;
    }
  }
  counters_.count_settled(code, call->rows.size());
  SettledCall settled;
  settled.id = call->id;
  settled.code = code;
  settled.message = std::move(message);
  if (call->rows_left == 0) {
    scheduler_.release_bytes(call->bytes);
    settled.owned.reset(call);
  } else {
    settled.sink = call->sink;
  }
  settlement->calls.push_back(std::move(settled));
}

void Dispatcher::leave_lane(CallRow* row, Settlement* settlement) {
  Call* const call = row->call;
  assert(call->rows_left > 0);
  --call->rows_left;
  if (!call->settled || call->rows_left > 0) return;
  scheduler_.release_bytes(call->bytes);
  settlement->leftovers.emplace_back(call);
}

// Outside the lock: delivers, and keeps the calls' memory.
void Dispatcher::hand_over(Settlement& settlement, const BatchOutputs* outputs) {
  deliver(settlement, signature_, outputs);
  pool_.give(settlement);
}

bool Dispatcher::cancel(const CompletionSink* sink, std::uint64_t id) {
  Settlement settlement;
  {
    MutexLock lock(mutex_);
    const auto found = cancellable_.find({sink, id});
    if (found == cancellable_.end()) return false;
    settle(found->second, Code::kCancelled, "the call was cancelled", &settlement);
    if (drained()) wake_lanes(lanes_.size());
  }
  hand_over(settlement, nullptr);
  return true;
}

void Dispatcher::settle_waiting(const CompletionSink* only, const Status& status, Settlement* settlement) {
  for (Row* row = scheduler_.oldest(); row != nullptr;) {
    Call* const call = static_cast<CallRow*>(row)->call;
    if (only != nullptr && call->sink.get() != only) {
      row = row->younger;
      continue;
    }
    // Settling removes all waiting rows of the call: go on from the next row of another call.
    Row* next = row->younger;
    while (next != nullptr && static_cast<CallRow*>(next)->call == call) next = next->younger;
    settle(call, status.code(), status.message(), settlement);
    row = next;
  }
}

void Dispatcher::abandon(const CompletionSink* sink) {
  Settlement settlement;
  {
    MutexLock lock(mutex_);
    settle_waiting(sink, {Code::kClosed, kClosedMessage}, &settlement);
    if (drained()) wake_lanes(lanes_.size());
  }
  // Not delivered: nobody is there to be told.
  pool_.forget(sink);
}

void Dispatcher::withdraw(const CompletionSink* sink) {
  Settlement settlement;
  {
    MutexLock lock(mutex_);
    settle_waiting(sink, {Code::kClosed, "the model was closed in this thread"}, &settlement);
    if (drained()) wake_lanes(lanes_.size());
  }
  hand_over(settlement, nullptr);
}

bool Dispatcher::drained() const { return closing_ && scheduler_.rows() == 0; }

void Dispatcher::close(bool drain, std::function<void()> closed) {
  Settlement settlement;
  std::function<void()> at_once;
  {
    MutexLock lock(mutex_);
    closing_ = true;
    if (!drain) settle_waiting(nullptr, {Code::kClosed, kClosedMessage}, &settlement);
    scheduler_.stop_holding();  // nobody can come to fill a short batch
    if (retired_ == lanes_.size()) {
      at_once = std::move(closed);
    } else if (closed) {
      on_closed_.push_back(std::move(closed));
    }
    wake_lanes(lanes_.size());
    timer_wake_.notify_all();
  }
  hand_over(settlement, nullptr);
  if (at_once) at_once();
}

// --- Lanes ------------------------------------------------------------------------------------------

// Idle lanes first: one that runs may well answer that it would rather wait, and one without a free
// slot cannot answer at all.
void Dispatcher::wake_lanes(std::size_t most) {
  const std::size_t idle = wake_lanes(most, /*idle=*/true);
  wake_lanes(most - idle, /*idle=*/false);
}

std::size_t Dispatcher::wake_lanes(std::size_t most, bool idle) {
  std::size_t woken = 0;
  for (std::size_t i = sleeping_.size(); woken < most && i-- > 0;) {
    LaneState* const lane = sleeping_[i];
    if (lane->free_slots == 0 || (lane->free_slots == lane->slots) != idle) continue;
    sleeping_.erase(sleeping_.begin() + static_cast<std::ptrdiff_t>(i));
    lane->sleeping = false;
    lane->wake.notify_one();
    ++woken;
  }
  return woken;
}

std::size_t Dispatcher::idle_lanes() const {
  return static_cast<std::size_t>(std::count_if(lanes_.begin(), lanes_.end(), [](const LaneState* lane) {
    return !lane->retired && lane->free_slots == lane->slots;
  }));
}

// Asks the policy for the lane. True: rows are bound. Else `until` is when to ask again.
bool Dispatcher::bind(LaneState* lane, Batch* batch, Nanos now, Nanos* until) {
  const TraceRange range("form", scheduler_.rows());
  LaneView view;
  view.busy = !lane->running.empty();
  view.predicted_end = lane->predicted_end;
  view.staging = lane->staging + lane->launching;
  view.idle_lanes = idle_lanes();
  // What an idle lane can run at once is not bound behind a running batch.
  if (view.busy && view.idle_lanes > 0) {
    if (scheduler_.rows() > 0) wake_lanes(1, /*idle=*/true);
    return false;
  }
  const Decision& decision = scheduler_.next(view, now, &bound_);
  *until = decision.until;
  if (decision.kind != Decision::Kind::kDispatch) return false;

  batch->rows.clear();
  batch->reason = decision.reason;
  batch->retry_budget.reset();
  batch->shape.rows = bound_.size();
  batch->shape.longest = 0;
  for (Row* const row : bound_) {
    batch->shape.longest = std::max(batch->shape.longest, row->length);
    batch->rows.push_back(static_cast<CallRow*>(row));
    counters_.queue_time.record(now - row->enqueued);
  }
  batch->alone = scheduler_.rows() == 0 && view.idle_lanes == lanes_.size() - retired_;
  --lane->free_slots;
  if (scheduler_.rows() > 0) wake_lanes(1);
  if (drained()) wake_lanes(lanes_.size());
  return true;
}

Dispatcher::Step Dispatcher::wait(LaneState* lane, bool takes_work, Batch* batch, Completion* completion) {
  MutexLock lock(mutex_);
  for (;;) {
    if (!lane->ended.empty()) {
      *completion = std::move(lane->ended.front());
      lane->ended.pop_front();
      return Step::kCompleted;
    }
    const bool occupied = !lane->running.empty();
    Nanos until = kNever;
    if (takes_work && lane->free_slots > 0 && bind(lane, batch, clock_.now(), &until)) return Step::kBatch;
    if (!occupied && drained()) return Step::kRetire;
    if (takes_work) {
      lane->sleeping = true;
      sleeping_.push_back(lane);
    }
    clock_.wait_until(lane->wake, lock, until);
    if (lane->sleeping) {  // woken by the time, or by its own completion
      lane->sleeping = false;
      std::erase(sleeping_, lane);
    }
  }
}

void Dispatcher::started(LaneState* lane, Batch* batch) {
  MutexLock lock(mutex_);
  const Nanos now = clock_.now();
  const double predicted = scheduler_.cost().predict(batch->rows.size(), batch->shape.padded_tokens());
  const Nanos free = lane->running.empty() ? now : std::max(now, lane->predicted_end);
  if (lane->running.empty()) lane->busy_counted = now;
  lane->running.push_back({now, static_cast<Nanos>(predicted)});
  lane->predicted_end = free + lane->running.back().predicted;
  lane->staging += (batch->staging - lane->staging) / kStagingMemory;
}

void Dispatcher::launched(LaneState* lane, Nanos duration) {
  MutexLock lock(mutex_);
  lane->launching += (duration - lane->launching) / kStagingMemory;
}

void Dispatcher::completed(LaneState* lane, Status status) {
  MutexLock lock(mutex_);
  const Nanos now = clock_.now();
  const Nanos began = std::max(lane->running.front().started, lane->run_ended);
  lane->running.pop_front();
  lane->run_ended = lane->predicted_end = now;
  for (const LaneState::Run& run : lane->running) lane->predicted_end += run.predicted;
  lane->stats.busy += now - lane->busy_counted;
  lane->busy_counted = now;
  lane->ended.push_back({std::move(status), began, now});
  lane->wake.notify_one();
}

void Dispatcher::finish(LaneState* lane, Batch* batch, const Status& status, const BatchOutputs* outputs) {
  Settlement settlement;
  {
    MutexLock lock(mutex_);
    const Nanos now = clock_.now();
    ++lane->free_slots;
    for (std::size_t r = 0; r < batch->rows.size(); ++r) {
      CallRow* const row = batch->rows[r];
      Call* const call = row->call;
      leave_lane(row, &settlement);
      if (call->settled) continue;
      if (!status.ok()) {
        settle(call, status.code(), status.message(), &settlement);
      } else if (call->rows_left == 0) {
        settle(call, Code::kOk, {}, &settlement);
        settlement.calls.back().row_in_batch = r;
      } else {
        continue;
      }
      counters_.total_time.record(now - row->enqueued);
    }
    if (batch->retry_budget && batch->rows.size() == 1 && !status.ok()) ++counters_.isolated;
    if (drained()) wake_lanes(lanes_.size());
  }
  hand_over(settlement, outputs);
}

void Dispatcher::count_run(LaneState* lane, const Batch& batch) {
  const std::uint64_t padded = batch.shape.padded_tokens();
  const Nanos duration = batch.ended - batch.began;
  MutexLock lock(mutex_);
  ++lane->stats.batches;
  counters_.count_batch(batch.rows.size(), batch.tokens, padded, batch.reason);
  counters_.processing_time.record(duration);
  // A batch that had the idle lanes' cores as well says nothing of what one lane needs.
  if (!batch.alone || lanes_.size() == 1) scheduler_.cost().observe(batch.rows.size(), padded, duration);
}

bool Dispatcher::drop_settled(LaneState* lane, Batch* batch) {
  Settlement settlement;
  MutexLock lock(mutex_);
  std::erase_if(batch->rows, [&](CallRow* row) BATCHED_TSA(requires_capability(mutex_)) {
    if (!row->call->settled) return false;
    leave_lane(row, &settlement);
    return true;
  });
  if (!batch->rows.empty()) return true;
  ++lane->free_slots;
  return false;
}

void Dispatcher::retry(LaneState* lane, std::uint64_t token_budget) {
  MutexLock lock(mutex_);
  ++lane->free_slots;
  ++counters_.retries;
  if (token_budget > 0) scheduler_.lower_token_budget(token_budget);
}

void Dispatcher::take_slot(LaneState* lane) {
  MutexLock lock(mutex_);
  --lane->free_slots;
}

void Dispatcher::retire(LaneState* lane, const Status& lost) {
  Settlement settlement;
  std::vector<std::function<void()>> closed;
  {
    MutexLock lock(mutex_);
    lane->retired = true;
    lane->stats.healthy = lost.ok();
    if (!lost.ok()) lost_ = Status(Code::kDeviceLost, kLostMessage + lost.message());
    ++retired_;
    if (retired_ == lanes_.size()) {
      // Nobody is left to run them.
      const Status status = closing_ ? Status(Code::kClosed, kClosedMessage) : lost_;
      settle_waiting(nullptr, status, &settlement);
      closed.swap(on_closed_);
      timer_wake_.notify_all();
    } else {
      wake_lanes(scheduler_.rows());
    }
  }
  hand_over(settlement, nullptr);
  for (const std::function<void()>& call : closed) call();
}

// --- Deadlines --------------------------------------------------------------------------------------

Nanos Dispatcher::expire() {
  Settlement settlement;
  Nanos next = kNever;
  {
    MutexLock lock(mutex_);
    const Nanos now = clock_.now();
    while (!expiry_.empty() && expiry_.top_key() <= now) {
      settle(expiry_.top(), Code::kDeadline, "the call's deadline passed", &settlement);
    }
    if (!expiry_.empty()) next = expiry_.top_key();
    if (drained()) wake_lanes(lanes_.size());
  }
  hand_over(settlement, nullptr);
  return next;
}

bool Dispatcher::wait_for_deadline() {
  MutexLock lock(mutex_);
  for (;;) {
    if (closing_ && retired_ == lanes_.size()) return false;
    const Nanos next = expiry_.empty() ? kNever : expiry_.top_key();
    if (next <= clock_.now()) return true;
    clock_.wait_until(timer_wake_, lock, next);
  }
}

// --- Figures ----------------------------------------------------------------------------------------

EngineStats Dispatcher::stats() {
  MutexLock lock(mutex_);
  EngineStats stats;
  const Nanos now = clock_.now();
  stats.queue_rows = scheduler_.rows();
  stats.queue_tokens = scheduler_.tokens();
  stats.held_bytes = scheduler_.bytes();
  stats.counters = counters_;
  stats.elapsed = now - counting_since_;
  for (const LaneState* const lane : lanes_) {
    stats.lanes.push_back(lane->stats);
    if (!lane->running.empty()) stats.lanes.back().busy += now - lane->busy_counted;
  }
  return stats;
}

void Dispatcher::clear_stats() {
  MutexLock lock(mutex_);
  counters_.clear();
  counting_since_ = clock_.now();
  for (LaneState* const lane : lanes_) {
    lane->stats.batches = 0;
    lane->stats.busy = 0;
    lane->busy_counted = counting_since_;
  }
}

CostModel Dispatcher::cost() {
  MutexLock lock(mutex_);
  return scheduler_.cost();
}

bool Dispatcher::healthy() {
  MutexLock lock(mutex_);
  return !closing_ && retired_ < lanes_.size();
}

bool Dispatcher::closing() {
  MutexLock lock(mutex_);
  return closing_;
}

}  // namespace batched
