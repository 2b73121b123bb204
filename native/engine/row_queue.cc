#include "row_queue.h"

#include <algorithm>

namespace batched {
namespace {
constexpr std::size_t kMostSpareBuckets = 64;
}

RowBucket& RowQueue::bucket_for(const Row& row) {
  const std::pair<std::uint64_t, std::uint32_t> key{row.group, row.length};
  auto found = buckets_.lower_bound(key);
  if (found != buckets_.end() && found->first == key) return found->second;
  if (spare_.empty()) {
    found = buckets_.try_emplace(found, key);
  } else {
    Buckets::node_type node = std::move(spare_.back());
    spare_.pop_back();
    node.key() = key;
    found = buckets_.insert(found, std::move(node));
  }
  found->second.length = row.length;
  return found->second;
}

void RowQueue::push(Row* row) {
  RowBucket& bucket = bucket_for(*row);
  row->bucket = &bucket;
  const bool was_empty = bucket.rows.empty();
  bucket.rows.push(row);
  if (was_empty) {
    by_deadline_.push(&bucket);
  } else if (bucket.rows.top() == row) {
    by_deadline_.update(&bucket);
  }
  row->older = youngest_;
  row->younger = nullptr;
  (youngest_ == nullptr ? oldest_ : youngest_->younger) = row;
  youngest_ = row;
  ++rows_;
  tokens_ += row->length;
}

// From everything but its bucket's heap.
void RowQueue::detach(Row* row) {
  (row->older == nullptr ? oldest_ : row->older->younger) = row->younger;
  (row->younger == nullptr ? youngest_ : row->younger->older) = row->older;
  row->older = row->younger = nullptr;
  row->bucket = nullptr;
  --rows_;
  tokens_ -= row->length;
}

void RowQueue::bucket_changed(RowBucket* bucket, std::uint64_t group) {
  if (!bucket->rows.empty()) {
    by_deadline_.update(bucket);
    return;
  }
  by_deadline_.remove(bucket);
  Buckets::node_type node = buckets_.extract({group, bucket->length});
  if (spare_.size() < kMostSpareBuckets) spare_.push_back(std::move(node));
}

void RowQueue::remove(Row* row) {
  RowBucket* const bucket = row->bucket;
  bucket->rows.remove(row);
  detach(row);
  bucket_changed(bucket, row->group);
}

const QueueView& RowQueue::view(std::size_t window_rows) {
  RowBucket* const anchor = by_deadline_.top();
  const Row* const first = anchor->rows.top();
  const std::uint64_t group = first->group;
  const auto here = buckets_.find({group, anchor->length});

  view_buckets_.clear();
  auto low = here;
  for (std::size_t seen = 0; low != buckets_.begin() && seen < window_rows;) {
    const auto below = std::prev(low);
    if (below->first.first != group) break;
    low = below;
    seen += low->second.rows.size();
    view_buckets_.push_back(&low->second);
  }
  std::reverse(view_buckets_.begin(), view_buckets_.end());
  view_.anchor = view_buckets_.size();
  view_buckets_.push_back(anchor);
  auto high = std::next(here);
  for (std::size_t seen = 0; high != buckets_.end() && seen < window_rows; ++high) {
    if (high->first.first != group) break;
    seen += high->second.rows.size();
    view_buckets_.push_back(&high->second);
  }

  view_.buckets.clear();
  for (const RowBucket* bucket : view_buckets_) {
    view_.buckets.push_back({bucket->length, static_cast<std::uint32_t>(bucket->rows.size())});
  }
  view_.rows = rows_;
  view_.tokens = tokens_;
  view_.oldest_enqueued = oldest_->enqueued;
  view_.anchor_deadline = first->virtual_deadline;
  return view_;
}

void RowQueue::take(const std::vector<std::uint32_t>& take, std::vector<Row*>* out) {
  for (std::size_t i = 0; i < take.size(); ++i) {
    if (take[i] == 0) continue;
    RowBucket* const bucket = view_buckets_[i];
    const std::uint64_t group = bucket->rows.top()->group;
    for (std::uint32_t n = take[i]; n > 0; --n) {
      Row* const row = bucket->rows.pop();
      detach(row);
      out->push_back(row);
    }
    bucket_changed(bucket, group);
  }
}

}  // namespace batched
