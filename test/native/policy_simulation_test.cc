// The whole of queue, policy and cost model in simulated time: closed-loop clients on two one-thread
// lanes that cost what MiniLM fp32 was measured to cost, with texts as long as WordNet's glosses.
//
// Deterministic: the same numbers come out on every machine. Compared with the offline optimum (all
// texts sorted by length, the best fixed batch size, both lanes always busy) and with batches of 8 in
// order of arrival.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <queue>
#include <vector>

#include "engine/scheduler.h"
#include "random.h"

namespace batched {
namespace {

constexpr double kPerBatch = 1.9 * kMillisecond;
constexpr double kPerToken = 0.118 * kMillisecond;
constexpr std::size_t kLanes = 2;
constexpr std::size_t kTexts = 12'000;

Nanos duration_of(std::size_t rows, std::size_t longest) {
  return static_cast<Nanos>(kPerBatch + kPerToken * static_cast<double>(rows * longest));
}

std::vector<std::uint32_t> gloss_lengths() {
  Random random(1);
  std::vector<std::uint32_t> lengths;
  for (std::size_t i = 0; i < kTexts; ++i) {
    const double length = 4 + std::exp(2.62 + 0.65 * random.normal());
    lengths.push_back(static_cast<std::uint32_t>(std::min(length, 128.0)));
  }
  return lengths;
}

Nanos offline_optimum(std::vector<std::uint32_t> lengths) {
  std::ranges::sort(lengths);
  Nanos best = kNever;
  for (const std::size_t size : {1U, 2U, 4U, 8U, 12U, 16U, 24U, 32U, 48U, 64U, 128U}) {
    Nanos time = 0;
    for (std::size_t i = 0; i < lengths.size(); i += size) {
      const std::size_t end = std::min(lengths.size(), i + size);
      time += duration_of(end - i, lengths[end - 1]);
    }
    best = std::min(best, time / static_cast<Nanos>(kLanes));
  }
  return best;
}

struct Outcome {
  Nanos makespan = 0;
  Nanos longest_wait = 0;  // enqueued -> bound
  Nanos longest_batch = 0;
};

// What a lane is given: the rows are taken from what waits.
using Binder = std::function<void(Nanos now, std::size_t idle_lanes, std::vector<Row*>* batch)>;

class Simulation {
 public:
  Simulation(const std::vector<std::uint32_t>& lengths, std::size_t clients)
      : lengths_(lengths), rows_(clients) {}

  Outcome run(const std::function<void(Row*, Nanos)>& enqueue, const Binder& bind) {
    enqueue_ = enqueue;
    for (Row& row : rows_) send(&row);
    dispatch(bind);
    while (!ends_.empty()) {
      now_ = ends_.top().time;
      const std::size_t lane = ends_.top().lane;
      ends_.pop();
      for (Row* const row : lanes_[lane]) send(row);  // each client sends its next text
      lanes_[lane].clear();
      dispatch(bind);
    }
    outcome_.makespan = now_;
    return outcome_;
  }

 private:
  struct End {
    Nanos time;
    std::size_t lane;
    bool operator>(const End& other) const {
      return time != other.time ? time > other.time : lane > other.lane;
    }
  };

  void send(Row* row) {
    if (next_ == lengths_.size()) return;
    *row = Row{};
    row->length = lengths_[next_++];
    enqueue_(row, now_);
  }

  void dispatch(const Binder& bind) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      if (!lanes_[lane].empty()) continue;
      const auto idle = static_cast<std::size_t>(
          std::ranges::count_if(lanes_, [](const std::vector<Row*>& rows) { return rows.empty(); }));
      bind(now_, idle, &lanes_[lane]);
      if (lanes_[lane].empty()) continue;
      std::uint32_t longest = 0;
      for (const Row* const row : lanes_[lane]) {
        longest = std::max(longest, row->length);
        outcome_.longest_wait = std::max(outcome_.longest_wait, now_ - row->enqueued);
      }
      const Nanos duration = duration_of(lanes_[lane].size(), longest);
      outcome_.longest_batch = std::max(outcome_.longest_batch, duration);
      ends_.push({now_ + duration, lane});
    }
  }

  const std::vector<std::uint32_t>& lengths_;
  std::vector<Row> rows_;
  std::function<void(Row*, Nanos)> enqueue_;
  std::vector<Row*> lanes_[kLanes];
  std::priority_queue<End, std::vector<End>, std::greater<>> ends_;
  std::size_t next_ = 0;
  Nanos now_ = 0;
  Outcome outcome_;
};

