// Who wants to hear of every batch that has been run, and what they are told.
//
// Without watchers a batch costs one look at a flag.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "batch_policy.h"
#include "clock.h"
#include "status.h"
#include "thread_annotations.h"

namespace batched {

struct BatchFacts {
  std::size_t rows = 0;
  std::uint64_t tokens = 0;  // sum of the rows' lengths
  std::uint64_t padded_tokens = 0;
  DispatchReason reason = DispatchReason::kIdle;
  Nanos queued = 0;  // of the oldest row: enqueued -> start of the run
};

struct BatchReport {
  std::string name;  // of the engine, as its watcher calls it
  std::string lane;
  BatchFacts facts;
  Nanos duration = 0;  // of the run
  Status status;
};

class BatchWatcher {
 public:
  virtual ~BatchWatcher() = default;
  // From the lane's thread, before the results of the batch are delivered. Must be quick.
  virtual void batch_ran(const BatchReport& report) noexcept = 0;
};

// Any thread.
class BatchWatchers {
 public:
  // A watcher that was added several times hears of a batch once, until it was removed as often.
  void add(std::shared_ptr<BatchWatcher> watcher, std::string name);
  void remove(const BatchWatcher* watcher);

  bool any() const { return any_.load(std::memory_order_relaxed); }
  void tell(BatchReport report);

 private:
  struct Entry {
    std::shared_ptr<BatchWatcher> watcher;
    std::string name;
    std::size_t times = 1;
  };

  std::atomic<bool> any_ = false;
  Mutex mutex_;
  std::vector<Entry> entries_ BATCHED_GUARDED_BY(mutex_);
};

}  // namespace batched
