#include "engine/indexed_heap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <vector>

#include "random.h"

namespace batched {
namespace {

struct Item {
  std::uint64_t key = 0;
  std::uint32_t place = kNotInHeap;
};

struct ByKey {
  using Key = std::uint64_t;
  static Key key(const Item& item) { return item.key; }
  static std::uint32_t& place(Item& item) { return item.place; }
};

using Heap = IndexedHeap<Item, ByKey>;

TEST(IndexedHeapTest, PopsInAscendingOrder) {
  Random random(1);
  std::deque<Item> items;
  std::vector<std::uint64_t> keys;
  Heap heap;
  for (int i = 0; i < 500; ++i) {
    items.push_back({random.below(200)});
    keys.push_back(items.back().key);
    heap.push(&items.back());
  }
  std::ranges::sort(keys);
  for (const std::uint64_t key : keys) {
    EXPECT_EQ(heap.top_key(), key);
    EXPECT_EQ(heap.pop()->key, key);
  }
  EXPECT_TRUE(heap.empty());
}

TEST(IndexedHeapTest, AnItemKnowsWhetherItIsInTheHeap) {
  Item a{1};
  Item b{2};
  Heap heap;
  EXPECT_FALSE(Heap::contains(a));
  heap.push(&a);
  heap.push(&b);
  EXPECT_TRUE(Heap::contains(a));
  heap.remove(&a);
  EXPECT_FALSE(Heap::contains(a));
  EXPECT_EQ(heap.top(), &b);
  heap.pop();
  EXPECT_FALSE(Heap::contains(b));
}

TEST(IndexedHeapTest, TheOnlyItemCanBeRemovedAndPushedAgain) {
  Item a{1};
  Heap heap;
  for (int i = 0; i < 3; ++i) {
    heap.push(&a);
    EXPECT_EQ(heap.size(), 1U);
    heap.remove(&a);
    EXPECT_TRUE(heap.empty());
  }
}

TEST(IndexedHeapTest, AKeyMayRiseOrFallByUpdate) {
  std::deque<Item> items;
  Heap heap;
  for (std::uint64_t key = 10; key < 20; ++key) {
    items.push_back({key});
    heap.push(&items.back());
  }
  items[5].key = 1;
  heap.update(&items[5]);
  EXPECT_EQ(heap.top(), &items[5]);
  items[5].key = 100;
  heap.update(&items[5]);
  EXPECT_EQ(heap.top(), &items[0]);
  for (int i = 0; i < 9; ++i) heap.pop();
  EXPECT_EQ(heap.pop(), &items[5]);
}

TEST(IndexedHeapTest, RandomOperationsAgreeWithALinearSearch) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Random random(seed);
    std::deque<Item> items;
    std::vector<Item*> model;
    Heap heap;
    for (int step = 0; step < 2'000; ++step) {
      const std::uint64_t action = random.below(10);
      if (action < 4 || model.empty()) {
        items.push_back({random.below(50)});
        heap.push(&items.back());
        model.push_back(&items.back());
      } else if (action < 6) {
        Item* const popped = heap.pop();
        for (const Item* const other : model) ASSERT_LE(popped->key, other->key);
        ASSERT_EQ(std::erase(model, popped), 1U);
      } else {
        Item* const picked = model[random.below(model.size())];
        if (action < 8) {
          heap.remove(picked);
          std::erase(model, picked);
        } else {
          picked->key = random.below(50);
          heap.update(picked);
        }
      }
      ASSERT_EQ(heap.size(), model.size());
      if (model.empty()) continue;
      ASSERT_EQ(heap.top_key(), (*std::ranges::min_element(model, {}, &Item::key))->key);
      ASSERT_EQ(heap.top()->key, heap.top_key());
    }
  }
}

}  // namespace
}  // namespace batched
