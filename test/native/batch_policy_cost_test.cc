// Which rows the policy takes when it knows what a batch costs: split or not, sharing among lanes, and
// the search for the best run against a slow and obvious one.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <vector>

#include "engine/batch_policy.h"
#include "known_cost.h"
#include "random.h"

namespace batched {
namespace {

using Take = std::vector<std::uint32_t>;

QueueView view_of(std::vector<LengthBucket> buckets, std::size_t anchor) {
  QueueView view;
  view.buckets = std::move(buckets);
  view.anchor = anchor;
  for (const LengthBucket& bucket : view.buckets) {
    view.rows += bucket.rows;
    view.tokens += std::uint64_t{bucket.rows} * bucket.length;
  }
  return view;
}

Take take(const QueueView& view, const PolicyOptions& options, const CostModel& cost,
          std::size_t idle_lanes = 1) {
  Decision decision;
  LaneView lane;
  lane.idle_lanes = idle_lanes;
  decide(view, lane, 0, options, &cost, &decision);
  EXPECT_EQ(decision.kind, Decision::Kind::kDispatch);
  return decision.take;
}

// What batch_policy.h says: the sum of worths over the predicted time.
double score(const QueueView& view, const Take& taken, const CostModel& cost) {
  double worth = 0;
  std::uint64_t rows = 0;
  std::uint64_t longest = 0;
  for (std::size_t i = 0; i < taken.size(); ++i) {
    if (taken[i] == 0) continue;
    const LengthBucket& bucket = view.buckets[i];
    worth += taken[i] * (cost.per_token() * bucket.length + cost.per_row() + cost.per_batch() / 16);
    rows += taken[i];
    longest = bucket.length;
  }
  return worth / cost.predict(rows, rows * longest);
}

// Costs in nanoseconds. Sixteen rows of 10 and sixteen of 100 wait; the anchor is a short one.
//   one batch of all: 32 * 100 a + c        two batches: 16 * 10 a + c  +  16 * 100 a + c
// The padding costs 1,440 a: more than c where tokens are dear, less where a run is.
TEST(BatchPolicyCostTest, SplitsByLengthWherePaddingCostsMoreThanAnotherRun) {
  const QueueView view = view_of({{10, 16}, {100, 16}}, 0);
  const CostModel dear_tokens = known_cost(/*a=*/1'000, /*b=*/0, /*c=*/20'000);
  EXPECT_GT(score(view, {16, 0}, dear_tokens), score(view, {16, 16}, dear_tokens));
  EXPECT_EQ(take(view, {}, dear_tokens), (Take{16, 0}));
}

TEST(BatchPolicyCostTest, DoesNotSplitWhereAnotherRunCostsMoreThanThePadding) {
  const QueueView view = view_of({{10, 16}, {100, 16}}, 0);
  const CostModel dear_runs = known_cost(/*a=*/10, /*b=*/0, /*c=*/1'000'000);
  EXPECT_LT(score(view, {16, 0}, dear_runs), score(view, {16, 16}, dear_runs));
  EXPECT_EQ(take(view, {}, dear_runs), (Take{16, 16}));
}

TEST(BatchPolicyCostTest, ALongAnchorIsNotPaddedWithManyShortRows) {
  const CostModel cost = known_cost(1'000, 0, 20'000);
  EXPECT_EQ(take(view_of({{10, 30}, {100, 1}}, 1), {}, cost), (Take{0, 1}));
}

TEST(BatchPolicyCostTest, RowsOfOneLengthAreTakenUpToTheBatchSize) {
  const CostModel cost = known_cost(1'000, 100, 20'000);
  PolicyOptions options;
  options.batch_size = 24;
  EXPECT_EQ(take(view_of({{10, 100}}, 0), options, cost), (Take{24}));
}

TEST(BatchPolicyCostTest, IdleLanesShareTheRowsWhereSmallerBatchesAreThatMuchFaster) {
  const QueueView view = view_of({{50, 8}}, 0);
  const CostModel dear_tokens = known_cost(10'000, 0, 10'000);
  EXPECT_EQ(take(view, {}, dear_tokens, 1), (Take{8}));
  EXPECT_EQ(take(view, {}, dear_tokens, 2), (Take{4}));
  EXPECT_EQ(take(view, {}, dear_tokens, 4), (Take{2}));
  EXPECT_EQ(take(view, {}, dear_tokens, 16), (Take{1}));
  const CostModel dear_runs = known_cost(10, 0, 1'000'000);
  EXPECT_EQ(take(view, {}, dear_runs, 4), (Take{8}));
}

TEST(BatchPolicyCostTest, WithMoreThanABatchForEveryLaneNothingIsShared) {
  const CostModel cost = known_cost(10'000, 0, 10'000);
  PolicyOptions options;
  options.batch_size = 4;
  EXPECT_EQ(take(view_of({{50, 8}}, 0), options, cost, 2), (Take{4}));
}

// The best run among all that hold the anchor: every stretch of the rows in order of length.
double best_score(const QueueView& view, const PolicyOptions& options, const CostModel& cost) {
  std::vector<std::size_t> bucket_of;
  for (std::size_t i = 0; i < view.buckets.size(); ++i)
    bucket_of.insert(bucket_of.end(), view.buckets[i].rows, i);
  double best = 0;
  for (std::size_t begin = 0; begin < bucket_of.size(); ++begin) {
    Take taken(view.buckets.size());
    for (std::size_t end = begin; end < bucket_of.size(); ++end) {
      ++taken[bucket_of[end]];
      const std::size_t rows = end - begin + 1;
      const std::uint64_t padded = rows * view.buckets[bucket_of[end]].length;
      if (rows > options.batch_size) break;
      if (rows > 1 && options.max_batch_tokens > 0 && padded > options.max_batch_tokens) break;
      if (taken[view.anchor] > 0) best = std::max(best, score(view, taken, cost));
    }
  }
  return best;
}

void expect_legal(const QueueView& view, const PolicyOptions& options, const Take& taken) {
  ASSERT_EQ(taken.size(), view.buckets.size());
  ASSERT_GT(taken[view.anchor], 0U);
  std::size_t low = taken.size();
  std::size_t high = 0;
  std::uint64_t rows = 0;
  for (std::size_t i = 0; i < taken.size(); ++i) {
    ASSERT_LE(taken[i], view.buckets[i].rows);
    if (taken[i] == 0) continue;
    low = std::min(low, i);
    high = i;
    rows += taken[i];
  }
  for (std::size_t i = low + 1; i < high; ++i) ASSERT_EQ(taken[i], view.buckets[i].rows) << "a gap";
  ASSERT_LE(rows, options.batch_size);
  if (rows > 1 && options.max_batch_tokens > 0) {
    ASSERT_LE(rows * view.buckets[high].length, options.max_batch_tokens);
  }
}

TEST(BatchPolicyCostTest, TheSearchFindsTheBestRunThereIs) {
  const CostModel costs[] = {known_cost(1'000, 0, 20'000), known_cost(118'000, 0, 1'900'000),
                             known_cost(10, 500, 1'000'000), known_cost(100, 0, 10),
                             known_cost(0, 1'000, 3'000)};
  Random random(7);
  for (int round = 0; round < 1'000; ++round) {
    std::vector<LengthBucket> buckets;
    std::uint32_t length = 0;
    for (std::uint64_t i = 1 + random.below(6); i > 0; --i) {
      length += 1 + static_cast<std::uint32_t>(random.below(40));
      buckets.push_back({length, 1 + static_cast<std::uint32_t>(random.below(6))});
    }
    const std::size_t anchor = random.below(buckets.size());
    const QueueView view = view_of(std::move(buckets), anchor);
    PolicyOptions options;
    options.batch_size = 1 + random.below(12);
    options.max_batch_tokens = random.below(2) == 0 ? 0 : 20 + random.below(300);
    const CostModel& cost = costs[random.below(std::size(costs))];
    const Take taken = take(view, options, cost);
    ASSERT_NO_FATAL_FAILURE(expect_legal(view, options, taken)) << "round " << round;
    ASSERT_GE(score(view, taken, cost), 0.999999 * best_score(view, options, cost)) << "round " << round;
  }
}

TEST(BatchPolicyCostTest, LargeQueuesAreAnsweredWithinTheBounds) {
  const CostModel cost = known_cost(118'000, 0, 1'900'000);
  Random random(9);
  for (int round = 0; round < 20; ++round) {
    std::vector<LengthBucket> buckets;
    for (std::uint32_t length = 1; length <= 200; ++length) {
      buckets.push_back({length, 1 + static_cast<std::uint32_t>(random.below(500))});
    }
    const QueueView view = view_of(std::move(buckets), random.below(200));
    PolicyOptions options;
    options.batch_size = 300;
    options.max_batch_tokens = 8'192;
    ASSERT_NO_FATAL_FAILURE(expect_legal(view, options, take(view, options, cost)));
  }
}

}  // namespace
}  // namespace batched
