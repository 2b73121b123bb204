#include "batch_watchers.h"

#include <utility>

namespace batched {

void BatchWatchers::add(std::shared_ptr<BatchWatcher> watcher, std::string name) {
  const MutexLock lock(mutex_);
  for (Entry& entry : entries_) {
    if (entry.watcher != watcher) continue;
    ++entry.times;
    return;
  }
  entries_.push_back({std::move(watcher), std::move(name)});
  any_ = true;
}

void BatchWatchers::remove(const BatchWatcher* watcher) {
  const MutexLock lock(mutex_);
  std::erase_if(entries_, [&](Entry& entry) { return entry.watcher.get() == watcher && --entry.times == 0; });
  any_ = !entries_.empty();
}

void BatchWatchers::tell(BatchReport report) {
  const MutexLock lock(mutex_);
  for (const Entry& entry : entries_) {
    report.name = entry.name;
    entry.watcher->batch_ran(report);
  }
}

}  // namespace batched
