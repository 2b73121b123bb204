// When the engine dispatches, and what a lane is given: work conservation, late binding, overlap.
#include "engine_fixture.h"
#include "known_cost.h"

namespace batched {
namespace {

using Names = std::vector<float>;

class EngineDispatchTest : public EngineTest {};

TEST_F(EngineDispatchTest, ALoneCallRunsAtOnce) {
  LaneControl& lane = add_lane();
  start();
  submit_row(7, 3);
  lane.await_started(1);  // no time has passed: nothing but the call can have started it
  lane.open();
  sink_->await(1);
  expect_row_result(7, 7, 3);
  EXPECT_EQ(engine_->stats().counters.reasons[static_cast<std::size_t>(DispatchReason::kIdle)], 1U);
  close();
  expect_balance();
}

TEST_F(EngineDispatchTest, ALoneCallHasTheMachineForItselfAndTwoCallsDoNot) {
  LaneControl& a = add_lane();
  LaneControl& b = add_lane();
  start();
  submit_row(1);
  while (a.started() + b.started() == 0) std::this_thread::yield();
  LaneControl& first = a.started() > 0 ? a : b;
  LaneControl& second = a.started() > 0 ? b : a;
  EXPECT_TRUE(first.last_run().alone);
  submit_row(2);
  second.await_started(1);
  EXPECT_FALSE(second.last_run().alone);
  first.open();
  second.open();
  sink_->await(2);
  close();
  expect_balance();
}

TEST_F(EngineDispatchTest, RowsThatArriveWhileALaneRunsShareTheNextBatch) {
  LaneControl& lane = add_lane();
  start();
  submit_row(1);
  lane.await_started(1);
  for (std::uint64_t id = 2; id <= 6; ++id) submit_row(id);
  EXPECT_EQ(lane.staged(), 1U);
  lane.open();
  lane.await_started(2);
  EXPECT_EQ(lane.last_run().rows.size(), 5U);
  lane.open();
  sink_->await(6);
  for (std::uint64_t id = 1; id <= 6; ++id) expect_row_result(id, static_cast<float>(id), 1);
  EXPECT_EQ(sink_->deliveries(), 2U) << "one delivery per batch and sink";
  close();
  expect_balance();
}

TEST_F(EngineDispatchTest, EveryIdleLaneTakesAWaitingRow) {
  for (int i = 0; i < 3; ++i) add_lane();
  start();
  for (std::uint64_t id = 1; id <= 3; ++id) submit_row(id);
  // Each run is held at its gate, so three can only have started on three lanes, unless rows shared one.
  std::size_t rows = 0;
  for (const auto& control : controls_) control->open_all();
  sink_->await(3);
  for (const auto& control : controls_) {
    for (const RunRecord& run : control->runs()) rows += run.rows.size();
  }
  EXPECT_EQ(rows, 3U);
  close();
  expect_balance();
}

// Both lanes sleep inside the engine, the one that runs as well: its completion comes from elsewhere. It
// fell asleep last.
TEST_F(EngineDispatchTest, ARowIsNotLeftToABusyLaneWhileAnotherIsIdle) {
  for (const std::size_t slots : {1U, 2U}) {
    SCOPED_TRACE(slots);
    sink_ = std::make_shared<RecordingSink>();
    controls_.clear();
    LaneControl& a = add_lane(/*async=*/true, slots);
    LaneControl& b = add_lane(/*async=*/true, slots);
    start();
    clock_.await_waiters(2);
    submit_row(1);
    while (a.started() + b.started() < 1) std::this_thread::yield();
    clock_.await_waiters(2);
    submit_row(2);
    a.await_started(1);
    b.await_started(1);
    a.open();
    b.open();
    sink_->await(2);
    close();
    expect_balance();
    engine_.reset();
  }
}

TEST_F(EngineDispatchTest, AFullBatchIsNotStagedBehindABusyLaneWhileAnotherIsIdle) {
  options_.policy.batch_size = 4;
  for (int round = 0; round < 20; ++round) {  // both are woken: either may come first
    sink_ = std::make_shared<RecordingSink>();
    controls_.clear();
    LaneControl& a = add_lane(/*async=*/true, 2);
    LaneControl& b = add_lane(/*async=*/true, 2);
    start();
    clock_.await_waiters(2);
    submit_row(1);
    while (a.started() + b.started() < 1) std::this_thread::yield();
    clock_.await_waiters(2);
    submit_rows(2, 4);
    a.await_started(1);
    b.await_started(1);
    a.open_all();
    b.open_all();
    sink_->await(5);
    close();
    expect_balance();
    engine_.reset();
  }
}

TEST_F(EngineDispatchTest, NothingIsBoundEarlyWhileTheRunningBatchHasLongToGo) {
  options_.cost = known_cost(kMillisecond, 0, kMillisecond);
  LaneControl& lane = add_lane(/*async=*/true, 2);
  start();
  const Nanos begin = clock_.now();
  submit_row(1, 2);
  lane.await_started(1);
  submit_row(2, 2);
  // The lane has a free slot, but decides to wait until the predicted end, give or take the fit.
  submit_row(3, 2);
  EXPECT_EQ(lane.staged(), 1U);
  EXPECT_EQ(engine_->stats().queue_rows, 2U);
  clock_.advance(kMillisecond);
  submit_row(4, 2);
  EXPECT_EQ(engine_->stats().queue_rows, 3U);
  EXPECT_EQ(lane.staged(), 1U);
  clock_.advance(begin + 4 * kMillisecond - clock_.now());  // past the predicted end: now it stages
  lane.await_staged(2);
  EXPECT_EQ(lane.started(), 1U) << "one run at a time";
  lane.open();
  lane.await_started(2);
  EXPECT_EQ(lane.last_run().rows.size(), 3U) << "the rows that came before the binding joined";
  lane.open();
  sink_->await(4);
  const EngineStats stats = engine_->stats();
  EXPECT_EQ(stats.counters.reasons[static_cast<std::size_t>(DispatchReason::kStaged)], 1U);
  close();
  expect_balance();
}

TEST_F(EngineDispatchTest, AFullBatchIsStagedWhileTheLaneRuns) {
  options_.policy.batch_size = 4;
  options_.cost = known_cost(kMillisecond, 0, kMillisecond);
  LaneControl& lane = add_lane(/*async=*/true, 2);
  start();
  submit_row(1, 2);
  lane.await_started(1);
  submit_rows(2, 3);
  EXPECT_EQ(lane.staged(), 1U);
  submit_row(5);
  lane.await_staged(2);
  EXPECT_EQ(lane.started(), 1U);
  submit_rows(6, 4);  // both slots are taken: these wait although they fill a batch
  EXPECT_EQ(engine_->stats().queue_rows, 4U);
  lane.open();
  lane.await_started(2);
  EXPECT_EQ(lane.last_run().rows.size(), 4U);
  lane.open_all();
  sink_->await(9);
  EXPECT_EQ(engine_->stats().counters.reasons[static_cast<std::size_t>(DispatchReason::kFull)], 2U);
  close();
  expect_balance();
}

TEST_F(EngineDispatchTest, TheNextRunStartsBeforeTheResultsOfTheLastAreDelivered) {
  // A sink that will not return until the next run has started.
  class BlockingSink final : public CompletionSink {
   public:
    explicit BlockingSink(LaneControl& lane) : lane_(lane) {}
    void deliver(Delivery) noexcept override { lane_.await_started(2); }

   private:
    LaneControl& lane_;
  };
  options_.policy.batch_size = 2;
  LaneControl& lane = add_lane(/*async=*/true, 2);
  start();
  std::unique_ptr<Call> first = make_call(std::make_shared<BlockingSink>(lane), 1, {{1, 1}});
  ASSERT_TRUE(submit(std::move(first)).ok());
  lane.await_started(1);
  submit_rows(2, 2);
  lane.await_staged(2);
  lane.open();
  sink_->await(0);
  lane.await_started(2);
  lane.open_all();
  sink_->await(2);
  close();
  expect_balance();
}

TEST_F(EngineDispatchTest, AnAsynchronousLaneIsChargedTheTimeOfItsOwnRun) {
  // Two staged batches that end before the first is scattered must not mix up their durations.
  options_.policy.batch_size = 1;
  LaneControl& lane = add_lane(/*async=*/true, 2);
  start();
  submit_row(1, 10);
  lane.await_started(1);
  submit_row(2, 20);
  lane.await_staged(2);
  clock_.advance(10 * kMillisecond);
  lane.open();
  lane.await_started(2);
  clock_.advance(20 * kMillisecond);
  lane.open();
  sink_->await(2);
  close();
  const EngineStats stats = engine_->stats();
  EXPECT_EQ(stats.lanes[0].busy, 30 * kMillisecond);
  EXPECT_EQ(stats.counters.processing_time.max(), 20 * kMillisecond);
  EXPECT_EQ(static_cast<Nanos>(stats.counters.processing_time.sum()), 30 * kMillisecond);
  expect_balance();
}

TEST_F(EngineDispatchTest, TimeoutHoldsAShortBatchForItsOldestRow) {
  options_.policy.timeout = 5 * kMillisecond;
  LaneControl& lane = add_lane();
  start();
  const Nanos begin = clock_.now();
  submit_row(1);
  clock_.await_waiter(begin + 5 * kMillisecond);
  clock_.advance(3 * kMillisecond);
  submit_row(2);  // does not start the time anew
  clock_.await_waiter(begin + 5 * kMillisecond);
  EXPECT_EQ(lane.staged(), 0U);
  clock_.advance(2 * kMillisecond);
  lane.await_started(1);
  EXPECT_EQ(lane.last_run().names(), (Names{1, 2}));
  lane.open();
  sink_->await(2);
  EXPECT_EQ(engine_->stats().counters.reasons[static_cast<std::size_t>(DispatchReason::kTimeout)], 1U);
  close();
  expect_balance();
}

TEST_F(EngineDispatchTest, TimeoutDoesNotHoldAFullBatch) {
  options_.policy.timeout = 5 * kMillisecond;
  options_.policy.batch_size = 3;
  LaneControl& lane = add_lane();
  start();
  submit_rows(1, 3);
  lane.await_started(1);
  lane.open();
  sink_->await(3);
  EXPECT_EQ(engine_->stats().counters.reasons[static_cast<std::size_t>(DispatchReason::kFull)], 1U);
  close();
  expect_balance();
}

TEST_F(EngineDispatchTest, ClosingEndsTheTimeoutOfAShortBatch) {
  options_.policy.timeout = 5 * kMillisecond;
  LaneControl& lane = add_lane();
  add_lane();
  start();
  for (const auto& control : controls_) control->open_all();
  submit_row(1);
  clock_.await_waiter(clock_.now() + 5 * kMillisecond);
  close(/*drain=*/true);  // the clock stands still
  EXPECT_EQ(sink_->code(1), Code::kOk);
  EXPECT_LE(lane.started(), 1U);
  expect_balance();
}

TEST_F(EngineDispatchTest, AModelWithAFixedBatchIsNeverGivenMoreRows) {
  Signature signature = doubling_signature();
  signature.fixed_batch = 4;
  for (TensorSpec& spec : signature.inputs) spec.axes[0].size = 4;
  for (TensorSpec& spec : signature.outputs) spec.axes[0].size = 4;
  options_.policy.batch_size = 32;
  LaneControl& lane = add_lane();
  start(signature);
  submit_row(1);
  lane.await_started(1);
  submit_rows(2, 9);
  lane.open_all();
  sink_->await(10);
  for (const RunRecord& run : lane.runs()) EXPECT_EQ(run.rows.size(), 4U);
  for (std::uint64_t id = 1; id <= 10; ++id) expect_row_result(id, static_cast<float>(id), 1);
  EXPECT_EQ(lane.started(), 4U);  // 1, 4, 4, 1
  close();
  expect_balance();
}

TEST_F(EngineDispatchTest, AnItemLongerThanTheTokenBudgetRunsAlone) {
  options_.policy.max_batch_tokens = 8;
  LaneControl& lane = add_lane();
  start();
  submit_row(1);
  lane.await_started(1);
  submit_row(2, 20);
  submit_row(3, 2);
  submit_row(4, 2);
  lane.open_all();
  sink_->await(4);
  for (const RunRecord& run : lane.runs()) {
    EXPECT_TRUE(run.rows.size() == 1 || run.rows.size() * run.rows[0].size() <= 8);
  }
  expect_row_result(2, 2, 20);
  close();
  expect_balance();
}

TEST_F(EngineDispatchTest, PrepareRefusesWhatMustNotReachABatch) {
  options_.max_item_length = 4;
  add_lane();
  start();
  EXPECT_EQ(engine_->prepare(call(1, {}).get()).code(), Code::kInvalidInput);
  EXPECT_EQ(engine_->prepare(call(1, {{1, 5}}).get()).code(), Code::kInvalidInput);
  EXPECT_EQ(engine_->prepare(call(1, {{1, 2}, {1, 5}}).get()).code(), Code::kInvalidInput);
  EXPECT_TRUE(engine_->prepare(call(1, {{1, 4}}).get()).ok());
}

}  // namespace
}  // namespace batched
