// An array of a size that is set once it is known; up to N elements lie inside the object, so that the few of
// a common call are found with it in memory.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

namespace batched {

template <typename T, std::size_t N>
class InlineArray {
 public:
  InlineArray() = default;
  InlineArray(const InlineArray&) = delete;  // what is in it is often pointed at
  InlineArray& operator=(const InlineArray&) = delete;

  // Makes it `size` elements, all as new.
  void reset(std::size_t size) {
    size_ = size;
    if (size > N) {
      more_.assign(size, T{});
    } else {
      std::fill_n(few_.begin(), size, T{});
    }
  }

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  bool in_place() const { return size_ <= N; }

  T* data() { return in_place() ? few_.data() : more_.data(); }
  const T* data() const { return in_place() ? few_.data() : more_.data(); }
  T* begin() { return data(); }
  T* end() { return data() + size_; }
  const T* begin() const { return data(); }
  const T* end() const { return data() + size_; }
  T& operator[](std::size_t i) { return data()[i]; }
  const T& operator[](std::size_t i) const { return data()[i]; }
  T& front() { return *data(); }
  const T& front() const { return *data(); }

 private:
  std::size_t size_ = 0;
  std::array<T, N> few_{};
  std::vector<T> more_;
};

}  // namespace batched
