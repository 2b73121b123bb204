// The rows of one bucket by virtual deadline.
//
// Rows nearly always come in that order: they stand in a line. One that comes out of order (a priority,
// a deadline of its own) goes to a heap beside it, and the more urgent of the two heads is first.
//
// Not synchronized: the RowQueue owns it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include "indexed_heap.h"

namespace batched {

// `Traits` as for IndexedHeap, and:  static std::uint64_t& line_place(T&);
template <typename T, typename Traits>
class RowOrder {
 public:
  using Key = typename Traits::Key;

  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }

  T* top() const { return line_first() ? line_.front() : heap_.top(); }
  Key top_key() const { return Traits::key(*top()); }

  void push(T* item) {
    ++size_;
    if (!line_.empty() && Traits::key(*item) < Traits::key(*line_.back())) {
      heap_.push(item);
      return;
    }
    Traits::line_place(*item) = first_place_ + line_.size();
    line_.push_back(item);
  }

  T* pop() {
    --size_;
    if (!line_first()) return heap_.pop();
    T* const item = line_.front();
    drop_front();
    trim();
    return item;
  }

  void remove(T* item) {
    --size_;
    if (Traits::place(*item) != kNotInHeap) {
      heap_.remove(item);
      return;
    }
    line_[static_cast<std::size_t>(Traits::line_place(*item) - first_place_)] = nullptr;
    trim();
  }

 private:
  bool line_first() const {
    return !line_.empty() && (heap_.empty() || Traits::key(*line_.front()) < heap_.top_key());
  }

  void drop_front() {
    line_.pop_front();
    ++first_place_;
  }

  // Both ends of the line are rows; between them may be gaps of removed ones.
  void trim() {
    while (!line_.empty() && line_.front() == nullptr) drop_front();
    while (!line_.empty() && line_.back() == nullptr) line_.pop_back();
  }

  std::deque<T*> line_;
  std::uint64_t first_place_ = 0;  // the place of the line's front
  IndexedHeap<T, Traits> heap_;
  std::size_t size_ = 0;
};

}  // namespace batched
