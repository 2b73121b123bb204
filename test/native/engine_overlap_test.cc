// A lane that keeps several runs in flight, as a GPU's does.
#include "engine_fixture.h"
#include "known_cost.h"

namespace batched {
namespace {

class EngineOverlapTest : public EngineTest {
 protected:
  LaneControl& add_overlapping_lane() {
    LaneControl& lane = add_lane(/*async=*/true, /*slots=*/3);
    lane.runs_in_flight = 2;
    return lane;
  }
};

TEST_F(EngineOverlapTest, TheNextBatchIsStartedBeforeOneEnds) {
  options_.policy.batch_size = 2;
  LaneControl& lane = add_overlapping_lane();
  start();
  submit_rows(1, 8);
  lane.await_started(2);
  lane.await_staged(3);
  EXPECT_EQ(lane.started(), 2U) << "the third waits in its slot";
  EXPECT_EQ(engine_->stats().queue_rows, 2U) << "and the fourth in the queue";
  lane.open();
  lane.await_started(3);
  lane.await_staged(4);
  lane.open_all();
  sink_->await(8);
  for (std::uint64_t id = 1; id <= 8; ++id) expect_row_result(id, static_cast<float>(id), 1);
  close();
  expect_balance();
}

TEST_F(EngineOverlapTest, AFewRowsWaitForTheLastRunInFlight) {
  options_.policy.batch_size = 2;
  options_.cost = known_cost(kMillisecond, 0, kMillisecond);  // a batch of two rows of one token: 3 ms
  LaneControl& lane = add_overlapping_lane();
  start();
  submit_rows(1, 4);
  lane.await_started(2);
  submit_row(5);
  clock_.await_waiters(1);
  clock_.advance(4 * kMillisecond);  // the second would end at 6 ms
  clock_.await_waiters(1);
  EXPECT_EQ(lane.staged(), 2U);
  clock_.advance(3 * kMillisecond);
  lane.await_staged(3);
  lane.open_all();
  sink_->await(5);
  close();
  expect_balance();
}

TEST_F(EngineOverlapTest, ADurationBeginsWhereTheRunBeforeItEnded) {
  options_.policy.batch_size = 1;
  LaneControl& lane = add_overlapping_lane();
  start();
  submit_rows(1, 2);
  lane.await_started(2);
  clock_.advance(10 * kMillisecond);
  lane.open();
  sink_->await(1);
  clock_.advance(5 * kMillisecond);
  lane.open();
  sink_->await(2);
  close();
  const EngineStats stats = engine_->stats();
  EXPECT_EQ(stats.lanes[0].busy, 15 * kMillisecond) << "not the sum of both";
  EXPECT_NEAR(static_cast<double>(stats.counters.processing_time.percentile(0.01)), 5.0 * kMillisecond,
              kMillisecond);
  EXPECT_NEAR(static_cast<double>(stats.counters.processing_time.max()), 10.0 * kMillisecond, kMillisecond);
}

TEST_F(EngineOverlapTest, ABatchThatFailsIsRunAgainOnceTheOthersAreOut) {
  options_.policy.batch_size = 4;
  LaneControl& lane = add_overlapping_lane();
  lane.judge = [](const RunRecord& run) {
    for (const std::vector<float>& row : run.rows) {
      if (row.front() == 3) return Status(Code::kBackend, "three");
    }
    return Status::okay();
  };
  start();
  submit_rows(1, 12);
  lane.await_started(2);
  lane.open_all();
  sink_->await(12);
  for (std::uint64_t id = 1; id <= 12; ++id) {
    if (id == 3) {
      EXPECT_EQ(sink_->code(id), Code::kBackend);
    } else {
      expect_row_result(id, static_cast<float>(id), 1);
    }
  }
  close();
  EXPECT_EQ(engine_->stats().counters.isolated, 1U);
  expect_balance();
}

TEST_F(EngineOverlapTest, ALostDeviceEndsWhatIsInFlightStagedAndWaiting) {
  options_.policy.batch_size = 2;
  LaneControl& lane = add_overlapping_lane();
  lane.judge = [](const RunRecord&) { return Status(Code::kDeviceLost, "gone"); };
  start();
  submit_rows(1, 10);
  lane.await_started(2);
  lane.await_staged(3);
  lane.open_all();
  sink_->await(10);
  for (std::uint64_t id = 1; id <= 10; ++id) EXPECT_EQ(sink_->code(id), Code::kDeviceLost);
  EXPECT_EQ(lane.started(), 2U) << "nothing more is given to it";
  EXPECT_FALSE(engine_->healthy());
  close();
  expect_balance();
}

TEST_F(EngineOverlapTest, ClosingDrainsWhatIsInFlight) {
  options_.policy.batch_size = 2;
  LaneControl& lane = add_overlapping_lane();
  start();
  submit_rows(1, 20);
  lane.await_started(2);
  lane.open_all();
  close(/*drain=*/true);
  sink_->await(20);
  for (std::uint64_t id = 1; id <= 20; ++id) expect_row_result(id, static_cast<float>(id), 1);
  expect_balance();
}

TEST_F(EngineOverlapTest, DestroyedWithRunsInFlightItInterruptsThem) {
  options_.policy.batch_size = 2;
  LaneControl& lane = add_overlapping_lane();
  start();
  submit_rows(1, 10);
  lane.await_started(2);
  engine_.reset();
  EXPECT_EQ(sink_->count(), 10U);
  for (std::uint64_t id = 1; id <= 10; ++id) EXPECT_EQ(sink_->code(id), Code::kClosed);
}

}  // namespace
}  // namespace batched
