// The end of an engine: close() with and without drain, and destruction at any point.
#include <atomic>

#include "engine_fixture.h"

namespace batched {
namespace {

class EngineCloseTest : public EngineTest {};

TEST_F(EngineCloseTest, ClosingWithDrainRunsWhatWasAdmitted) {
  LaneControl& lane = add_lane();
  start();
  submit_row(1);
  lane.await_started(1);
  submit_rows(2, 10);
  engine_->close(/*drain=*/true, nullptr);
  EXPECT_EQ(submit(call(99, {{1, 1}})).code(), Code::kClosed);
  lane.open_all();
  close(/*drain=*/true);
  EXPECT_EQ(sink_->count(), 11U);
  EXPECT_EQ(engine_->stats().counters.processed, 11U);
  EXPECT_EQ(engine_->stats().counters.rejected, 1U);
  expect_balance();
}

TEST_F(EngineCloseTest, ClosingWithoutDrainSettlesWhatWaitsAndFinishesWhatRuns) {
  LaneControl& lane = add_lane();
  start();
  submit_row(1);
  lane.await_started(1);
  submit_rows(2, 10);
  engine_->close(/*drain=*/false, nullptr);
  EXPECT_EQ(sink_->count(), 10U) << "told at once";
  lane.open_all();
  close(/*drain=*/false);
  EXPECT_EQ(sink_->code(1), Code::kOk);
  for (std::uint64_t id = 2; id <= 11; ++id) EXPECT_EQ(sink_->code(id), Code::kClosed);
  EXPECT_EQ(engine_->stats().counters.closed, 10U);
  expect_balance();
}

TEST_F(EngineCloseTest, ADrainCanBeCutShort) {
  LaneControl& lane = add_lane();
  start();
  submit_row(1);
  lane.await_started(1);
  submit_rows(2, 10);
  engine_->close(/*drain=*/true, nullptr);
  EXPECT_EQ(sink_->count(), 0U);
  engine_->close(/*drain=*/false, nullptr);
  EXPECT_EQ(sink_->count(), 10U);
  lane.open();
  close();
  expect_balance();
}

TEST_F(EngineCloseTest, AClosedEngineHasGivenUpItsLanes) {
  LaneControl& sync = add_lane();
  LaneControl& async = add_lane(/*async=*/true, 2);
  start();
  sync.open_all();
  async.open_all();
  submit_rows(1, 20);
  close();
  EXPECT_TRUE(sync.was_destroyed());
  EXPECT_TRUE(async.was_destroyed());
  engine_->clear_stats();
  EXPECT_EQ(engine_->stats().lanes.size(), 2U);
  expect_balance();
}

TEST_F(EngineCloseTest, AnIdleEngineClosesAndClosesAgain) {
  add_lane();
  add_lane(/*async=*/true, 2);
  start();
  close();
  close(/*drain=*/false);
  EXPECT_FALSE(engine_->healthy());
  EXPECT_EQ(submit(call(1, {{1, 1}})).code(), Code::kClosed);
  expect_balance();
}

TEST_F(EngineCloseTest, EveryCallerOfCloseIsTold) {
  LaneControl& lane = add_lane();
  start();
  submit_row(1);
  lane.await_started(1);
  std::atomic<int> told = 0;
  for (int i = 0; i < 3; ++i) engine_->close(/*drain=*/true, [&] { ++told; });
  EXPECT_EQ(told, 0);
  lane.open();
  close();
  EXPECT_EQ(told, 3);
}

TEST_F(EngineCloseTest, CancellingTheLastWaitingCallEndsADrain) {
  options_.policy.timeout = 1'000 * kMillisecond;
  LaneControl& lane = add_lane();
  add_lane();
  start();
  submit_row(1);
  EXPECT_TRUE(engine_->cancel(sink_.get(), 1));
  close(/*drain=*/true);
  EXPECT_EQ(lane.started(), 0U);
  expect_balance();
}

TEST_F(EngineCloseTest, AFailureThatTakesTheLastWaitingRowsEndsADrain) {
  // A call whose rows span two batches: the first fails, and the call takes its other rows with it.
  options_.policy.batch_size = 2;
  LaneControl& lane = add_lane();
  start();
  ASSERT_TRUE(submit(call(1, {{1, 1}, {2, 1}, {3, 1}, {4, 1}})).ok());
  lane.await_started(1);
  engine_->close(/*drain=*/true, nullptr);
  lane.open_with({Code::kDeadline, "not to be tried again"});
  close();
  EXPECT_EQ(lane.started(), 1U);
  EXPECT_EQ(engine_->stats().counters.timed_out, 4U);
  expect_balance();
}

TEST_F(EngineCloseTest, DestructionSettlesEverythingOnce) {
  for (const bool async : {false, true}) {
    SCOPED_TRACE(async);
    controls_.clear();
    sink_ = std::make_shared<RecordingSink>();
    options_.policy.batch_size = 4;
    LaneControl& lane = add_lane(async, async ? 2 : 1);
    start();
    submit_rows(1, 4);
    lane.await_started(1);
    submit_rows(5, 8);
    if (async) lane.await_staged(2);
    engine_.reset();  // the gate is never opened
    EXPECT_TRUE(lane.was_interrupted());
    EXPECT_EQ(sink_->count(), 12U);
    for (const auto& [id, result] : sink_->results()) EXPECT_EQ(result.code, Code::kClosed) << id;
    EXPECT_TRUE(sink_->repeated().empty());
  }
}

TEST_F(EngineCloseTest, DestructionDoesNotTryAnInterruptedBatchAgain) {
  LaneControl& lane = add_lane();
  start();
  submit_row(1);
  lane.await_started(1);
  submit_rows(2, 8);
  lane.open();
  lane.await_started(2);
  engine_.reset();
  EXPECT_EQ(lane.started(), 2U);
  EXPECT_EQ(sink_->count(), 9U);
}

TEST_F(EngineCloseTest, DestructionOfAnIdleEngineWithATimer) {
  LaneControl& lane = add_lane();
  start();
  std::unique_ptr<Call> made = call(1, {{1, 1}});
  made->deadline = clock_.now() + kMillisecond;
  ASSERT_TRUE(submit(std::move(made)).ok());
  lane.open();
  sink_->await(1);
  engine_.reset();
  EXPECT_EQ(sink_->code(1), Code::kOk);
}

TEST_F(EngineCloseTest, DestructionWithDeadlinesThatWillNeverCome) {
  LaneControl& lane = add_lane();
  start();
  for (std::uint64_t id = 1; id <= 5; ++id) {
    std::unique_ptr<Call> made = call(id, {{1, 1}});
    made->deadline = clock_.now() + kMillisecond;
    ASSERT_TRUE(submit(std::move(made)).ok());
  }
  lane.await_started(1);
  engine_.reset();
  EXPECT_EQ(sink_->count(), 5U);
  EXPECT_TRUE(sink_->repeated().empty());
}

TEST_F(EngineCloseTest, DestructionFollowsALostLane) {
  LaneControl& lane = add_lane();
  add_lane();
  start();
  submit_row(1);
  while (controls_[0]->started() + controls_[1]->started() < 1) std::this_thread::yield();
  LaneControl& used = lane.started() > 0 ? lane : *controls_[1];
  used.open_with({Code::kDeviceLost, "gone"});
  sink_->await(1);
  submit_row(2);
  engine_.reset();
  EXPECT_EQ(sink_->count(), 2U);
}

}  // namespace
}  // namespace batched
