// The waiting rows, in three orders at once: by virtual deadline, by length, and by age.
//
// Rows of equal group and length are interchangeable to the padding, so they share a bucket, in
// order of virtual deadline. Buckets lie in a map by (group, length), which gives neighbours in length, and
// in a heap by the virtual deadline of their first row, which gives the anchor. Both stay small (as
// many entries as there are different lengths), so asking costs about the same with a hundred thousand
// rows waiting as with a hundred.
//
// Not synchronized: a Scheduler owns it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "batch_policy.h"
#include "clock.h"
#include "indexed_heap.h"
#include "row_order.h"

namespace batched {

struct RowBucket;

// What the queue knows of a row. The owner of the row derives from it or keeps it by slot.
struct Row {
  std::uint32_t length = 1;  // tokens: its share of a batch is the longest row's length
  std::uint64_t group = 0;   // only rows of one group may share a batch
  Nanos enqueued = 0;
  Nanos virtual_deadline = 0;  // enqueued + slack: the order in which rows become the anchor
  Nanos deadline = kNever;     // the caller's own: a sooner one brings the row forward
  std::uint64_t sequence = 0;  // ties are first-in first-out

  bool queued() const { return bucket != nullptr; }

  // The queue's own.
  RowBucket* bucket = nullptr;
  Row* older = nullptr;
  Row* younger = nullptr;
  std::uint32_t place_in_bucket = kNotInHeap;
  std::uint64_t place_in_line = 0;
};

using RowKey = std::pair<Nanos, std::uint64_t>;

struct ByVirtualDeadline {
  using Key = RowKey;
  static Key key(const Row& row) { return {row.virtual_deadline, row.sequence}; }
  static std::uint32_t& place(Row& row) { return row.place_in_bucket; }
  static std::uint64_t& line_place(Row& row) { return row.place_in_line; }
};

struct RowBucket {
  RowOrder<Row, ByVirtualDeadline> rows;
  std::uint32_t length = 0;
  std::uint32_t place = kNotInHeap;
};

struct ByFirstRow {
  using Key = RowKey;
  static Key key(const RowBucket& bucket) { return bucket.rows.top_key(); }
  static std::uint32_t& place(RowBucket& bucket) { return bucket.place; }
};

class RowQueue {
 public:
  bool empty() const { return rows_ == 0; }
  std::size_t rows() const { return rows_; }
  std::uint64_t tokens() const { return tokens_; }

  // The row's sequence must be higher than that of every row pushed before.
  void push(Row* row);
  void remove(Row* row);

  // The oldest waiting row, or null; `younger` leads to the others.
  Row* oldest() const { return oldest_; }

  // What the policy gets to see: the anchor's bucket and its neighbours in length, on each side as many
  // as hold `window_rows` rows. The view is valid until the queue changes. Not empty.
  const QueueView& view(std::size_t window_rows);

  // Removes the rows that `take` counts, bucket by bucket of the last view, most urgent first.
  void take(const std::vector<std::uint32_t>& take, std::vector<Row*>* out);

 private:
  using Buckets = std::map<std::pair<std::uint64_t, std::uint32_t>, RowBucket>;

  RowBucket& bucket_for(const Row& row);
  void detach(Row* row);
  void bucket_changed(RowBucket* bucket, std::uint64_t group);

  Buckets buckets_;
  std::vector<Buckets::node_type> spare_;  // emptied buckets, kept with their capacity
  IndexedHeap<RowBucket, ByFirstRow> by_deadline_;
  Row* oldest_ = nullptr;
  Row* youngest_ = nullptr;
  std::size_t rows_ = 0;
  std::uint64_t tokens_ = 0;

  QueueView view_;
  std::vector<RowBucket*> view_buckets_;  // of view_.buckets, in the same order
};

}  // namespace batched
