// The engine's shared state: what waits, which lanes sleep, which calls live. One mutex guards it all;
// nothing is copied, run or delivered while it is held.
//
// Threads: submit(), cancel(), abandon(), withdraw(), close() and the snapshots from any thread; wait(),
// bound(), completed(), finish() and retire() for a lane's state from that lane's thread, but completed()
// from any; expire() from the engine's timer thread.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "batch_watchers.h"
#include "call.h"
#include "call_pool.h"
#include "clock.h"
#include "scheduler.h"
#include "settlement.h"
#include "stats.h"
#include "thread_annotations.h"

namespace batched {

// What the parts of a batch that failed may still spend on finding the rows at fault.
struct RetryBudget {
  std::size_t runs = 0;     // left
  std::size_t per_row = 0;  // what finding one row may cost
  std::size_t rows = 0;     // for how many more rows at fault `runs` is filled up again
};

// A batch on its way through a lane. Belongs to the lane's thread.
struct Batch {
  std::vector<CallRow*> rows;
  std::uint64_t tokens = 0;  // sum of their lengths, once it is staged
  BatchShape shape;
  DispatchReason reason = DispatchReason::kIdle;
  std::size_t slot = 0;
  Nanos staging = 0;  // how long it took to stage
  Nanos began = 0;    // its run
  Nanos ended = 0;
  bool alone = false;                         // it had the machine for itself when it was bound
  std::shared_ptr<RetryBudget> retry_budget;  // shared by the parts of a batch that failed; else null
};

// How a run ended.
struct Completion {
  Status status;
  Nanos began = 0;  // when it was started, or when the run before it ended if that was later
  Nanos ended = 0;
};

// What the dispatcher knows of a lane. Guarded by the dispatcher's mutex.
struct LaneState {
  std::condition_variable wake;
  bool sleeping = false;
  struct Run {
    Nanos started;
    Nanos predicted;  // how long it will take
  };
  std::deque<Run> running;       // those in flight, in the order they were started
  Nanos run_ended = 0;           // the last one that ended
  Nanos busy_counted = 0;        // up to when `stats.busy` has been added up
  std::deque<Completion> ended;  // runs that wait() has not given back yet
  Nanos predicted_end = 0;       // of the last run in flight
  Nanos staging = 0;             // moving averages of what staging takes,
  Nanos launching = 0;           // and starting a run, where runs overlap
  std::size_t slots = 1;         // constant
  std::size_t free_slots = 1;
  bool retired = false;  // takes no more work
  LaneStats stats;
};

class Dispatcher {
 public:
  // `cost` is what is known of the lanes before the first batch.
  Dispatcher(const Signature& signature, const PolicyOptions& policy, const QueueBounds& bounds,
             const CostModel& cost, Clock& clock);

  // Lanes are added before the first submit.
  void add_lane(LaneState* lane);

  // Admits the call, all its rows or none. Never blocks and never waits for room. On success the call
  // is moved from; else it is untouched and the caller still owns it.
  Status submit(std::unique_ptr<Call>& call);
  // The same for many, with one lock and one wake-up; `statuses` has a place for each.
  void submit(std::span<std::unique_ptr<Call>> calls, std::span<Status> statuses);

  // Settles a call as cancelled, unless it has settled. False when there is no such call any more.
  bool cancel(const CompletionSink* sink, std::uint64_t id);

  // The sink is going away: its waiting calls settle without being delivered. Rows that lanes hold are
  // still delivered; the sink must drop what comes after its end.
  void abandon(const CompletionSink* sink);

  // The sink's owner makes no more calls and does not wait: its waiting calls settle as closed.
  void withdraw(const CompletionSink* sink);

  // Stops intake. With `drain` what was admitted still runs; without, what waits settles as closed.
  // `closed` is called once every lane has retired, from the last lane's thread or from here. A result that
  // another thread is just delivering may still come after it.
  void close(bool drain, std::function<void()> closed);

  // What a lane is to do next.
  enum class Step : std::uint8_t { kBatch, kCompleted, kRetire };
  // Blocks until there is a step. kBatch: `batch` holds rows bound for `lane`. kCompleted: `completion`
  // tells how the oldest run in flight ended. Without `takes_work` only that is waited for.
  Step wait(LaneState* lane, bool takes_work, Batch* batch, Completion* completion);

