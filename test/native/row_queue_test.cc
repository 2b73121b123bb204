#include "engine/row_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <vector>

#include "random.h"

namespace batched {
namespace {

class RowQueueTest : public testing::Test {
 protected:
  Row* push(std::uint32_t length, Nanos virtual_deadline, std::uint64_t group = 0) {
    Row& row = rows_.emplace_back();
    row.length = length;
    row.group = group;
    row.enqueued = static_cast<Nanos>(rows_.size());
    row.virtual_deadline = virtual_deadline;
    row.sequence = sequence_++;
    queue_.push(&row);
    return &row;
  }

  // "8x2 [16x1] 32x3": length x rows, the anchor's bucket in brackets.
  std::string view(std::size_t window) {
    const QueueView& view = queue_.view(window);
    std::string text;
    for (std::size_t i = 0; i < view.buckets.size(); ++i) {
      if (i > 0) text += ' ';
      const std::string bucket =
          std::to_string(view.buckets[i].length) + "x" + std::to_string(view.buckets[i].rows);
      text += i == view.anchor ? "[" + bucket + "]" : bucket;
    }
    return text;
  }

  std::deque<Row> rows_;
  std::uint64_t sequence_ = 0;
  RowQueue queue_;
};

TEST_F(RowQueueTest, CountsRowsAndTokens) {
  push(5, 0);
  Row* const row = push(7, 0);
  EXPECT_EQ(queue_.rows(), 2U);
  EXPECT_EQ(queue_.tokens(), 12U);
  EXPECT_TRUE(row->queued());
  queue_.remove(row);
  EXPECT_FALSE(row->queued());
  EXPECT_EQ(queue_.rows(), 1U);
  EXPECT_EQ(queue_.tokens(), 5U);
}

TEST_F(RowQueueTest, TheAnchorIsTheEarliestVirtualDeadlineAndTiesAreFirstInFirstOut) {
  push(8, 50);
  push(16, 20);
  push(32, 20);
  push(16, 70);
  EXPECT_EQ(view(100), "8x1 [16x2] 32x1");
  EXPECT_EQ(queue_.view(100).anchor_deadline, 20);
}

TEST_F(RowQueueTest, TheOldestRowNeedNotBeTheAnchor) {
  push(8, 50);
  push(16, 20);
  EXPECT_EQ(queue_.view(100).oldest_enqueued, 1);
  EXPECT_EQ(queue_.oldest(), &rows_[0]);
  queue_.remove(&rows_[0]);
  EXPECT_EQ(queue_.oldest(), &rows_[1]);
}

TEST_F(RowQueueTest, TheWindowReachesAsFarAsItsRowsOnEachSide) {
  for (const std::uint32_t length : {1U, 2U, 3U, 4U, 5U, 6U, 7U}) {
    for (int i = 0; i < 2; ++i) push(length, length == 4 ? 0 : 10);
  }
  EXPECT_EQ(view(0), "[4x2]");
  EXPECT_EQ(view(1), "3x2 [4x2] 5x2");
  EXPECT_EQ(view(2), "3x2 [4x2] 5x2");
  EXPECT_EQ(view(3), "2x2 3x2 [4x2] 5x2 6x2");
  EXPECT_EQ(view(100), "1x2 2x2 3x2 [4x2] 5x2 6x2 7x2");
  EXPECT_EQ(queue_.view(1).rows, 14U) << "rows outside of the window count as well";
}

TEST_F(RowQueueTest, AViewNeverMixesGroups) {
  push(8, 5, 1);
  push(9, 9, 2);
  push(10, 9, 1);
  push(7, 9, 0);
  push(9, 9, 1);
  EXPECT_EQ(view(100), "[8x1] 9x1 10x1");
  queue_.remove(&rows_[0]);
  EXPECT_EQ(view(100), "[9x1]") << "row 1 of group 2 is next";
}

TEST_F(RowQueueTest, TakesTheMostUrgentRowsOfABucket) {
  Row* const late = push(8, 30);
  Row* const soon = push(8, 10);
  Row* const next = push(8, 20);
  queue_.view(10);
  std::vector<Row*> taken;
  queue_.take({2}, &taken);
  EXPECT_EQ(taken, (std::vector<Row*>{soon, next}));
  EXPECT_FALSE(soon->queued());
  EXPECT_TRUE(late->queued());
  EXPECT_EQ(view(10), "[8x1]");
}

TEST_F(RowQueueTest, AgesStayInOrderWhenRowsLeaveFromAnywhere) {
  std::vector<Row*> rows;
  for (std::uint32_t i = 0; i < 6; ++i) rows.push_back(push(1 + i % 2, i));
  for (const std::size_t gone : {2U, 0U, 5U}) queue_.remove(rows[gone]);
  std::vector<Row*> seen;
  for (Row* row = queue_.oldest(); row != nullptr; row = row->younger) seen.push_back(row);
  EXPECT_EQ(seen, (std::vector<Row*>{rows[1], rows[3], rows[4]}));
}

// The same queue, slow and obvious: a list of rows in order of age.
struct Model {
  std::vector<Row*> rows;

