// A batch that fails: the row at fault fails alone, and running out of memory loses nothing.
#include <algorithm>

#include "engine_fixture.h"

namespace batched {
namespace {

// The model refuses any batch with a negative number in it.
Status refuse_negative(const RunRecord& run) {
  for (const std::vector<float>& row : run.rows) {
    if (row.front() < 0) return {Code::kBackend, "negative"};
  }
  return Status::okay();
}

constexpr std::size_t kMostRowsAtFault = 4;

class EngineIsolationTest : public EngineTest {
 protected:
  // Holds the lane with a good row, then hands over `rows` in one batch, named 1, 2, ... in order.
  void run_batch(LaneControl& lane, const std::vector<float>& numbers) {
    submit_row(1'000);
    lane.await_started(1);
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      ASSERT_TRUE(submit(call(i + 1, {{numbers[i], 2}})).ok());
    }
    lane.open_all();
    sink_->await(numbers.size() + 1);
  }
  static std::size_t most_extra_runs(std::size_t rows) {
    std::size_t levels = 0;
    while ((std::size_t{1} << levels) < rows) ++levels;
    return 2 * levels + 1;
  }
};

TEST_F(EngineIsolationTest, OneBadRowFailsAloneWhereverItIs) {
  for (const std::size_t rows : {2U, 3U, 5U, 7U, 8U, 31U, 32U}) {
    for (const std::size_t bad : {std::size_t{0}, rows / 2, rows - 1}) {
      SCOPED_TRACE(std::to_string(bad) + " of " + std::to_string(rows));
      controls_.clear();
      sink_ = std::make_shared<RecordingSink>();
      LaneControl& lane = add_lane();
      lane.judge = refuse_negative;
      start();
      std::vector<float> numbers;
      for (std::size_t i = 0; i < rows; ++i) numbers.push_back(static_cast<float>(i + 1));
      numbers[bad] = -1;
      run_batch(lane, numbers);
      for (std::size_t i = 0; i < rows; ++i) {
        if (i == bad) {
          EXPECT_EQ(sink_->code(i + 1), Code::kBackend);
        } else {
          expect_row_result(i + 1, numbers[i], 2);
        }
      }
      EXPECT_LE(lane.started() - 2, most_extra_runs(rows));
      close();
      EXPECT_EQ(engine_->stats().counters.isolated, 1U);
      EXPECT_EQ(engine_->stats().counters.failed, 1U);
      expect_balance();
      engine_.reset();
    }
  }
}

TEST_F(EngineIsolationTest, FourBadRowsAreFoundAndTheOthersGetTheirResults) {
  LaneControl& lane = add_lane();
  lane.judge = refuse_negative;
  start();
  std::vector<float> numbers(32, 1.0F);
  for (const std::size_t bad : {0U, 9U, 20U, 31U}) numbers[bad] = -1.0F;
  run_batch(lane, numbers);
  EXPECT_LE(lane.started() - 2, kMostRowsAtFault * most_extra_runs(32));
  for (std::size_t i = 0; i < 32; ++i) {
    EXPECT_EQ(sink_->code(i + 1), numbers[i] < 0 ? Code::kBackend : Code::kOk) << i;
  }
  close();
  EXPECT_EQ(engine_->stats().counters.isolated, 4U);
  expect_balance();
}

TEST_F(EngineIsolationTest, ManyBadRowsStayWithinTheBudgetOfRuns) {
  LaneControl& lane = add_lane();
  lane.judge = refuse_negative;
  start();
  std::vector<float> numbers;
  for (int i = 0; i < 32; ++i) numbers.push_back(i % 3 == 0 ? -1.0F : 1.0F);
  run_batch(lane, numbers);
  EXPECT_LE(lane.started() - 2, kMostRowsAtFault * most_extra_runs(32));
  for (std::size_t i = 0; i < 32; ++i) {
    if (numbers[i] < 0) {
      EXPECT_EQ(sink_->code(i + 1), Code::kBackend);
    }
  }
  close();
  expect_balance();
}

TEST_F(EngineIsolationTest, ABatchThatAlwaysFailsEnds) {
  LaneControl& lane = add_lane();
  lane.judge = [](const RunRecord& run) {
    return run.rows.size() == 1 && run.rows[0][0] == 1'000 ? Status::okay() : Status(Code::kBackend, "never");
  };
  start();
  run_batch(lane, std::vector<float>(32, 1.0F));
  EXPECT_LE(lane.started() - 2, kMostRowsAtFault * most_extra_runs(32));
  close();
  EXPECT_EQ(engine_->stats().counters.failed, 32U);
  expect_balance();
}

TEST_F(EngineIsolationTest, OnlyFailuresOfARunAreTriedAgain) {
  for (const Code code : {Code::kOutputMismatch, Code::kDeviceLost, Code::kClosed, Code::kInvalidInput}) {
    controls_.clear();
    sink_ = std::make_shared<RecordingSink>();
    LaneControl& lane = add_lane();
    start();
    submit_row(100);
    lane.await_started(1);
    submit_rows(1, 4);
    lane.open();
    lane.await_started(2);
    lane.open_with({code, "as it is"});
    sink_->await(5);
    EXPECT_EQ(lane.started(), 2U);
    for (std::uint64_t id = 1; id <= 4; ++id) EXPECT_EQ(sink_->code(id), code);
    close();
    expect_balance();
    engine_.reset();
  }
}

TEST_F(EngineIsolationTest, AFailedStagingIsIsolatedAsWell) {
  LaneControl& lane = add_lane();
  lane.staging = [](const BatchShape& shape) {
    return shape.rows > 2 ? Status(Code::kBackend, "too many") : Status::okay();
  };
  start();
  run_batch(lane, std::vector<float>(8, 3.0F));
  for (std::uint64_t id = 1; id <= 8; ++id) expect_row_result(id, 3, 2);
  close();
  expect_balance();
}

TEST_F(EngineIsolationTest, ACallCancelledBetweenTheRunsIsNotRunAgain) {
  LaneControl& lane = add_lane();
  start();
  submit_row(100);
  lane.await_started(1);
  submit_rows(1, 4);
  lane.open();
  lane.await_started(2);
  lane.open_with({Code::kBackend, "first"});
  lane.await_started(3);  // the first half: rows 1 and 2, or 3 and 4
  const std::vector<float> half = lane.last_run().names();
  const auto other = static_cast<std::uint64_t>(half[0] < 2.5F ? 3 : 1);
  EXPECT_TRUE(engine_->cancel(sink_.get(), other));
  EXPECT_TRUE(engine_->cancel(sink_.get(), other + 1));
  lane.open_all();
  sink_->await(5);
  EXPECT_EQ(lane.started(), 3U);
  close();
  EXPECT_EQ(engine_->stats().counters.cancelled, 2U);
  expect_balance();
}

TEST_F(EngineIsolationTest, RetriesAreNotStarvedByASaturatedLane) {
  options_.policy.batch_size = 2;
  LaneControl& lane = add_lane(/*async=*/true, 2);
  start();
  submit_rows(1, 2);
  lane.await_started(1);
  submit_rows(3, 2);
  lane.await_staged(2);
  submit_rows(5, 8);
  lane.open_with({Code::kBackend, "first"});
  lane.await_started(2);    // what was staged goes first
  clock_.await_waiters(1);  // the lane has decided what to do meanwhile
  EXPECT_EQ(lane.staged(), 2U);
  lane.open();
  lane.await_started(3);
  EXPECT_EQ(lane.last_run().rows.size(), 1U) << "then the parts, before any new batch";
  lane.open();
  lane.await_started(4);
  EXPECT_EQ(lane.last_run().rows.size(), 1U);
  lane.open_all();
  sink_->await(12);
  for (std::uint64_t id = 1; id <= 12; ++id) expect_row_result(id, static_cast<float>(id), 1);
  close();
  expect_balance();
}

TEST_F(EngineIsolationTest, ALaneThatIsLostInARetryFailsTheOtherPartsWithoutRunningThem) {
  LaneControl& lane = add_lane();
  start();
  submit_row(100);
  lane.await_started(1);
  submit_rows(1, 8);
  lane.open();
  lane.await_started(2);
  lane.open_with({Code::kBackend, "first"});
  lane.await_started(3);
  lane.open_with({Code::kDeviceLost, "gone"});
  sink_->await(9);
  EXPECT_EQ(lane.started(), 3U);
  for (std::uint64_t id = 1; id <= 8; ++id) EXPECT_EQ(sink_->code(id), Code::kDeviceLost);
  close();
  expect_balance();
}

// The device holds at most `most` padded numbers.
std::function<Status(const RunRecord&)> memory_for(std::size_t most) {
  return [most](const RunRecord& run) {
    return run.rows.size() * run.rows[0].size() > most ? Status(Code::kOutOfMemory, "no memory")
                                                       : Status::okay();
  };
}

TEST_F(EngineIsolationTest, OutOfMemoryHalvesTheBatchAndLosesNothing) {
  LaneControl& lane = add_lane();
  lane.judge = memory_for(6);
  start();
  run_batch(lane, std::vector<float>(32, 5.0F));
  for (std::uint64_t id = 1; id <= 32; ++id) expect_row_result(id, 5, 2);
  EXPECT_GT(engine_->stats().counters.retries, 0U);
  EXPECT_EQ(engine_->stats().counters.isolated, 0U);
  close();
  expect_balance();
}

TEST_F(EngineIsolationTest, OutOfMemoryLowersTheBudgetOfLaterBatches) {
  LaneControl& lane = add_lane();
  lane.judge = memory_for(8);
  start();
  run_batch(lane, std::vector<float>(32, 5.0F));
  const std::size_t before = lane.started();
  submit_rows(200, 32, 2);
  sink_->await(65);
  const std::vector<RunRecord> runs = lane.runs();
  for (std::size_t i = before; i < runs.size(); ++i) EXPECT_LE(runs[i].rows.size() * 2, 8U);
  for (std::uint64_t id = 200; id < 232; ++id) EXPECT_EQ(sink_->code(id), Code::kOk);
  close();
  expect_balance();
}

TEST_F(EngineIsolationTest, ARowThatNeedsMoreMemoryThanThereIsFailsAlone) {
  LaneControl& lane = add_lane();
  lane.judge = memory_for(4);
  start();
  submit_row(1'000);
  lane.await_started(1);
  submit_row(1, 2);
  submit_row(2, 50);
  submit_row(3, 2);
  lane.open_all();
  sink_->await(4);
  EXPECT_EQ(sink_->code(2), Code::kOutOfMemory);
  expect_row_result(1, 1, 2);
  expect_row_result(3, 3, 2);
  close();
  expect_balance();
}

}  // namespace
}  // namespace batched
