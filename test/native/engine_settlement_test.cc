// Exactly once: every way in which an admitted call can end, each with the books in balance after it.
#include <functional>

#include "engine_fixture.h"

namespace batched {
namespace {

class EngineSettlementTest : public EngineTest {
 protected:
  // Starts a row on the only lane, which holds it at the gate.
  void occupy(LaneControl& lane, std::uint64_t id = 1) {
    const std::size_t before = lane.started();
    submit_row(id);
    lane.await_started(before + 1);
  }
  void submit_with_deadline(std::uint64_t id, Nanos deadline) {
    std::unique_ptr<Call> made = call(id, {{static_cast<float>(id), 1}});
    made->deadline = deadline;
    ASSERT_TRUE(submit(std::move(made)).ok());
  }
  Counters counters() { return engine_->stats().counters; }
};

TEST_F(EngineSettlementTest, AResultIsDeliveredOnce) {
  LaneControl& lane = add_lane();
  start();
  lane.open_all();
  submit_rows(1, 20);
  sink_->await(20);
  close();
  EXPECT_EQ(sink_->count(), 20U);
  EXPECT_EQ(counters().processed, 20U);
  expect_balance();
}

TEST_F(EngineSettlementTest, AFailedRunFailsItsRow) {
  LaneControl& lane = add_lane();
  start();
  occupy(lane);
  lane.open_with({Code::kBackend, "boom"});
  sink_->await(1);
  EXPECT_EQ(sink_->code(1), Code::kBackend);
  EXPECT_EQ(sink_->result(1).message, "boom");
  close();
  EXPECT_EQ(counters().failed, 1U);
  expect_balance();
}

TEST_F(EngineSettlementTest, AFailedStagingFailsItsRow) {
  LaneControl& lane = add_lane();
  lane.staging = [](const BatchShape&) { return Status(Code::kBackend, "no room"); };
  start();
  submit_row(1);
  sink_->await(1);
  EXPECT_EQ(sink_->code(1), Code::kBackend);
  EXPECT_EQ(lane.started(), 0U);
  close();
  expect_balance();
}

// What a lane may give wrong, table-wise.
struct Tampering {
  const char* name;
  std::function<void(std::vector<TensorView>*)> tamper;
};

TEST_F(EngineSettlementTest, OutputsThatDoNotFitTheBatchFailItBeforeTheyAreRead) {
  const Tampering cases[] = {
      {"a row too few", [](auto* outputs) { (*outputs)[0].dims[0] -= 1; }},
      {"a row too many", [](auto* outputs) { (*outputs)[1].dims[0] += 1; }},
      {"another type", [](auto* outputs) { (*outputs)[1].dtype = DType::kInt64; }},
      {"an output missing", [](auto* outputs) { outputs->pop_back(); }},
      {"an output too many", [](auto* outputs) { outputs->push_back(outputs->front()); }},
      {"no batch axis", [](auto* outputs) { (*outputs)[1].dims = Dims{}; }},
      {"an axis too many", [](auto* outputs) { (*outputs)[1].dims.push_back(1); }},
      {"an axis too few", [](auto* outputs) { (*outputs)[0].dims.erase(1); }},
  };
  for (const Tampering& wrong : cases) {
    SCOPED_TRACE(wrong.name);
    controls_.clear();
    sink_ = std::make_shared<RecordingSink>();
    LaneControl& lane = add_lane();
    lane.tamper = wrong.tamper;
    start();
    occupy(lane, 1);
    submit_rows(2, 3);
    lane.open_all();
    sink_->await(4);
    for (std::uint64_t id = 1; id <= 4; ++id) EXPECT_EQ(sink_->code(id), Code::kOutputMismatch);
    close();
    EXPECT_EQ(counters().failed, 4U);
    expect_balance();
    engine_.reset();
  }
}

TEST_F(EngineSettlementTest, ADeadlineThatHasPassedIsRefused) {
  add_lane();
  start();
  std::unique_ptr<Call> late = call(1, {{1, 1}});
  late->deadline = clock_.now();
  ASSERT_TRUE(engine_->prepare(late.get()).ok());
  EXPECT_EQ(engine_->submit(late).code(), Code::kDeadline);
  ASSERT_NE(late, nullptr) << "a refused call stays its caller's";
  EXPECT_EQ(counters().rejected, 1U);
  close();
  expect_balance();
}

TEST_F(EngineSettlementTest, ADeadlinePassesWhileTheOnlyLaneIsBusy) {
  LaneControl& lane = add_lane();
  start();
  occupy(lane);
  submit_with_deadline(2, clock_.now() + kMillisecond);
  submit_row(3);
  clock_.advance(kMillisecond);
  sink_->await(1);  // the lane is still at its gate
  EXPECT_EQ(sink_->code(2), Code::kDeadline);
  EXPECT_EQ(engine_->stats().queue_rows, 1U);
  lane.open_all();
  sink_->await(3);
  EXPECT_EQ(lane.last_run().names(), std::vector<float>{3});
  close();
  EXPECT_EQ(counters().timed_out, 1U);
  expect_balance();
}

TEST_F(EngineSettlementTest, ADeadlinePassesWhileTheRowRuns) {
  LaneControl& lane = add_lane();
  start();
  submit_with_deadline(1, clock_.now() + kMillisecond);
  lane.await_started(1);
  clock_.advance(2 * kMillisecond);
  sink_->await(1);
  EXPECT_EQ(sink_->code(1), Code::kDeadline);
  EXPECT_GT(engine_->stats().held_bytes, 0U) << "its memory is still being read";
  lane.open();
  close();
  EXPECT_EQ(sink_->count(), 1U);
  expect_balance();
}

TEST_F(EngineSettlementTest, DeadlinesPassInTheirOrderWhateverTheirOrderOfArrival) {
  LaneControl& lane = add_lane();
  start();
  occupy(lane);
  const Nanos now = clock_.now();
  submit_with_deadline(2, now + 3 * kMillisecond);
  submit_with_deadline(3, now + 1 * kMillisecond);
  submit_with_deadline(4, now + 2 * kMillisecond);
  for (std::size_t n = 1; n <= 3; ++n) {
    clock_.advance(kMillisecond);
    sink_->await(n);
    EXPECT_EQ(sink_->count(), n);
  }
  EXPECT_EQ(sink_->order(), (std::vector<std::uint64_t>{3, 4, 2}));
  lane.open();
  sink_->await(4);
  close();
  expect_balance();
}

TEST_F(EngineSettlementTest, ACallIsCancelledWhileItWaits) {
  LaneControl& lane = add_lane();
  start();
  occupy(lane);
  submit_row(2);
  EXPECT_TRUE(engine_->cancel(sink_.get(), 2));
  EXPECT_FALSE(engine_->cancel(sink_.get(), 2)) << "it has settled";
  EXPECT_EQ(sink_->code(2), Code::kCancelled);
  lane.open_all();
  sink_->await(2);
  close();
  EXPECT_EQ(lane.started(), 1U) << "it never ran";
  EXPECT_EQ(counters().cancelled, 1U);
  expect_balance();
}

TEST_F(EngineSettlementTest, ACallIsCancelledWhileItIsStagedBehindTheRunningBatch) {
  options_.policy.batch_size = 2;
  LaneControl& lane = add_lane(/*async=*/true, 2);
  start();
  occupy(lane);
  submit_rows(2, 2);
  lane.await_staged(2);
  EXPECT_TRUE(engine_->cancel(sink_.get(), 3));
  lane.open_all();
  sink_->await(3);
  EXPECT_EQ(sink_->code(3), Code::kCancelled);
  expect_row_result(2, 2, 1);
  close();
  expect_balance();
}

TEST_F(EngineSettlementTest, ACallIsCancelledWhileItRuns) {
  LaneControl& lane = add_lane();
  start();
  occupy(lane);
  EXPECT_TRUE(engine_->cancel(sink_.get(), 1));
  EXPECT_EQ(sink_->code(1), Code::kCancelled);
  lane.open();
  close();
  EXPECT_EQ(sink_->count(), 1U) << "the result of the run is thrown away";
  expect_balance();
}

TEST_F(EngineSettlementTest, ACallCannotBeCancelledAfterItsResult) {
  LaneControl& lane = add_lane();
  start();
  lane.open_all();
  submit_row(1);
  sink_->await(1);
  EXPECT_FALSE(engine_->cancel(sink_.get(), 1));
  EXPECT_FALSE(engine_->cancel(sink_.get(), 99));
  close();
  EXPECT_EQ(sink_->code(1), Code::kOk);
  expect_balance();
}

TEST_F(EngineSettlementTest, AFullQueueRefusesAtOnceAndLeavesTheCallToItsCaller) {
  options_.bounds.max_rows = 2;
  LaneControl& lane = add_lane();
  start();
  occupy(lane);
  submit_rows(2, 2);
  std::unique_ptr<Call> refused = call(4, {{4, 1}});
  ASSERT_TRUE(engine_->prepare(refused.get()).ok());
  EXPECT_EQ(engine_->submit(refused).code(), Code::kQueueFull);
  ASSERT_NE(refused, nullptr);
  lane.open_all();
  sink_->await(3);
  EXPECT_TRUE(engine_->submit(refused).ok()) << "and can be tried again";
  sink_->await(4);
  close();
  EXPECT_EQ(counters().rejected, 1U);
  expect_balance();
}

TEST_F(EngineSettlementTest, AnAbandonedSinkIsToldNothingOfWhatWaited) {
  LaneControl& lane = add_lane();
  start();
  occupy(lane);
  const auto leaving = std::make_shared<RecordingSink>();
  ASSERT_TRUE(submit(make_call(leaving, 2, {{2, 1}})).ok());
  submit_row(3);
  ASSERT_TRUE(submit(make_call(leaving, 4, {{4, 1}, {4, 2}})).ok());
  engine_->abandon(leaving.get());
  EXPECT_EQ(engine_->stats().queue_rows, 1U);
  lane.open_all();
  sink_->await(2);
  close();
  EXPECT_EQ(leaving->count(), 0U);
  EXPECT_EQ(counters().closed, 3U);
  expect_balance();
}

TEST_F(EngineSettlementTest, AnAbandonedSinkOutlivesItsRunningCalls) {
  LaneControl& lane = add_lane();
  start();
  auto leaving = std::make_shared<RecordingSink>();
  const std::weak_ptr<RecordingSink> watch = leaving;
  ASSERT_TRUE(submit(make_call(leaving, 1, {{1, 1}})).ok());
  lane.await_started(1);
  engine_->abandon(leaving.get());
  leaving.reset();
  EXPECT_FALSE(watch.expired());
  lane.open();
  close();
  EXPECT_TRUE(watch.expired());
  expect_balance();
}

TEST_F(EngineSettlementTest, ALostLaneFailsWhatItHoldsAndLeavesTheRestToTheOthers) {
  LaneControl& a = add_lane(/*async=*/true, 2);
  LaneControl& b = add_lane();
  start();
  submit_row(1);
  while (a.started() + b.started() < 1) std::this_thread::yield();
  submit_row(2);
  a.await_started(1);
  b.await_started(1);
  submit_rows(3, 5);
  a.open_with({Code::kDeviceLost, "gone"});
  b.open_all();
  sink_->await(7);
  std::size_t lost = 0;
  for (const auto& [id, result] : sink_->results()) lost += result.code == Code::kDeviceLost ? 1 : 0;
  EXPECT_GE(lost, 1U);
  EXPECT_LE(lost, 2U + 5U);
  EXPECT_TRUE(engine_->healthy()) << "one lane is left";
  submit_row(8);
  sink_->await(8);
  EXPECT_EQ(sink_->code(8), Code::kOk);
  EXPECT_EQ(b.runs().back().names().back(), 8.0F);
  close();
  expect_balance();
}

TEST_F(EngineSettlementTest, ALaneThatLosesItsDeviceWhileStagingTakesNoMoreRows) {
  options_.policy.batch_size = 2;
  LaneControl& a = add_lane(/*async=*/true, 2);
  LaneControl& b = add_lane();
  a.staging = [&a](const BatchShape&) {
    return a.staging_calls++ == 0 ? Status::okay() : Status(Code::kDeviceLost, "gone");
  };
  start();
  // Both lanes run; a full batch is staged on the first, which has the free slot, and is lost there.
  submit_row(1);
  while (a.started() + b.started() < 1) std::this_thread::yield();
  submit_row(2);
  a.await_started(1);
  b.await_started(1);
  submit_rows(3, 2);
  sink_->await(2);
  EXPECT_EQ(sink_->code(3), Code::kDeviceLost);
  submit_rows(5, 4);
  EXPECT_EQ(engine_->stats().queue_rows, 4U) << "they wait for the healthy lane";
  a.open_all();
  b.open_all();
  sink_->await(8);
  for (std::uint64_t id = 5; id <= 8; ++id) EXPECT_EQ(sink_->code(id), Code::kOk);
  close();
  EXPECT_EQ(counters().failed, 2U);
  expect_balance();
}

TEST_F(EngineSettlementTest, WithItsLastLaneLostTheEngineFailsFast) {
  LaneControl& lane = add_lane();
  start();
  occupy(lane);
  submit_rows(2, 3);
  lane.open_with({Code::kDeviceLost, "gone"});
  sink_->await(4);
  for (std::uint64_t id = 1; id <= 4; ++id) EXPECT_EQ(sink_->code(id), Code::kDeviceLost) << id;
  EXPECT_FALSE(engine_->healthy());
  std::unique_ptr<Call> refused = call(5, {{5, 1}});
  const Status refusal = submit(std::move(refused));
  EXPECT_EQ(refusal.code(), Code::kDeviceLost);
  EXPECT_TRUE(refusal.message().ends_with("gone")) << refusal.message();
  close();
  EXPECT_EQ(counters().failed, 4U);
  EXPECT_FALSE(engine_->stats().lanes[0].healthy);
  expect_balance();
}

}  // namespace
}  // namespace batched