Outcome run_policy(const std::vector<std::uint32_t>& lengths, std::size_t clients) {
  Scheduler scheduler({}, {}, /*learns_cost=*/true);
  for (const std::size_t rows : {1U, 2U, 4U, 8U}) {
    for (const std::size_t length : {8U, 16U, 32U, 64U}) {
      scheduler.cost().observe(rows, rows * length, duration_of(rows, length));
    }
  }
  return Simulation(lengths, clients)
      .run([&](Row* row, Nanos now) { ASSERT_TRUE(scheduler.admit(std::span(&row, 1), 0, 0, now).ok()); },
           [&](Nanos now, std::size_t idle, std::vector<Row*>* batch) {
             LaneView lane;
             lane.idle_lanes = idle;
             scheduler.next(lane, now, batch);
             if (batch->empty()) return;
             const auto longest = std::ranges::max(*batch, {}, &Row::length)->length;
             scheduler.cost().observe(batch->size(), batch->size() * longest,
                                      duration_of(batch->size(), longest));
           });
}

Outcome run_fifo(const std::vector<std::uint32_t>& lengths, std::size_t clients, std::size_t batch_size) {
  std::deque<Row*> waiting;
  return Simulation(lengths, clients)
      .run(
          [&](Row* row, Nanos now) {
            row->enqueued = now;
            waiting.push_back(row);
          },
          [&](Nanos, std::size_t, std::vector<Row*>* batch) {
            for (; batch->size() < batch_size && !waiting.empty(); waiting.pop_front()) {
              batch->push_back(waiting.front());
            }
          });
}

class PolicySimulationTest : public testing::Test {
 protected:
  // The part of the offline optimum's throughput that is reached.
  double of_optimum(const Outcome& outcome) const {
    return static_cast<double>(optimum_) / static_cast<double>(outcome.makespan);
  }

  const std::vector<std::uint32_t> lengths_ = gloss_lengths();
  const Nanos optimum_ = offline_optimum(lengths_);
};

TEST_F(PolicySimulationTest, TheLengthsAreLikeWordNets) {
  double sum = 0;
  for (const std::uint32_t length : lengths_) sum += length;
  EXPECT_NEAR(sum / static_cast<double>(lengths_.size()), 21, 1);
}

TEST_F(PolicySimulationTest, ManyClientsReachNearlyTheOfflineOptimum) {
  EXPECT_GE(of_optimum(run_policy(lengths_, 256)), 0.93);
  EXPECT_GE(of_optimum(run_policy(lengths_, 1'024)), 0.94);
}

TEST_F(PolicySimulationTest, AFewClientsReachMostOfIt) {
  EXPECT_GE(of_optimum(run_policy(lengths_, 64)), 0.85);
  EXPECT_GE(of_optimum(run_policy(lengths_, 16)), 0.72);
}

TEST_F(PolicySimulationTest, ReachesTwiceTheThroughputOfArrivalOrder) {
  EXPECT_GE(of_optimum(run_policy(lengths_, 256)), 1.9 * of_optimum(run_fifo(lengths_, 256, 8)));
  EXPECT_GE(of_optimum(run_policy(lengths_, 1'024)), 2 * of_optimum(run_fifo(lengths_, 1'024, 8)));
}

TEST_F(PolicySimulationTest, TheLongestWaitStaysWithinTheBound) {
  for (const std::size_t clients : {16U, 64U, 256U, 1'024U}) {
    const Outcome ours = run_policy(lengths_, clients);
    // engine.h: s + ceil(R / L) * D with no slack, and in a closed loop no more rows before one than clients.
    const auto turns = static_cast<Nanos>((clients + kLanes - 1) / kLanes);
    EXPECT_LE(ours.longest_wait, turns * ours.longest_batch) << clients;
  }
}

TEST_F(PolicySimulationTest, TheLongestWaitIsNoLongerThanInArrivalOrder) {
  for (const std::size_t clients : {64U, 256U, 1'024U}) {
    EXPECT_LE(run_policy(lengths_, clients).longest_wait, run_fifo(lengths_, clients, 8).longest_wait * 5 / 4)
        << clients;
  }
}

}  // namespace
}  // namespace batched