  // The lane's batch, which has been staged, begins to run.
  void started(LaneState* lane, Batch* batch);
  // The lane's oldest run in flight ended. Any thread.
  void completed(LaneState* lane, Status status);
  // Starting the run took the lane's thread this long, which the next batch has to allow for.
  void launched(LaneState* lane, Nanos duration);

  // Counts a run that succeeded. Before finish().
  void count_run(LaneState* lane, const Batch& batch);
  // The batch's rows are done with `status`: settles what is to be settled and delivers it. `outputs`
  // is null unless the status is ok. Frees one slot of the lane.
  void finish(LaneState* lane, Batch* batch, const Status& status, const BatchOutputs* outputs);
  // Forgets rows whose calls have settled meanwhile. False if none is left: its slot is then free again.
  bool drop_settled(LaneState* lane, Batch* batch);
  // The batch failed and its rows will run again in parts: frees its slot. After running out of memory
  // batches stay at or below `token_budget` padded tokens from here on; 0 leaves the budget.
  void retry(LaneState* lane, std::uint64_t token_budget);
  // A slot for one of those parts; the lane must be neither running nor out of slots.
  void take_slot(LaneState* lane);

  // `lost`: what has become of the device; ok if it is the engine that ends.
  void retire(LaneState* lane, const Status& lost);

  // Settles every call whose deadline has come. Returns the next deadline, or kNever.
  Nanos expire();
  // Blocks the timer thread until the next deadline. False once the dispatcher is closed.
  bool wait_for_deadline();

  // Spare calls to make new ones of.
  CallPool& pool() { return pool_; }

  BatchWatchers& watchers() { return watchers_; }

  EngineStats stats();
  void clear_stats();
  CostModel cost();
  bool healthy();
  bool closing();

 private:
  void settle(Call* call, Code code, std::string message, Settlement* settlement) BATCHED_REQUIRES(mutex_);
  void hand_over(Settlement& settlement, const BatchOutputs* outputs) BATCHED_EXCLUDES(mutex_);
  void leave_lane(CallRow* row, Settlement* settlement) BATCHED_REQUIRES(mutex_);
  Status admit(std::unique_ptr<Call>& call, Nanos now) BATCHED_REQUIRES(mutex_);
  void wake_lanes(std::size_t most) BATCHED_REQUIRES(mutex_);
  // Of those with all slots free, or of those with some. Returns how many.
  std::size_t wake_lanes(std::size_t most, bool idle) BATCHED_REQUIRES(mutex_);
  bool bind(LaneState* lane, Batch* batch, Nanos now, Nanos* until) BATCHED_REQUIRES(mutex_);
  void settle_waiting(const CompletionSink* only, const Status& status, Settlement* settlement)
      BATCHED_REQUIRES(mutex_);
  bool drained() const BATCHED_REQUIRES(mutex_);
  std::size_t idle_lanes() const BATCHED_REQUIRES(mutex_);

  const Signature& signature_;
  Clock& clock_;
  CallPool pool_;
  BatchWatchers watchers_;

  Mutex mutex_;
  Scheduler scheduler_ BATCHED_GUARDED_BY(mutex_);
  Counters counters_ BATCHED_GUARDED_BY(mutex_);
  Nanos counting_since_ BATCHED_GUARDED_BY(mutex_);
  std::vector<LaneState*> lanes_ BATCHED_GUARDED_BY(mutex_);
  std::vector<LaneState*> sleeping_ BATCHED_GUARDED_BY(mutex_);  // the last to fall asleep is woken first
  std::size_t retired_ BATCHED_GUARDED_BY(mutex_) = 0;
  Status lost_ BATCHED_GUARDED_BY(mutex_);  // of calls, once the device of every lane is gone
  std::vector<Row*> bound_ BATCHED_GUARDED_BY(mutex_);
  std::vector<Row*> entering_ BATCHED_GUARDED_BY(mutex_);

  IndexedHeap<Call, ByDeadline> expiry_ BATCHED_GUARDED_BY(mutex_);
  std::condition_variable timer_wake_;
  std::map<std::pair<const CompletionSink*, std::uint64_t>, Call*> cancellable_ BATCHED_GUARDED_BY(mutex_);

  bool closing_ BATCHED_GUARDED_BY(mutex_) = false;
  std::vector<std::function<void()>> on_closed_ BATCHED_GUARDED_BY(mutex_);
};

}  // namespace batched
