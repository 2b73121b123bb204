#include "clock.h"

#include <chrono>

namespace batched {
namespace {

class SteadyClock final : public Clock {
 public:
  Nanos now() const override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }

  void wait_until(std::condition_variable& condition, MutexLock& lock, Nanos until) override {
    if (until == kNever) {
      condition.wait(lock.native());
      return;
    }
    const std::chrono::steady_clock::time_point at{std::chrono::nanoseconds(until)};
    condition.wait_until(lock.native(), at);
  }
};

}  // namespace

Clock& steady_clock() {
  static SteadyClock* const clock = new SteadyClock;  // never destroyed: threads may outlive statics
  return *clock;
}

}  // namespace batched
