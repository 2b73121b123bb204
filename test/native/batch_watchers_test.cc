// What those who watch an engine are told of its batches.
#include "engine/batch_watchers.h"

#include "engine_fixture.h"

namespace batched {
namespace {

class RecordingWatcher final : public BatchWatcher {
 public:
  void batch_ran(const BatchReport& report) noexcept override {
    const std::lock_guard lock(mutex_);
    reports_.push_back(report);
  }
  std::vector<BatchReport> reports() const {
    const std::lock_guard lock(mutex_);
    return reports_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<BatchReport> reports_;
};

class BatchWatchersTest : public EngineTest {
 protected:
  std::shared_ptr<RecordingWatcher> watcher_ = std::make_shared<RecordingWatcher>();
};

TEST_F(BatchWatchersTest, ABatchIsReportedWithItsRowsTimesAndReason) {
  LaneControl& lane = add_lane(/*async=*/true);
  options_.policy.batch_size = 2;
  start();
  engine_->watch(watcher_, "doubler");
  submit_row(1, 3);
  lane.await_started(1);
  submit_row(2, 5);
  submit_row(3, 4);
  clock_.advance(7 * kMillisecond);
  lane.open();
  sink_->await(1);
  lane.await_started(2);
  clock_.advance(2 * kMillisecond);
  lane.open();
  sink_->await(3);

  const std::vector<BatchReport> reports = watcher_->reports();
  ASSERT_EQ(reports.size(), 2U);
  EXPECT_EQ(reports[0].name, "doubler");
  EXPECT_EQ(reports[0].lane, "gated");
  EXPECT_TRUE(reports[0].status.ok());
  EXPECT_EQ(reports[0].facts.rows, 1U);
  EXPECT_EQ(reports[0].facts.tokens, 3U);
  EXPECT_EQ(reports[0].facts.reason, DispatchReason::kIdle);
  EXPECT_EQ(reports[0].facts.queued, 0);
  EXPECT_EQ(reports[0].duration, 7 * kMillisecond);
  EXPECT_EQ(reports[1].facts.rows, 2U);
  EXPECT_EQ(reports[1].facts.tokens, 9U);
  EXPECT_EQ(reports[1].facts.padded_tokens, 10U);
  EXPECT_EQ(reports[1].facts.reason, DispatchReason::kFull);
  EXPECT_EQ(reports[1].facts.queued, 7 * kMillisecond);
  EXPECT_EQ(reports[1].duration, 2 * kMillisecond);
}

TEST_F(BatchWatchersTest, EveryRunOfABatchThatFailsIsReported) {
  LaneControl& lane = add_lane();
  lane.judge = [](const RunRecord& run) {
    for (const std::vector<float>& row : run.rows) {
      if (row.front() < 0) return Status(Code::kBackend, "negative");
    }
    return Status::okay();
  };
  start();
  engine_->watch(watcher_, "doubler");
  ASSERT_TRUE(submit(call(1, {{1, 1}, {-1, 1}})).ok());
  lane.open_all();
  sink_->await(1);
  close();

  std::vector<std::pair<std::size_t, Code>> runs;
  for (const BatchReport& report : watcher_->reports()) {
    runs.emplace_back(report.facts.rows, report.status.code());
  }
  using Runs = std::vector<std::pair<std::size_t, Code>>;
  EXPECT_EQ(runs, (Runs{{2, Code::kBackend}, {1, Code::kOk}, {1, Code::kBackend}}));
}

TEST_F(BatchWatchersTest, OutputsThatDoNotFitAreReportedAsTheFailureTheyAre) {
  LaneControl& lane = add_lane();
  lane.tamper = [](std::vector<TensorView>* outputs) { outputs->pop_back(); };
  start();
  engine_->watch(watcher_, "doubler");
  submit_row(1);
  lane.open_all();
  sink_->await(1);
  ASSERT_EQ(watcher_->reports().size(), 1U);
  EXPECT_EQ(watcher_->reports()[0].status.code(), Code::kOutputMismatch);
}

TEST_F(BatchWatchersTest, OneThatIsAddedTwiceHearsOnceUntilItIsRemovedTwice) {
  LaneControl& lane = add_lane();
  lane.open_all();
  start();
  const auto other = std::make_shared<RecordingWatcher>();
  engine_->watch(watcher_, "doubler");
  engine_->watch(watcher_, "doubler");
  engine_->watch(other, "another name");
  submit_row(1);
  sink_->await(1);
  EXPECT_EQ(watcher_->reports().size(), 1U);
  ASSERT_EQ(other->reports().size(), 1U);
  EXPECT_EQ(other->reports()[0].name, "another name");

  engine_->unwatch(watcher_.get());
  submit_row(2);
  sink_->await(2);
  EXPECT_EQ(watcher_->reports().size(), 2U);

  engine_->unwatch(watcher_.get());
  submit_row(3);
  sink_->await(3);
  EXPECT_EQ(watcher_->reports().size(), 2U);
  EXPECT_EQ(other->reports().size(), 3U);
}

}  // namespace
}  // namespace batched
