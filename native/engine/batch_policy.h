// When to dispatch, and which rows: a pure function of what waits, the time, the lane and the options.
//
// No clock, lock or thread in here. The rules, in the order they are asked:
//
//   Nothing waits                                       -> Idle
//   `timeout` is set, less than a full batch waits and
//   the oldest row has not yet waited `timeout`         -> WaitUntil(oldest + timeout)
//   The lane runs a batch (a free slot could be staged):
//     less than a full batch waits and the running one
//     ends later than staging takes                     -> WaitUntil(predicted end - staging)
//   otherwise                                           -> Dispatch
//
// Which rows: the row with the earliest virtual deadline is the anchor. Around it, over the rows that
// are next to it in length, the run is chosen that does the most useful work per predicted time:
//
//   score(run) = sum of worth(row) / predicted duration(rows, rows * longest)
//   worth(row) = per_token * length + per_row + per_batch / kGoodBatch
//
// subject to rows <= batch_size and rows * longest <= max_batch_tokens. A run that pads much scores
// low, so a batch of mixed lengths is split exactly when the padding costs more than one more run.
// Without a cost model (user functions) the run with the most rows is taken, then the one that pads least.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "clock.h"
#include "cost_model.h"

namespace batched {

// What puts calls ahead of others that arrived with them. The order of `priorityStrategies` in ts/options.ts.
enum class PriorityStrategy : std::uint8_t {
  kPriority,  // a lower priority, as given with the call
  kLength,    // a shorter longest row
  kNone,
};

struct PolicyOptions {
  std::size_t batch_size = 32;         // most rows in a batch, >= 1
  std::uint64_t max_batch_tokens = 0;  // most rows * longest in a batch of several rows; 0: no bound
  Nanos timeout = -1;                  // < 0: a free lane runs what there is, at once

  // Slack: how much later than a row of the first rank, enqueued at the same time, a row may start.
  Nanos large_call_slack = 50 * kMillisecond;  // calls of more than small_batch_threshold rows
  Nanos priority_slack = 50 * kMillisecond;    // per step of priority
  Nanos length_slack = 1 * kMillisecond;       // per unit of length, by PriorityStrategy::kLength
  Nanos most_slack = 1000 * kMillisecond;      // the bound on the sum, either way
  std::size_t small_batch_threshold = 8;
  PriorityStrategy priority_strategy = PriorityStrategy::kPriority;
};

struct LengthBucket {
  std::uint32_t length;
  std::uint32_t rows;
};

struct QueueView {
  std::size_t rows = 0;      // waiting, also outside of `buckets`
  std::uint64_t tokens = 0;  // sum of their lengths
  Nanos oldest_enqueued = 0;
  Nanos anchor_deadline = 0;          // the anchor's virtual deadline
  std::vector<LengthBucket> buckets;  // one group, by ascending length, around the anchor
  std::size_t anchor = 0;             // the anchor's place in `buckets`
};

struct LaneView {
  bool busy = false;           // a batch runs; a slot is free for the next
  Nanos predicted_end = 0;     // of the running batch
  Nanos staging = 0;           // how long staging takes on this lane
  std::size_t idle_lanes = 1;  // that could take work now, this one included
};

enum class DispatchReason : std::uint8_t {
  kFull,     // a whole budget waited
  kIdle,     // the lane was free and took what there was
  kTimeout,  // the oldest row had waited its time
  kStaged,   // the running batch was about to end
  kCount,
};

struct Decision {
  enum class Kind : std::uint8_t { kIdle, kWaitUntil, kDispatch };

  Kind kind = Kind::kIdle;
  Nanos until = kNever;                           // kWaitUntil
  DispatchReason reason = DispatchReason::kIdle;  // kDispatch
  std::vector<std::uint32_t> take;                // kDispatch: rows by bucket of the view
};

// Writes the answer to `decision`, whose memory is reused. `cost` may be null or know nothing yet.
void decide(const QueueView& queue, const LaneView& lane, Nanos now, const PolicyOptions& options,
            const CostModel* cost, Decision* decision);

// The slack of a call's rows, in [-most_slack, most_slack]: negative priorities run ahead of older rows.
// `longest`: the length of its longest row.
Nanos slack_of(const PolicyOptions& options, std::size_t call_rows, double priority, std::uint32_t longest);

}  // namespace batched
