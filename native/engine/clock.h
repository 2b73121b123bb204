// Time for the engine. Everything that needs the time is handed a Clock, so that tests own it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <limits>

#include "thread_annotations.h"

namespace batched {

// Nanoseconds: a point in time (since an arbitrary epoch) or a duration, by context.
using Nanos = std::int64_t;

inline constexpr Nanos kNever = std::numeric_limits<Nanos>::max();
inline constexpr Nanos kMicrosecond = 1'000;
inline constexpr Nanos kMillisecond = 1'000'000;

// `at + by`, or kNever where that would overflow.
constexpr Nanos later(Nanos at, Nanos by) { return by > 0 && at > kNever - by ? kNever : at + by; }

class Clock {
 public:
  virtual ~Clock() = default;

  virtual Nanos now() const = 0;

  // Waits on `condition` until it is notified or `until` has come. May return early, as any wait.
  virtual void wait_until(std::condition_variable& condition, MutexLock& lock, Nanos until) = 0;
};

// The machine's monotonic clock. Lives for the whole process.
Clock& steady_clock();

}  // namespace batched
