// The thread of one lane: asks the dispatcher for work, stages it, runs it, scatters the results.
//
// A lane that runs one batch at a time is given the next between a completion and the scatter of its results;
// one that keeps several in flight gets the next as soon as it is staged. So neither waits for the host. A
// batch that fails is run again in halves, until the rows at fault stand alone: at most 2 log2(rows) + 1
// extra runs for each of at most four such rows, after which what is left of the batch fails. Running out of
// memory halves without a budget. Constructed, started, joined and destroyed by the engine; everything else
// happens on its own thread.
//
// The lane goes with its thread, not with the engine: once an engine is closed it holds none of a device's
// memory, whoever still looks at its stats.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "dispatcher.h"
#include "lane.h"
#include "thread_annotations.h"

namespace batched {

class LaneThread {
 public:
  LaneThread(std::unique_ptr<Lane> lane, const Signature& signature, const BatchLayout& layout,
             Dispatcher& dispatcher, Clock& clock);
  // The thread must have been joined, or never started.
  ~LaneThread() = default;

  LaneState* state() { return &state_; }
  // As Lane says; nothing once the thread has ended. Any thread.
  void interrupt();
  // Since clear_device_use(). Both: any thread.
  std::optional<DeviceUse> device_use();
  void clear_device_use();
  void start();
  // The dispatcher must be closed, and the lane interrupted if it is not to run to its end. All lanes are
  // joined before the first is destroyed: a lane's thread looks at the states of the others.
  void join();

 private:
  void loop();
  void end(const Status& lost);
  // Gathers the batch into a slot. False: the batch has been dealt with otherwise.
  bool stage(Batch* batch);
  // Starts staged batches while the lane takes more.
  void run_staged();
  void complete(const Completion& completion);
  void scatter(Batch* batch);
  void fail(Batch batch, const Status& status);
  // Tells those who watch of a run that has ended. Its rows are still the lane's.
  void report(const Batch& batch, const Status& status);
  Status check_outputs(const Batch& batch, std::span<const TensorView> outputs) const;
  void store_rows(const Batch& batch, const BatchOutputs& outputs) const;

  Mutex lane_mutex_;  // held by other threads that use the lane, and by its own to let it go
  std::unique_ptr<Lane> lane_;
  const Signature& signature_;
  const BatchLayout& layout_;
  Dispatcher& dispatcher_;
  Clock& clock_;
  LaneState state_;
  std::atomic<Nanos> computed_before_{0};  // when the stats were cleared

  // The thread's own.
  std::vector<std::size_t> free_slots_;
  std::deque<Batch> staged_;   // in the order they will run
  std::deque<Batch> running_;  // in the order they were started, and will end
  std::deque<Batch> retries_;  // parts of batches that failed
  std::vector<RowInputs> gathered_;
  std::vector<std::byte*> inputs_;
  bool lost_ = false;  // the device is gone: the lane retires
  Status lost_status_;

  std::thread thread_;
};

}  // namespace batched
