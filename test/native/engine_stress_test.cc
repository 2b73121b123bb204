// Many threads at once: every admitted call settles exactly once, with the right result or for a reason.
#include <atomic>
#include <thread>

#include "engine_fixture.h"
#include "random.h"

namespace batched {
namespace {

class EngineStressTest : public EngineTest {
 protected:
  static constexpr std::uint64_t kProducers = 4;
  static constexpr std::uint64_t kCallsEach = 3'000;

  // Submits, cancels and sets deadlines at random. Returns how many calls were admitted.
  std::size_t produce(std::uint64_t producer) {
    Random random(producer + 1);
    std::size_t admitted = 0;
    for (std::uint64_t i = 0; i < kCallsEach; ++i) {
      const std::uint64_t id = producer * kCallsEach + i;
      std::vector<RowSpec> rows(random.below(10) == 0 ? 1 + random.below(12) : 1);
      for (RowSpec& row : rows) row = {number_of(id), 1 + random.below(20)};
      std::unique_ptr<Call> made = call(id, rows);
      made->stack = random.below(2) == 0;
      made->priority = static_cast<double>(random.below(3));
      if (random.below(8) == 0) {
        made->deadline = clock_.now() + static_cast<Nanos>(random.below(20)) * kMicrosecond;
      }
      const Status status = submit(std::move(made));
      if (status.ok()) {
        ++admitted;
      } else {
        EXPECT_TRUE(status.code() == Code::kQueueFull || status.code() == Code::kDeadline ||
                    status.code() == Code::kClosed)
            << status.message();
        if (status.code() == Code::kQueueFull) std::this_thread::yield();
      }
      if (random.below(8) == 0) {
        engine_->cancel(sink_.get(), producer * kCallsEach + random.below(i + 1));
      }
      if (random.below(16) == 0) clock_.advance(static_cast<Nanos>(random.below(10)) * kMicrosecond);
    }
    return admitted;
  }

  // Every number of a call is the same, and a few are refused by the model.
  static float number_of(std::uint64_t id) {
    return id % 97 == 0 ? -1.0F : static_cast<float>(1 + id % 1'000);
  }

  static Status refuse_negative(const RunRecord& run) {
    for (const std::vector<float>& row : run.rows) {
      if (row.front() < 0) return {Code::kBackend, "negative"};
    }
    if (run.rows.size() * run.rows[0].size() > 300) return {Code::kOutOfMemory, "too much"};
    return Status::okay();
  }

  void start_lanes() {
    options_.bounds.max_rows = 500;
    options_.policy.batch_size = 16;
    LaneControl& sync = add_lane();
    LaneControl& async = add_lane(/*async=*/true, 2);
    for (LaneControl* const lane : {&sync, &async}) {
      lane->judge = refuse_negative;
      lane->open_all();
    }
    start();
  }

  // Runs the producers to their end, with `meanwhile` beside them. Returns how many calls were admitted.
  std::size_t run_producers(const std::function<void()>& meanwhile) {
    std::atomic<std::size_t> admitted = 0;
    std::vector<std::thread> threads;
    for (std::uint64_t p = 0; p < kProducers; ++p) {
      threads.emplace_back([&, p] { admitted += produce(p); });
    }
    meanwhile();
    for (std::thread& thread : threads) thread.join();
    return admitted;
  }

  void expect_results() {
    for (const auto& [id, result] : sink_->results()) {
      if (result.code == Code::kBackend) continue;  // a bad row, or the budget of runs was spent near one
      if (result.code == Code::kOk) {
        ASSERT_FALSE(number_of(id) < 0);
        ASSERT_EQ(result.parts.front().numbers.front(), 2 * number_of(id)) << id;
        continue;
      }
      ASSERT_TRUE(result.code == Code::kCancelled || result.code == Code::kDeadline ||
                  result.code == Code::kClosed)
          << result.message;
    }
  }
};

TEST_F(EngineStressTest, EveryCallSettlesOnceUnderCancelsDeadlinesAndFaults) {
  start_lanes();
  const std::size_t admitted = run_producers([] {});
  sink_->await(admitted);
  close();
  EXPECT_EQ(sink_->count(), admitted);
  EXPECT_GT(engine_->stats().counters.processed, 0U);
  expect_results();
  expect_balance();
}

TEST_F(EngineStressTest, EveryCallSettlesOnceWhenTheEngineClosesInTheMiddle) {
  for (const bool drain : {true, false}) {
    controls_.clear();
    sink_ = std::make_shared<RecordingSink>();
    start_lanes();
    const std::size_t admitted = run_producers([&] {
      sink_->await(500);
      engine_->close(drain, nullptr);
    });
    close(drain);
    sink_->await(admitted);
    EXPECT_EQ(sink_->count(), admitted);
    expect_results();
    expect_balance();
    engine_.reset();
  }
}

TEST_F(EngineStressTest, StatsCanBeReadAndClearedMeanwhile) {
  start_lanes();
  std::atomic<bool> over = false;
  std::thread reader([&] {
    while (!over) {
      const EngineStats stats = engine_->stats();
      EXPECT_LE(stats.queue_rows, 500U + 12U);
      engine_->cost();
      engine_->healthy();
      engine_->clear_stats();
      std::this_thread::yield();
    }
  });
  const std::size_t admitted = run_producers([] {});
  sink_->await(admitted);
  over = true;
  reader.join();
  EXPECT_EQ(sink_->count(), admitted);
}

TEST_F(EngineStressTest, SinksComeAndGo) {
  start_lanes();
  std::vector<std::thread> threads;
  for (std::uint64_t p = 0; p < kProducers; ++p) {
    threads.emplace_back([&, p] {
      Random random(p + 100);
      for (int round = 0; round < 50; ++round) {
        const auto sink = std::make_shared<RecordingSink>();
        for (std::uint64_t id = 0; id < 20; ++id) {
          const Status status =
              submit(make_call(sink, id, {{static_cast<float>(id + 1), 1 + random.below(9)}}));
          EXPECT_TRUE(status.ok() || status.code() == Code::kQueueFull);
        }
        engine_->abandon(sink.get());
        EXPECT_TRUE(sink->repeated().empty());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  close();
  expect_balance();
}

}  // namespace
}  // namespace batched
