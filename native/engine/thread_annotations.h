// Mutex types that clang's thread-safety analysis understands, and the macros to annotate with.
//
// libstdc++'s std::mutex carries no annotations, so every mutex of the engine is a `Mutex` and every
// guarded member says which one guards it. CI compiles the engine with -Wthread-safety as errors.
#pragma once

#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define BATCHED_TSA(x) __attribute__((x))
#else
#define BATCHED_TSA(x)
#endif

#define BATCHED_GUARDED_BY(mutex) BATCHED_TSA(guarded_by(mutex))
#define BATCHED_REQUIRES(mutex) BATCHED_TSA(requires_capability(mutex))
#define BATCHED_EXCLUDES(mutex) BATCHED_TSA(locks_excluded(mutex))

namespace batched {

class BATCHED_TSA(capability("mutex")) Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

 private:
  friend class MutexLock;
  std::mutex mutex_;
};

// A scoped lock that can be released and taken again, and waited with.
class BATCHED_TSA(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) BATCHED_TSA(acquire_capability(mutex)) : lock_(mutex.mutex_) {}
  ~MutexLock() BATCHED_TSA(release_capability()) = default;
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  void unlock() BATCHED_TSA(release_capability()) { lock_.unlock(); }
  void lock() BATCHED_TSA(acquire_capability()) { lock_.lock(); }

  // For a wait on a condition variable, which releases the mutex and holds it again on return.
  std::unique_lock<std::mutex>& native() { return lock_; }

 private:
  std::unique_lock<std::mutex> lock_;
};

}  // namespace batched
