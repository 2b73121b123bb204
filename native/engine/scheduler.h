// Queue, bounds and policy in one: rows go in, batches come out. The heart of both the model engine and
// the queue of a user function.
//
// Not synchronized, owns no rows and has no clock: the caller brings the time and the lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "batch_policy.h"
#include "cost_model.h"
#include "row_queue.h"
#include "status.h"

namespace batched {

struct QueueBounds {
  std::size_t max_rows = 32768;
  std::uint64_t max_bytes = 1ULL << 30;
};

class Scheduler {
 public:
  // `learns_cost`: batches are chosen by what they are predicted to cost.
  Scheduler(const PolicyOptions& options, const QueueBounds& bounds, bool learns_cost);

  // Admits all rows of a call or none. On success the rows are queued until next() or remove() gives
  // them back; they must not move meanwhile. `bytes` is what the call holds. Sets the rows' times and order;
  // their length, group and deadline are the caller's. kQueueFull: it does not fit now. kInvalidInput: it
  // holds more bytes than the bound, so it never will. A call of more rows than the bound is admitted alone.
  Status admit(std::span<Row* const> rows, std::uint64_t bytes, double priority, Nanos now);

  // Asks the policy. On Dispatch the chosen rows are removed from the queue and written to `batch`.
  const Decision& next(const LaneView& lane, Nanos now, std::vector<Row*>* batch);

  // A queued row is given up.
  void remove(Row* row) { queue_.remove(row); }
  // The oldest waiting row, or null; `younger` leads to the others.
  Row* oldest() const { return queue_.oldest(); }

  // The bytes of a call that was admitted are free again.
  void release_bytes(std::uint64_t bytes) { bytes_ -= bytes; }

  std::size_t rows() const { return queue_.rows(); }
  std::uint64_t tokens() const { return queue_.tokens(); }
  std::uint64_t bytes() const { return bytes_; }

  CostModel& cost() { return cost_; }
  const PolicyOptions& options() const { return options_; }
  // Short batches are not held for `timeout` any more.
  void stop_holding() { options_.timeout = -1; }
  // After an out-of-memory: batches stay at or below this many padded tokens.
  void lower_token_budget(std::uint64_t padded_tokens);

 private:
  PolicyOptions options_;
  const QueueBounds bounds_;
  const bool learns_cost_;
  RowQueue queue_;
  CostModel cost_;
  Decision decision_;
  std::uint64_t bytes_ = 0;
  std::uint64_t sequence_ = 0;
};

}  // namespace batched
