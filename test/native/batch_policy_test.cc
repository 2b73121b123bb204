// The policy as tables: what waits, the lane and the options on the left, the answer on the right.
//
//   "8x2 [16x3] 32x1"   2 rows of length 8, 3 of 16 (the anchor is among them), 1 of 32
//   "full 8x2 16x3"     a dispatch for that reason, with these rows
//   "wait 500", "idle"
#include "engine/batch_policy.h"

#include <gtest/gtest.h>

#include <limits>
#include <sstream>
#include <string>

#include "known_cost.h"

namespace batched {
namespace {

QueueView parse(const std::string& text) {
  QueueView view;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (word.front() == '[') {
      view.anchor = view.buckets.size();
      word = word.substr(1, word.size() - 2);
    }
    const std::size_t times = word.find('x');
    view.buckets.push_back({static_cast<std::uint32_t>(std::stoul(word.substr(0, times))),
                            static_cast<std::uint32_t>(std::stoul(word.substr(times + 1)))});
    view.rows += view.buckets.back().rows;
    view.tokens += std::uint64_t{view.buckets.back().rows} * view.buckets.back().length;
  }
  return view;
}

std::string ask(const QueueView& view, const PolicyOptions& options, const LaneView& lane = {}, Nanos now = 0,
                const CostModel* cost = nullptr) {
  Decision decision;
  decide(view, lane, now, options, cost, &decision);
  if (decision.kind == Decision::Kind::kIdle) return "idle";
  if (decision.kind == Decision::Kind::kWaitUntil) return "wait " + std::to_string(decision.until);
  static constexpr const char* kReasons[] = {"full", "idle", "timeout", "staged"};
  std::string text = kReasons[static_cast<std::size_t>(decision.reason)];
  EXPECT_EQ(decision.take.size(), view.buckets.size());
  for (std::size_t i = 0; i < decision.take.size(); ++i) {
    EXPECT_LE(decision.take[i], view.buckets[i].rows);
    if (decision.take[i] == 0) continue;
    text += " " + std::to_string(view.buckets[i].length) + "x" + std::to_string(decision.take[i]);
  }
  return text;
}

PolicyOptions options_of(std::size_t batch_size, std::uint64_t max_batch_tokens = 0, Nanos timeout = -1) {
  PolicyOptions options;
  options.batch_size = batch_size;
  options.max_batch_tokens = max_batch_tokens;
  options.timeout = timeout;
  return options;
}

TEST(BatchPolicyTest, NothingWaits) {
  EXPECT_EQ(ask({}, options_of(4)), "idle");
  EXPECT_EQ(ask({}, options_of(4, 0, 100)), "idle");
}

TEST(BatchPolicyTest, WithoutACostModelTakesTheMostRowsThatHoldTheAnchor) {
  struct Row {
    const char* waiting;
    std::size_t batch_size;
    std::uint64_t max_batch_tokens;
    const char* answer;
  };
  const Row table[] = {
      {"[5x1]", 4, 0, "idle 5x1"},
      {"[5x3]", 4, 0, "idle 5x3"},
      {"[5x9]", 4, 0, "full 5x4"},
      {"[1x1] 9x1", 4, 0, "idle 1x1 9x1"},
      {"1x1 [9x1]", 4, 0, "idle 1x1 9x1"},
      // As many rows here as there: the shorter ones pad less.
      {"1x3 [5x1] 9x3", 4, 0, "full 1x3 5x1"},
      {"1x2 [5x1] 9x3", 4, 0, "full 5x1 9x3"},
      {"1x2 [5x1] 9x2", 4, 0, "full 1x1 5x1 9x2"},
      // The anchor is in the batch even where more rows fit without it.
      {"1x9 [50x1]", 4, 0, "full 1x3 50x1"},
      {"[1x1] 50x9", 4, 0, "full 1x1 50x3"},
      // Its neighbours in length without a gap.
      {"[1x1] 2x1 3x1 4x9", 4, 0, "full 1x1 2x1 3x1 4x1"},
      {"1x9 2x1 3x1 [4x1]", 4, 0, "full 1x1 2x1 3x1 4x1"},
      // rows * longest stays within the budget of tokens.
      {"[10x9]", 8, 40, "full 10x4"},
      {"[2x9] 10x9", 8, 40, "full 2x8"},
      {"2x9 [10x1]", 8, 40, "full 2x3 10x1"},
      {"2x1 [10x1]", 8, 40, "idle 2x1 10x1"},
      // A row over the budget runs alone.
      {"[100x1]", 8, 40, "full 100x1"},
      {"[100x5]", 8, 40, "full 100x1"},
      {"2x5 [100x5]", 8, 40, "full 100x1"},
      {"[2x5] 100x5", 8, 40, "full 2x5"},
      {"[7x5]", 1, 0, "full 7x1"},
  };
  for (const Row& row : table) {
    EXPECT_EQ(ask(parse(row.waiting), options_of(row.batch_size, row.max_batch_tokens)), row.answer)
        << row.waiting << " in batches of " << row.batch_size << ", " << row.max_batch_tokens << " tokens";
  }
}

TEST(BatchPolicyTest, TimeoutCountsFromTheOldestRow) {
  struct Row {
    const char* waiting;
    Nanos now;
    const char* answer;
  };
  const Row table[] = {
      {"[5x1]", 1'000, "wait 1500"},        {"[5x1]", 1'499, "wait 1500"}, {"[5x1]", 1'500, "timeout 5x1"},
      {"[5x1]", 9'999, "timeout 5x1"},      {"[5x3]", 1'000, "wait 1500"}, {"[5x4]", 1'000, "full 5x4"},
      {"[5x2] 7x2", 1'000, "full 5x2 7x2"},
  };
  for (const Row& row : table) {
    QueueView view = parse(row.waiting);
    view.oldest_enqueued = 1'000;
    EXPECT_EQ(ask(view, options_of(4, 0, 500), {}, row.now), row.answer) << row.waiting << " at " << row.now;
  }
}

TEST(BatchPolicyTest, AFullBudgetOfTokensIsAFullBatch) {
  QueueView view = parse("[20x2]");
  EXPECT_EQ(ask(view, options_of(8, 40, 500)), "full 20x2");
  EXPECT_EQ(ask(view, options_of(8, 41, 500)), "wait 500");
}

TEST(BatchPolicyTest, ATimeoutOfZeroHoldsNothing) {
  EXPECT_EQ(ask(parse("[5x1]"), options_of(4, 0, 0)), "timeout 5x1");
}

TEST(BatchPolicyTest, ATimeoutThatNeverComesDoesNotOverflow) {
  QueueView view = parse("[5x1]");
  view.oldest_enqueued = 1'000;
  EXPECT_EQ(ask(view, options_of(4, 0, kNever)), "wait " + std::to_string(kNever));
}

TEST(BatchPolicyTest, ABusyLaneBindsLate) {
  struct Row {
    const char* waiting;
    Nanos now;
    const char* answer;
  };
  // The running batch ends at 1000; staging takes 100.
  const Row table[] = {
      {"[5x1]", 0, "wait 900"},     {"[5x3]", 899, "wait 900"},
      {"[5x3]", 900, "staged 5x3"}, {"[5x3]", 2'000, "staged 5x3"},  // later than predicted: be ready
      {"[5x4]", 0, "full 5x4"},     {"[5x9]", 0, "full 5x4"},
  };
  const LaneView busy{.busy = true, .predicted_end = 1'000, .staging = 100, .idle_lanes = 0};
  for (const Row& row : table) {
    EXPECT_EQ(ask(parse(row.waiting), options_of(4), busy, row.now), row.answer)
        << row.waiting << " at " << row.now;
  }
}

TEST(BatchPolicyTest, ABusyLaneWaitsForTheTimeoutAndThenForItsEnd) {
  const LaneView busy{.busy = true, .predicted_end = 1'000, .staging = 100, .idle_lanes = 0};
  const PolicyOptions options = options_of(4, 0, 300);
  EXPECT_EQ(ask(parse("[5x1]"), options, busy, 0), "wait 300");
  EXPECT_EQ(ask(parse("[5x1]"), options, busy, 300), "wait 900");
  EXPECT_EQ(ask(parse("[5x1]"), options, busy, 900), "staged 5x1");
}

TEST(BatchPolicyTest, AnUnknownCostModelIsAsGoodAsNone) {
  const CostModel nothing;
  EXPECT_EQ(ask(parse("1x2 [5x1] 9x3"), options_of(4), {}, 0, &nothing), "full 5x1 9x3");
}

TEST(BatchPolicyTest, TheMemoryOfAnOlderDecisionDoesNotShow) {
  Decision decision;
  decide(parse("1x2 [5x1] 9x3"), {}, 0, options_of(4), nullptr, &decision);
  decide({}, {}, 0, options_of(4), nullptr, &decision);
  EXPECT_EQ(decision.kind, Decision::Kind::kIdle);
  EXPECT_TRUE(decision.take.empty());
  EXPECT_EQ(decision.until, kNever);
}

TEST(BatchPolicyTest, SlackOrdersCallsAndIsBounded) {
  const double infinity = std::numeric_limits<double>::infinity();
  PolicyOptions options;
  options.large_call_slack = 50;
  options.priority_slack = 10;
  options.most_slack = 100;
  options.small_batch_threshold = 8;
  struct Row {
    std::size_t call_rows;
    double priority;
    Nanos slack;
  };
  const Row table[] = {
      {1, 0, 0},   {8, 0, 0},          {9, 0, 50},           {1, 3, 30},
      {9, 3, 80},  {9, 100, 100},      {1, -5, -50},         {9, -2, 30},
      {1, 0.5, 5}, {1, infinity, 100}, {1, -infinity, -100}, {1, std::numeric_limits<double>::quiet_NaN(), 0},
  };
  for (const Row& row : table) {
    EXPECT_EQ(slack_of(options, row.call_rows, row.priority, 1), row.slack)
        << row.call_rows << " rows of priority " << row.priority;
  }
}

TEST(BatchPolicyTest, SlackFollowsTheStrategy) {
  PolicyOptions options;
  options.priority_slack = 10;
  options.length_slack = 2;
  options.most_slack = 100;
  EXPECT_EQ(slack_of(options, 1, 3, 20), 30);
  options.priority_strategy = PriorityStrategy::kLength;
  EXPECT_EQ(slack_of(options, 1, 3, 20), 40);
  EXPECT_EQ(slack_of(options, 1, -3, 1000), 100);
  options.priority_strategy = PriorityStrategy::kNone;
  EXPECT_EQ(slack_of(options, 1, 3, 20), 0);
}

}  // namespace
}  // namespace batched
