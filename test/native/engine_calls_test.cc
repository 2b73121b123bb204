// Calls of several rows: settled together, stacked or row by row, over one batch or many.
#include "engine_fixture.h"

namespace batched {
namespace {

using Shape = std::vector<std::int64_t>;
using Numbers = std::vector<float>;

class EngineCallsTest : public EngineTest {
 protected:
  void run(std::unique_ptr<Call> made) {
    const std::size_t before = sink_->count();
    ASSERT_TRUE(submit(std::move(made)).ok());
    sink_->await(before + 1);
  }
};

TEST_F(EngineCallsTest, AStackedCallGivesOneTensorPerOutput) {
  add_lane().open_all();
  start();
  run(call(1, {{1, 3}, {2, 3}, {3, 3}}));
  const RecordedResult result = sink_->result(1);
  ASSERT_EQ(result.code, Code::kOk);
  ASSERT_EQ(result.parts.size(), 2U);
  EXPECT_EQ(result.parts[0].dims, (Shape{3, 3}));
  EXPECT_EQ(result.parts[0].numbers, (Numbers{2, 2, 2, 4, 4, 4, 6, 6, 6}));
  EXPECT_EQ(result.parts[1].dims, (Shape{3}));
  EXPECT_EQ(result.parts[1].numbers, (Numbers{3, 6, 9}));
  close();
  expect_balance();
}

TEST_F(EngineCallsTest, RowsOfDifferentLengthsAreStackedWithZerosAfterTheirEnd) {
  add_lane().open_all();
  start();
  run(call(1, {{1, 1}, {2, 3}, {3, 2}}));
  const RecordedResult result = sink_->result(1);
  ASSERT_EQ(result.code, Code::kOk);
  EXPECT_EQ(result.parts[0].dims, (Shape{3, 3}));
  EXPECT_EQ(result.parts[0].numbers, (Numbers{2, 0, 0, 4, 4, 4, 6, 6, 0}));
  EXPECT_EQ(result.parts[1].numbers, (Numbers{1, 6, 6}));
}

TEST_F(EngineCallsTest, ACallThatIsNotStackedGivesEveryRowItsOwnParts) {
  add_lane().open_all();
  start();
  std::unique_ptr<Call> made = call(1, {{1, 1}, {2, 3}});
  made->stack = false;
  run(std::move(made));
  const RecordedResult result = sink_->result(1);
  ASSERT_EQ(result.code, Code::kOk);
  ASSERT_EQ(result.parts.size(), 4U);  // row by row, output by output
  EXPECT_EQ(result.parts[0].dims, (Shape{1, 1}));
  EXPECT_EQ(result.parts[0].numbers, (Numbers{2}));
  EXPECT_EQ(result.parts[1].dims, (Shape{1}));
  EXPECT_EQ(result.parts[1].numbers, (Numbers{1}));
  EXPECT_EQ(result.parts[2].dims, (Shape{1, 3}));
  EXPECT_EQ(result.parts[2].numbers, (Numbers{4, 4, 4}));
  EXPECT_EQ(result.parts[3].numbers, (Numbers{6}));
}

TEST_F(EngineCallsTest, ACallSpansSeveralBatchesAndSettlesWithTheLast) {
  options_.policy.batch_size = 4;
  LaneControl& lane = add_lane();
  start();
  std::vector<RowSpec> rows;
  for (int i = 1; i <= 10; ++i) rows.push_back({static_cast<float>(i), 1 + static_cast<std::size_t>(i % 3)});
  ASSERT_TRUE(submit(call(1, rows)).ok());
  lane.await_started(1);
  lane.open();
  lane.await_started(2);
  EXPECT_EQ(sink_->count(), 0U);
  lane.open_all();
  sink_->await(1);
  EXPECT_GE(lane.started(), 3U);
  const RecordedResult result = sink_->result(1);
  ASSERT_EQ(result.code, Code::kOk);
  EXPECT_EQ(result.parts[0].dims, (Shape{10, 3}));
  for (std::size_t i = 0; i < 10; ++i) {  // the order is the caller's, however the rows were batched
    EXPECT_EQ(result.parts[1].numbers[i], rows[i].number * static_cast<float>(rows[i].length));
    EXPECT_EQ(result.parts[0].numbers[3 * i], 2 * rows[i].number);
  }
  EXPECT_EQ(engine_->stats().counters.processed, 10U);
  close();
  expect_balance();
}

TEST_F(EngineCallsTest, ACallIsSpreadOverTwoLanes) {
  options_.policy.batch_size = 2;
  add_lane();
  add_lane();
  start();
  ASSERT_TRUE(submit(call(1, {{1, 1}, {2, 1}, {3, 1}, {4, 1}})).ok());
  for (const auto& control : controls_) control->await_started(1);
  for (const auto& control : controls_) control->open_all();
  sink_->await(1);
  EXPECT_EQ(sink_->result(1).parts[1].numbers, (Numbers{1, 2, 3, 4}));
  close();
  expect_balance();
}

TEST_F(EngineCallsTest, CallsOfManySinksShareABatchAndEachSinkIsToldOnce) {
  LaneControl& lane = add_lane();
  start();
  submit_row(1);
  lane.await_started(1);
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (std::uint64_t i = 0; i < 5; ++i) {
    sinks.push_back(std::make_shared<RecordingSink>());
    ASSERT_TRUE(submit(make_call(sinks.back(), 1, {{static_cast<float>(i), 2}})).ok());
    ASSERT_TRUE(submit(make_call(sinks.back(), 2, {{static_cast<float>(i), 1}, {9, 2}})).ok());
  }
  lane.open_all();
  sink_->await(1);
  for (std::size_t i = 0; i < sinks.size(); ++i) {
    sinks[i]->await(2);
    EXPECT_EQ(sinks[i]->deliveries(), 1U);
    EXPECT_EQ(sinks[i]->result(1).parts[0].numbers, Numbers(2, 2 * static_cast<float>(i)));
    EXPECT_EQ(sinks[i]->result(2).parts[1].numbers, (Numbers{static_cast<float>(i), 18}));
    EXPECT_TRUE(sinks[i]->within_bounds());
  }
  close();
  expect_balance();
}

TEST_F(EngineCallsTest, ARowAtFaultFailsItsWholeCallAndNoOther) {
  LaneControl& lane = add_lane();
  lane.judge = [](const RunRecord& run) {
    for (const Numbers& row : run.rows) {
      if (row.front() < 0) return Status(Code::kBackend, "negative");
    }
    return Status::okay();
  };
  start();
  submit_row(100);
  lane.await_started(1);
  ASSERT_TRUE(submit(call(1, {{1, 1}, {-1, 1}, {3, 1}})).ok());
  ASSERT_TRUE(submit(call(2, {{4, 1}, {5, 1}, {6, 1}})).ok());
  lane.open_all();
  sink_->await(3);
  EXPECT_EQ(sink_->code(1), Code::kBackend);
  ASSERT_EQ(sink_->code(2), Code::kOk);
  EXPECT_EQ(sink_->result(2).parts[1].numbers, (Numbers{4, 5, 6}));
  close();
  EXPECT_EQ(engine_->stats().counters.failed, 3U) << "rows are counted by how their call ended";
  expect_balance();
}

TEST_F(EngineCallsTest, CancellingACallTakesItsWaitingRowsAndLeavesItsRunningOnes) {
  options_.policy.batch_size = 2;
  LaneControl& lane = add_lane();
  start();
  ASSERT_TRUE(submit(call(1, {{1, 1}, {2, 1}, {3, 1}, {4, 1}, {5, 1}})).ok());
  lane.await_started(1);
  submit_row(2);
  EXPECT_TRUE(engine_->cancel(sink_.get(), 1));
  EXPECT_EQ(engine_->stats().queue_rows, 1U);
  lane.open_all();
  sink_->await(2);
  EXPECT_EQ(lane.started(), 2U);
  EXPECT_EQ(lane.last_run().names(), Numbers{2});
  close();
  expect_balance();
}

TEST_F(EngineCallsTest, AdmissionIsAllRowsOrNone) {
  options_.bounds.max_rows = 4;
  LaneControl& lane = add_lane();
  start();
  submit_row(100);
  lane.await_started(1);
  submit_row(1);
  EXPECT_EQ(submit(call(2, {{1, 1}, {2, 1}, {3, 1}, {4, 1}})).code(), Code::kQueueFull);
  EXPECT_EQ(engine_->stats().queue_rows, 1U);
  EXPECT_TRUE(submit(call(3, {{1, 1}, {2, 1}, {3, 1}})).ok());
  lane.open_all();
  sink_->await(3);
  close();
  EXPECT_EQ(engine_->stats().counters.rejected, 4U);
  expect_balance();
}

TEST_F(EngineCallsTest, ADeadlineInTheMiddleOfACallSettlesItOnce) {
  options_.policy.batch_size = 2;
  LaneControl& lane = add_lane();
  start();
  std::unique_ptr<Call> made = call(1, {{1, 1}, {2, 1}, {3, 1}, {4, 1}});
  made->deadline = clock_.now() + 5 * kMillisecond;
  ASSERT_TRUE(submit(std::move(made)).ok());
  lane.await_started(1);
  lane.open();
  lane.await_started(2);
  clock_.advance(5 * kMillisecond);
  sink_->await(1);
  EXPECT_EQ(sink_->code(1), Code::kDeadline);
  lane.open_all();
  close();
  EXPECT_EQ(sink_->count(), 1U);
  EXPECT_EQ(engine_->stats().counters.timed_out, 4U);
  expect_balance();
}

}  // namespace
}  // namespace batched
