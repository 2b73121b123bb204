// Memory for one input of a slot. Private to native/ort.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

namespace batched {

// Grows and never shrinks: what it holds is bounded by the largest batch. One thread.
class HostBuffer {
 public:
  // For vector instructions and against false sharing.
  static constexpr std::size_t kAlignment = 64;

  // At least `bytes` bytes, never null. What was there before is lost if it grows. Throws bad_alloc.
  std::byte* reserve(std::size_t bytes) {
    if (memory_ == nullptr || bytes > capacity_) {
      // Half as much again, so that lengths creeping up don't mean an allocation each.
      const std::size_t wanted = std::max({kAlignment, bytes, capacity_ + capacity_ / 2});
      memory_.reset();
      capacity_ = 0;
      memory_.reset(static_cast<std::byte*>(::operator new(wanted, std::align_val_t{kAlignment})));
      capacity_ = wanted;
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(std::byte* memory) const { ::operator delete(memory, std::align_val_t{kAlignment}); }
  };

  std::unique_ptr<std::byte, Free> memory_;
  std::size_t capacity_ = 0;
};

}  // namespace batched