  Row* anchor() const {
    return *std::ranges::min_element(
        rows, {}, [](const Row* row) { return RowKey{row->virtual_deadline, row->sequence}; });
  }
  std::map<std::uint32_t, std::uint32_t> lengths_of_group(std::uint64_t group) const {
    std::map<std::uint32_t, std::uint32_t> lengths;
    for (const Row* const row : rows) {
      if (row->group == group) ++lengths[row->length];
    }
    return lengths;
  }
};

void expect_same(RowQueue& queue, const Model& model) {
  ASSERT_EQ(queue.rows(), model.rows.size());
  std::uint64_t tokens = 0;
  for (const Row* const row : model.rows) tokens += row->length;
  ASSERT_EQ(queue.tokens(), tokens);
  ASSERT_EQ(queue.empty(), model.rows.empty());
  if (model.rows.empty()) {
    ASSERT_EQ(queue.oldest(), nullptr);
    return;
  }
  ASSERT_EQ(queue.oldest(), model.rows.front());
  const QueueView& view = queue.view(1'000'000);
  const Row* const anchor = model.anchor();
  ASSERT_EQ(view.buckets[view.anchor].length, anchor->length);
  ASSERT_EQ(view.anchor_deadline, anchor->virtual_deadline);
  std::map<std::uint32_t, std::uint32_t> lengths;
  std::uint32_t last = 0;
  for (const LengthBucket& bucket : view.buckets) {
    ASSERT_GT(bucket.length, last);
    last = bucket.length;
    lengths[bucket.length] = bucket.rows;
  }
  ASSERT_EQ(lengths, model.lengths_of_group(anchor->group));
}

// Takes a random part of each bucket from both and compares.
void take_some(RowQueue& queue, Model& model, Random& random) {
  const QueueView& view = queue.view(1'000'000);
  const std::uint64_t group = model.anchor()->group;
  std::vector<std::uint32_t> take;
  std::vector<Row*> expected;
  for (const LengthBucket& bucket : view.buckets) {
    take.push_back(static_cast<std::uint32_t>(random.below(bucket.rows + 1)));
    std::vector<Row*> rows;
    for (Row* const row : model.rows) {
      if (row->group == group && row->length == bucket.length) rows.push_back(row);
    }
    std::ranges::sort(rows, {}, [](const Row* row) { return RowKey{row->virtual_deadline, row->sequence}; });
    expected.insert(expected.end(), rows.begin(), rows.begin() + take.back());
  }
  std::vector<Row*> taken;
  queue.take(take, &taken);
  ASSERT_EQ(taken, expected);
  for (Row* const row : taken) {
    ASSERT_FALSE(row->queued());
    std::erase(model.rows, row);
  }
}

TEST_F(RowQueueTest, RandomOperationsAgreeWithAPlainList) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    Random random(seed);
    rows_.clear();
    queue_ = RowQueue();
    Model model;
    for (int step = 0; step < 1'500; ++step) {
      const std::uint64_t action = random.below(10);
      if (action < 6 || model.rows.empty()) {
        model.rows.push_back(push(1 + static_cast<std::uint32_t>(random.below(100)),
                                  static_cast<Nanos>(random.below(40)), random.below(3)));
      } else if (action < 8) {
        Row* const row = model.rows[random.below(model.rows.size())];
        queue_.remove(row);
        std::erase(model.rows, row);
      } else {
        ASSERT_NO_FATAL_FAILURE(take_some(queue_, model, random));
      }
      ASSERT_NO_FATAL_FAILURE(expect_same(queue_, model)) << "seed " << seed << " step " << step;
    }
  }
}

}  // namespace
}  // namespace batched
