#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <vector>

namespace batched {
namespace {

class SchedulerTest : public testing::Test {
 protected:
  // A call of `lengths.size()` rows.
  Status admit(Scheduler& scheduler, const std::vector<std::uint32_t>& lengths, std::uint64_t bytes = 0,
               double priority = 0, Nanos now = 0, Nanos deadline = kNever) {
    std::vector<Row*> rows;
    for (const std::uint32_t length : lengths) {
      rows_.emplace_back().length = length;
      rows_.back().deadline = deadline;
      rows.push_back(&rows_.back());
    }
    return scheduler.admit(rows, bytes, priority, now);
  }

  // The places, in order of admission, of the rows in the next batch.
  std::vector<std::size_t> next(Scheduler& scheduler, Nanos now = 0) {
    std::vector<Row*> batch;
    scheduler.next({}, now, &batch);
    std::vector<std::size_t> places;
    for (const Row* const row : batch) {
      places.push_back(
          static_cast<std::size_t>(std::ranges::find(rows_, row, [](Row& r) { return &r; }) - rows_.begin()));
    }
    std::ranges::sort(places);
    return places;
  }

  std::deque<Row> rows_;
};

using Places = std::vector<std::size_t>;

TEST_F(SchedulerTest, RefusesRowsBeyondTheBound) {
  Scheduler scheduler({}, {.max_rows = 3}, false);
  EXPECT_TRUE(admit(scheduler, {1, 1}).ok());
  const Status status = admit(scheduler, {1, 1});
  EXPECT_EQ(status.code(), Code::kQueueFull);
  EXPECT_NE(status.message().find("maxQueueRows 3"), std::string::npos);
  EXPECT_EQ(scheduler.rows(), 2U) << "all rows of a call or none";
  EXPECT_FALSE(rows_.back().queued());
  EXPECT_TRUE(admit(scheduler, {1}).ok());
}

TEST_F(SchedulerTest, ACallOfMoreRowsThanTheBoundIsAdmittedAlone) {
  Scheduler scheduler({}, {.max_rows = 3}, false);
  EXPECT_TRUE(admit(scheduler, {1, 1, 1, 1, 1}).ok());
  EXPECT_EQ(admit(scheduler, {1}).code(), Code::kQueueFull);
}

TEST_F(SchedulerTest, ALargeCallIsRefusedWhileAnythingElseWaits) {
  Scheduler scheduler({}, {.max_rows = 3}, false);
  EXPECT_TRUE(admit(scheduler, {1}).ok());
  EXPECT_EQ(admit(scheduler, {1, 1, 1, 1}).code(), Code::kQueueFull);
}

TEST_F(SchedulerTest, BytesAreHeldUntilTheyAreReleased) {
  Scheduler scheduler({}, {.max_bytes = 100}, false);
  EXPECT_TRUE(admit(scheduler, {1}, 60).ok());
  const Status status = admit(scheduler, {1}, 41);
  EXPECT_EQ(status.code(), Code::kQueueFull);
  EXPECT_NE(status.message().find("maxQueueBytes 100"), std::string::npos);
  EXPECT_EQ(next(scheduler), Places{0});
  EXPECT_EQ(admit(scheduler, {1}, 41).code(), Code::kQueueFull) << "a batch still reads them";
  scheduler.release_bytes(60);
  EXPECT_TRUE(admit(scheduler, {1}, 100).ok());
  EXPECT_EQ(scheduler.bytes(), 100U);
}

TEST_F(SchedulerTest, ACallThatWillNeverFitIsToldSo) {
  Scheduler scheduler({}, {.max_bytes = 100}, false);
  const Status status = admit(scheduler, {1}, 101);
  EXPECT_EQ(status.code(), Code::kInvalidInput);
  EXPECT_NE(status.message().find("maxQueueBytes 100"), std::string::npos);
}

TEST_F(SchedulerTest, ACallOfExactlyTheBoundsFits) {
  Scheduler scheduler({}, {.max_rows = 2, .max_bytes = 10}, false);
  EXPECT_TRUE(admit(scheduler, {1, 1}, 10).ok());
}

TEST_F(SchedulerTest, TiesAreFirstInFirstOut) {
  Scheduler scheduler({.batch_size = 2}, {}, false);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(admit(scheduler, {7}).ok());
  EXPECT_EQ(next(scheduler), (Places{0, 1}));
  EXPECT_EQ(next(scheduler), (Places{2, 3}));
  EXPECT_EQ(next(scheduler), (Places{4}));
  EXPECT_EQ(next(scheduler), Places{});
}

TEST_F(SchedulerTest, SmallCallsGoFirstButALargeOneWaitsNoLongerThanItsSlack) {
  PolicyOptions options;
  options.batch_size = 1;
  options.small_batch_threshold = 1;
  options.large_call_slack = 50;
  Scheduler scheduler(options, {}, false);
  ASSERT_TRUE(admit(scheduler, {5, 5}, 0, 0, /*now=*/0).ok());  // 0, 1: large
  ASSERT_TRUE(admit(scheduler, {5}, 0, 0, 10).ok());            // 2
  ASSERT_TRUE(admit(scheduler, {5}, 0, 0, 49).ok());            // 3
  ASSERT_TRUE(admit(scheduler, {5}, 0, 0, 50).ok());            // 4: as late as the slack, and later to come
  ASSERT_TRUE(admit(scheduler, {5}, 0, 0, 51).ok());            // 5
  for (const std::size_t expected : {2U, 3U, 0U, 1U, 4U, 5U}) EXPECT_EQ(next(scheduler), Places{expected});
}

TEST_F(SchedulerTest, PriorityIsASteeperOrGentlerSlack) {
  PolicyOptions options;
  options.batch_size = 1;
  options.priority_slack = 10;
  Scheduler scheduler(options, {}, false);
  ASSERT_TRUE(admit(scheduler, {5}, 0, 2, 0).ok());
  ASSERT_TRUE(admit(scheduler, {5}, 0, 1, 0).ok());
  ASSERT_TRUE(admit(scheduler, {5}, 0, 0, 0).ok());
  ASSERT_TRUE(admit(scheduler, {5}, 0, 0, 15).ok());
  for (const std::size_t expected : {2U, 1U, 3U, 0U}) EXPECT_EQ(next(scheduler), Places{expected});
}

TEST_F(SchedulerTest, ASoonerDeadlineBringsARowForward) {
  PolicyOptions options;
  options.batch_size = 1;
  options.priority_slack = 100;
  Scheduler scheduler(options, {}, false);
  ASSERT_TRUE(admit(scheduler, {5}, 0, 1, 0).ok());
  ASSERT_TRUE(admit(scheduler, {5}, 0, 1, 0, /*deadline=*/20).ok());
  EXPECT_EQ(next(scheduler), Places{1});
}

TEST_F(SchedulerTest, NoFloodOfBetterFittingRowsStarvesTheAnchor) {
  // A long row among many short ones: length grouping alone would never choose it.
  Scheduler scheduler({.batch_size = 4}, {}, false);
  ASSERT_TRUE(admit(scheduler, {100}).ok());
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(admit(scheduler, {3}).ok());
  const Places first = next(scheduler);
  EXPECT_EQ(first.front(), 0U);
}

TEST_F(SchedulerTest, EveryRowIsBoundWithinAsManyBatchesAsRowsWereBeforeIt) {
  // Each dispatch takes the anchor, so the row that is k-th in line is bound within k batches, however
  // the lengths lie and whatever arrives later.
  Scheduler scheduler({.batch_size = 4}, {}, true);
  std::uint32_t length = 1;
  const auto admit_one = [&](Nanos now) {
    length = length * 37 % 101;
    ASSERT_TRUE(admit(scheduler, {length}, 0, 0, now).ok());
  };
  for (int i = 0; i < 40; ++i) admit_one(i);
  std::vector<Row*> batch;
  for (Nanos turn = 0; turn < 40; ++turn) {
    for (int i = 0; i < 4; ++i) admit_one(100 + turn);  // arrivals keep the queue full
    scheduler.next({}, 100 + turn, &batch);
    for (Nanos earlier = 0; earlier <= turn; ++earlier) {
      ASSERT_FALSE(rows_[static_cast<std::size_t>(earlier)].queued()) << earlier << " after " << turn;
    }
  }
}

TEST_F(SchedulerTest, ALoweredTokenBudgetIsNeverRaisedAgain) {
  Scheduler scheduler({.batch_size = 8, .max_batch_tokens = 0}, {}, false);
  scheduler.lower_token_budget(40);
  EXPECT_EQ(scheduler.options().max_batch_tokens, 40U);
  scheduler.lower_token_budget(90);
  EXPECT_EQ(scheduler.options().max_batch_tokens, 40U);
  scheduler.lower_token_budget(0);
  EXPECT_EQ(scheduler.options().max_batch_tokens, 1U) << "rows still run, one by one";
  ASSERT_TRUE(admit(scheduler, {5, 5}).ok());
  EXPECT_EQ(next(scheduler), Places{0});
}

TEST_F(SchedulerTest, HoldingCanBeStopped) {
  Scheduler scheduler({.batch_size = 8, .timeout = 100}, {}, false);
  ASSERT_TRUE(admit(scheduler, {5}).ok());
  EXPECT_EQ(next(scheduler), Places{});
  scheduler.stop_holding();
  EXPECT_EQ(next(scheduler), Places{0});
}

TEST_F(SchedulerTest, RemovedRowsAreNotBound) {
  Scheduler scheduler({}, {}, false);
  ASSERT_TRUE(admit(scheduler, {5, 6, 7}).ok());
  scheduler.remove(&rows_[1]);
  EXPECT_EQ(scheduler.tokens(), 12U);
  EXPECT_EQ(next(scheduler), (Places{0, 2}));
  EXPECT_EQ(scheduler.oldest(), nullptr);
}

TEST_F(SchedulerTest, AnEmptyQueueIsIdleEvenAfterADecisionToWait) {
  Scheduler scheduler({.batch_size = 8, .timeout = 100}, {}, false);
  ASSERT_TRUE(admit(scheduler, {5}).ok());
  std::vector<Row*> batch;
  EXPECT_EQ(scheduler.next({}, 0, &batch).until, 100);
  scheduler.remove(&rows_[0]);
  const Decision& decision = scheduler.next({}, 0, &batch);
  EXPECT_EQ(decision.kind, Decision::Kind::kIdle);
  EXPECT_EQ(decision.until, kNever) << "or a lane would wake for nothing";
}

}  // namespace
}  // namespace batched
