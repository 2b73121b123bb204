#include "attachment.h"

#include <cassert>
#include <utility>

namespace batched {

void Attachment::submitting(std::size_t calls) {
  const MutexLock lock(mutex_);
  in_flight_ += calls;
}

void Attachment::settled(std::size_t calls) noexcept {
  std::vector<std::function<void()>> actions;
  {
    const MutexLock lock(mutex_);
    assert(in_flight_ >= calls);
    in_flight_ -= calls;
    if (in_flight_ == 0) actions.swap(on_settled_);
  }
  for (const std::function<void()>& action : actions) action();
}

void Attachment::deliver(Delivery delivery) noexcept {
  const std::size_t calls = delivery.results.size();
  to_->deliver(std::move(delivery));
  settled(calls);
}

void Attachment::when_settled(std::function<void()> action) {
  {
    const MutexLock lock(mutex_);
    if (in_flight_ > 0) {
      on_settled_.push_back(std::move(action));
      return;
    }
  }
  action();
}

}  // namespace batched
