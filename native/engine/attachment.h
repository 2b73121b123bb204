// One user of an engine that several share: where its results go, and when the last of them has come.
//
// To the engine every user is a sink of its own, even two in one JavaScript environment: so one can close
// for itself while the others go on.
//
// Threads: deliver() and stays() from any; everything else from the thread that makes the calls.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "call.h"
#include "thread_annotations.h"

namespace batched {

class Attachment final : public CompletionSink {
 public:
  explicit Attachment(std::shared_ptr<CompletionSink> to) : to_(std::move(to)) {}

  // `calls` are about to be submitted with this as their sink. Those that are refused have settled().
  void submitting(std::size_t calls);
  void settled(std::size_t calls) noexcept;

  void deliver(Delivery delivery) noexcept override;
  bool stays() const noexcept override { return !left_.load(std::memory_order_relaxed); }

  // There will be no more calls; what is still in flight may be delivered.
  void leave() { left_ = true; }

  // Calls `action` once every call has settled and been delivered: now, or from the thread that delivers the
  // last one.
  void when_settled(std::function<void()> action);

 private:
  const std::shared_ptr<CompletionSink> to_;
  std::atomic<bool> left_ = false;

  Mutex mutex_;
  std::size_t in_flight_ BATCHED_GUARDED_BY(mutex_) = 0;
  std::vector<std::function<void()>> on_settled_ BATCHED_GUARDED_BY(mutex_);
};

}  // namespace batched
