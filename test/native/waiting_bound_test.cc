// Bounded waiting (engine.h, guarantee 2) in simulated time: under floods of small calls, of large ones and
// of priorities, every row is bound within ceil((R + 1) / L) * D, where R rows of an earlier virtual deadline
// waited with it or came after it.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "engine/scheduler.h"
#include "random.h"

namespace batched {
namespace {

constexpr Nanos kBatchTime = 10 * kMillisecond;

struct Arrival {
  Nanos time;
  std::size_t rows;
  double priority = 0;
};

struct Waited {
  Arrival call;
  Nanos longest = 0;   // of the call's rows
  bool within = true;  // the bound, all of them
};

struct SimulatedRow : Row {
  ByVirtualDeadline::Key key{};
  std::size_t call = 0;
  std::size_t earlier = 0;  // R so far
};

class WaitingBoundTest : public testing::Test {
 protected:
  // Runs the calls on `lanes` lanes, whose batches all take kBatchTime, to the end.
  std::vector<Waited> run(const std::vector<Arrival>& calls, std::size_t lanes) {
    Scheduler scheduler(options_, {}, /*learns_cost=*/false);
    std::vector<Waited> waited;
    std::vector<std::unique_ptr<SimulatedRow>> rows;
    std::vector<SimulatedRow*> waiting;
    std::vector<Nanos> free_at(lanes, 0);
    std::size_t next = 0;
    for (Nanos now = 0; next < calls.size() || !waiting.empty(); now += kMillisecond) {
      for (; next < calls.size() && calls[next].time <= now; ++next) {
        std::vector<Row*> entering;
        for (std::size_t r = 0; r < calls[next].rows; ++r) {
          rows.push_back(std::make_unique<SimulatedRow>());
          rows.back()->call = next;
          entering.push_back(rows.back().get());
        }
        EXPECT_TRUE(scheduler.admit(entering, 0, calls[next].priority, now).ok());
        waited.push_back({calls[next]});
        for (Row* const row : entering) arrive(static_cast<SimulatedRow*>(row), &waiting);
      }
      for (Nanos& free : free_at) {
        if (free > now || waiting.empty()) continue;
        std::vector<Row*> batch;
        scheduler.next({}, now, &batch);
        EXPECT_FALSE(batch.empty()) << "a free lane and a waiting row";
        for (Row* const bound : batch) {
          auto* const row = static_cast<SimulatedRow*>(bound);
          const auto turns = static_cast<Nanos>((row->earlier + lanes) / lanes);  // ceil((R + 1) / L)
          Waited& call = waited[row->call];
          call.longest = std::max(call.longest, now - row->enqueued);
          call.within = call.within && now - row->enqueued <= turns * kBatchTime;
          std::erase(waiting, row);
        }
        free = now + kBatchTime;
      }
    }
    return waited;
  }

  static void arrive(SimulatedRow* row, std::vector<SimulatedRow*>* waiting) {
    row->key = ByVirtualDeadline::key(*row);
    for (SimulatedRow* const other : *waiting) ++(other->key < row->key ? row : other)->earlier;
    waiting->push_back(row);
  }

  static std::vector<Waited> of_rows(const std::vector<Waited>& all, std::size_t rows) {
    std::vector<Waited> some;
    std::ranges::copy_if(all, std::back_inserter(some),
                         [&](const Waited& call) { return call.call.rows == rows; });
    return some;
  }

  static Nanos longest(const std::vector<Waited>& calls) {
    return std::ranges::max(calls, {}, &Waited::longest).longest;
  }

  static bool all_within(const std::vector<Waited>& calls) {
    return std::ranges::all_of(calls, &Waited::within);
  }

  PolicyOptions options_{.batch_size = 8};
};

TEST_F(WaitingBoundTest, AFloodOfLargeCallsDelaysSmallOnesByNoMoreThanTheirSlack) {
  // Twice what two lanes can do, for half a second, in calls of 32; every 10 ms a call of one row.
  std::vector<Arrival> calls;
  for (Nanos at = 0; at < 500 * kMillisecond; at += 10 * kMillisecond) {
    calls.push_back({at, 32});
    calls.push_back({at, 1});
  }
  const std::vector<Waited> waited = run(calls, 2);
  EXPECT_TRUE(all_within(waited));
  // Before it come the large calls of up to 50 ms before, which is what is left of them once the backlog is
  // older: a small call waits for about as long as those take, far from the second that the backlog grows to.
  EXPECT_GT(longest(of_rows(waited, 32)), 400 * kMillisecond);
  EXPECT_LE(longest(of_rows(waited, 1)),
            longest(of_rows(waited, 32)) - options_.large_call_slack + 2 * kBatchTime);
}

TEST_F(WaitingBoundTest, WithoutABacklogASmallCallGoesBeforeTheLargeOnesThatCameJustBefore) {
  const std::vector<Waited> waited = run({{0, 400}, {30 * kMillisecond, 1}}, 2);
  EXPECT_TRUE(all_within(waited));
  EXPECT_LE(waited[1].longest, kBatchTime);
  EXPECT_GT(waited[0].longest, 200 * kMillisecond);
}

TEST_F(WaitingBoundTest, AFloodOfSmallCallsDelaysALargeOneByItsSlackAtMost) {
  // As many rows of one as two lanes can just do: nothing builds up that would delay anybody else.
  std::vector<Arrival> calls;
  for (Nanos at = 0; at < 500 * kMillisecond; at += kMillisecond) {
    calls.push_back({at, 1});
    if (at == 100 * kMillisecond) calls.push_back({at, 16});
  }
  const std::vector<Waited> waited = run(calls, 2);
  EXPECT_TRUE(all_within(waited));
  EXPECT_LE(longest(of_rows(waited, 16)), options_.large_call_slack + 2 * kBatchTime);
}

TEST_F(WaitingBoundTest, HoldsForRandomCallsOfAnyPriority) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Random random(seed);
    std::vector<Arrival> calls;
    Nanos at = 0;
    for (int i = 0; i < 300; ++i) {
      at += static_cast<Nanos>(random.below(6)) * kMillisecond;
      calls.push_back({at, 1 + random.below(20), static_cast<double>(random.below(7)) - 3});
    }
    EXPECT_TRUE(all_within(run(calls, 1 + random.below(3)))) << "seed " << seed;
  }
}

}  // namespace
}  // namespace batched
