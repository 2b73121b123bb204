// A binary min-heap whose elements know their place, so that any of them can be removed or moved.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace batched {

inline constexpr std::uint32_t kNotInHeap = UINT32_MAX;

// `Traits` has:  using Key;  static Key key(const T&);  static std::uint32_t& place(T&);
// Keys are copied beside the pointers, so that sifting does not touch the elements themselves: with
// 100,000 rows each touch is a cache miss. An element's key may change only through update().
template <typename T, typename Traits>
class IndexedHeap {
 public:
  using Key = typename Traits::Key;

  bool empty() const { return entries_.empty(); }
  std::size_t size() const { return entries_.size(); }
  T* top() const { return entries_.front().item; }
  const Key& top_key() const { return entries_.front().key; }

  static bool contains(const T& item) { return Traits::place(const_cast<T&>(item)) != kNotInHeap; }

  // O(1) when keys arrive in ascending order, else O(log n).
  void push(T* item) {
    entries_.push_back({Traits::key(*item), item});
    sift_up(entries_.size() - 1);
  }

  T* pop() {
    T* const item = top();
    remove_at(0);
    return item;
  }

  void remove(T* item) { remove_at(Traits::place(*item)); }

  // After the item's key changed.
  void update(T* item) {
    const std::size_t at = Traits::place(*item);
    entries_[at].key = Traits::key(*item);
    if (!sift_up(at)) sift_down(at);
  }

 private:
  struct Entry {
    Key key;
    T* item;
  };

  void put(std::size_t at, Entry entry) {
    Traits::place(*entry.item) = static_cast<std::uint32_t>(at);
    entries_[at] = std::move(entry);
  }

  bool sift_up(std::size_t at) {
    const std::size_t start = at;
    Entry entry = std::move(entries_[at]);
    while (at > 0) {
      const std::size_t parent = (at - 1) / 2;
      if (!(entry.key < entries_[parent].key)) break;
      put(at, std::move(entries_[parent]));
      at = parent;
    }
    put(at, std::move(entry));
    return at != start;
  }

  void sift_down(std::size_t at) {
    Entry entry = std::move(entries_[at]);
    const std::size_t count = entries_.size();
    for (;;) {
      std::size_t child = 2 * at + 1;
      if (child >= count) break;
      if (child + 1 < count && entries_[child + 1].key < entries_[child].key) ++child;
      if (!(entries_[child].key < entry.key)) break;
      put(at, std::move(entries_[child]));
      at = child;
    }
    put(at, std::move(entry));
  }

  void remove_at(std::size_t at) {
    Traits::place(*entries_[at].item) = kNotInHeap;
    Entry last = std::move(entries_.back());
    entries_.pop_back();
    if (at == entries_.size()) return;
    put(at, std::move(last));
    if (!sift_up(at)) sift_down(at);
  }

  std::vector<Entry> entries_;
};

}  // namespace batched
