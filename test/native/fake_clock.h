// A clock that stands still until the test moves it.
//
// Waits are real waits on the waiter's own condition variable, so the code under test runs as it does
// in production; only the passing of time is the test's.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "engine/clock.h"
#include "hang_deadline.h"

namespace batched {

class FakeClock final : public Clock {
 public:
  explicit FakeClock(Nanos now = 1'000 * kMillisecond) : now_(now) {}

  Nanos now() const override {
    const std::lock_guard lock(mutex_);
    return now_;
  }

  void wait_until(std::condition_variable& condition, MutexLock& lock, Nanos until) override {
    std::unique_lock<std::mutex>& held = lock.native();
    {
      const std::lock_guard own(mutex_);
      if (until <= now_) return;
      waiters_.push_back({&condition, held.mutex(), until});
      registered_.notify_all();
    }
    condition.wait(held);
    const std::lock_guard own(mutex_);
    const auto mine = std::ranges::find(waiters_, &condition, &Waiter::condition);
    waiters_.erase(mine);
  }

  // Moves the time and wakes whoever waited for it. Not while the waiter's owner is being destroyed.
  void advance(Nanos by) {
    std::vector<Waiter> due;
    {
      const std::lock_guard own(mutex_);
      now_ += by;
      std::ranges::copy_if(waiters_, std::back_inserter(due),
                           [&](const Waiter& waiter) { return waiter.until <= now_; });
    }
    for (const Waiter& waiter : due) {
      // The waiter holds its mutex from looking at the time until it waits, so with the mutex held here
      // it is either waiting, and is woken, or past its wait.
      const std::lock_guard held(*waiter.mutex);
      const std::lock_guard own(mutex_);
      if (std::ranges::find(waiters_, waiter.condition, &Waiter::condition) != waiters_.end()) {
        waiter.condition->notify_all();
      }
    }
  }

  // Blocks until a thread waits for exactly this time, which tells the test what it has decided.
  void await_waiter(Nanos until) {
    std::unique_lock own(mutex_);
    const bool came = registered_.wait_for(own, kHangDeadline, [&] {
      return std::ranges::find(waiters_, until, &Waiter::until) != waiters_.end();
    });
    if (!came) fail_hang("no thread waits for the time " + std::to_string(until));
  }

  // Blocks until this many threads wait, for whatever time: until they are asleep.
  void await_waiters(std::size_t count) {
    std::unique_lock own(mutex_);
    if (!registered_.wait_for(own, kHangDeadline, [&] { return waiters_.size() >= count; })) {
      fail_hang(std::to_string(waiters_.size()) + " of " + std::to_string(count) + " threads wait");
    }
  }

 private:
  struct Waiter {
    std::condition_variable* condition;
    std::mutex* mutex;
    Nanos until;
  };

  mutable std::mutex mutex_;
  std::condition_variable registered_;
  std::vector<Waiter> waiters_;
  Nanos now_;
};

}  // namespace batched
