#include "engine/warm_up.h"

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "engine_fixture.h"

namespace batched {
namespace {

// Takes a microsecond per padded token of the clock's time.
void cost_time(LaneControl& control, FakeClock& clock) {
  control.judge = [&clock](const RunRecord& run) {
    clock.advance(static_cast<Nanos>(run.rows.size() * run.rows[0].size()) * kMicrosecond);
    return Status::okay();
  };
}

TEST(WarmUpTest, LearnsWhatTheLaneCosts) {
  for (const bool async : {false, true}) {
    FakeClock clock;
    const auto control = std::make_shared<LaneControl>();
    control->async = async;
    cost_time(*control, clock);
    control->open_all();
    GatedLane lane(control);
    const CostModel cost = warm_up(lane, doubling_signature(), clock);
    EXPECT_TRUE(cost.known());
    EXPECT_NEAR(cost.predict(4, 200), 200.0 * kMicrosecond, 20.0 * kMicrosecond);
    for (const RunRecord& run : control->runs()) EXPECT_EQ(run.rows[0][0], 0) << "zeros only";
  }
}

TEST(WarmUpTest, ALaneThatRefusesZerosIsLeftAsItIs) {
  FakeClock clock;
  const auto control = std::make_shared<LaneControl>();
  control->judge = [](const RunRecord&) { return Status(Code::kBackend, "no zeros"); };
  control->open_all();
  GatedLane lane(control);
  EXPECT_FALSE(warm_up(lane, doubling_signature(), clock).known());
  EXPECT_LE(control->started(), 2U) << "what fails is not tried longer";
}

TEST(WarmUpTest, LearnsFromTheLengthsThatTheModelTakes) {
  for (const bool large : {false, true}) {
    FakeClock clock;
    const auto control = std::make_shared<LaneControl>();
    control->judge = [&clock](const RunRecord& run) {
      clock.advance(static_cast<Nanos>(run.rows.size() * run.rows[0].size()) * kMicrosecond);
      return run.rows[0].size() > 100 ? Status(Code::kBackend, "100 positions") : Status::okay();
    };
    control->open_all();
    GatedLane lane(control);
    const CostModel cost = warm_up(lane, doubling_signature(), clock, {.large = large});
    EXPECT_TRUE(cost.known());
    EXPECT_NEAR(cost.predict(8, 512), 512.0 * kMicrosecond, 50.0 * kMicrosecond);
  }
}

// Rows and length of the batches before the trials, which begin with 32 rows of 512.
std::vector<std::pair<std::size_t, std::size_t>> largest_batches(
    const WarmUp& batches, const std::function<Status(std::size_t)>& judge) {
  FakeClock clock;
  const auto control = std::make_shared<LaneControl>();
  control->judge = [&](const RunRecord& run) { return judge(run.rows.size() * run.rows[0].size()); };
  control->open_all();
  GatedLane lane(control);
  warm_up(lane, doubling_signature(), clock, batches);
  std::vector<std::pair<std::size_t, std::size_t>> shapes;
  for (const RunRecord& run : control->runs()) {
    const std::pair shape{run.rows.size(), run.rows[0].size()};
    if (shape == std::pair<std::size_t, std::size_t>{32, 512}) break;
    shapes.push_back(shape);
  }
  return shapes;
}

TEST(WarmUpTest, TakesTheMemoryOfTheLargestBatchFirst) {
  using Shapes = std::vector<std::pair<std::size_t, std::size_t>>;
  const auto any = [](std::size_t) { return Status::okay(); };
  EXPECT_EQ(largest_batches({.large = true, .most_rows = 100}, any), (Shapes{{100, 512}}));
  EXPECT_EQ(largest_batches({.large = true, .most_rows = 100, .most_tokens = 8192}, any),
            (Shapes{{16, 512}}));
  EXPECT_EQ(largest_batches({.large = true, .most_rows = 100, .most_tokens = 100}, any), (Shapes{{1, 512}}));
  EXPECT_EQ(largest_batches({.large = true, .most_rows = 5000}, any), (Shapes{{256, 512}}))
      << "within reason";
  const auto small = [](std::size_t tokens) {
    return tokens > 20'000 ? Status(Code::kOutOfMemory, "20,000 tokens") : Status::okay();
  };
  EXPECT_EQ(largest_batches({.large = true, .most_rows = 100}, small),
            (Shapes{{100, 512}, {50, 512}, {25, 512}}));
}

TEST(WarmUpTest, ALaneThatCannotStageIsLeftAsItIs) {
  FakeClock clock;
  const auto control = std::make_shared<LaneControl>();
  control->staging = [](const BatchShape&) { return Status(Code::kOutOfMemory, "none"); };
  GatedLane lane(control);
  EXPECT_FALSE(warm_up(lane, doubling_signature(), clock).known());
}

TEST(WarmUpTest, ASlowModelIsNotWarmedUpForLong) {
  FakeClock clock;
  const auto control = std::make_shared<LaneControl>();
  control->judge = [&clock](const RunRecord&) {
    clock.advance(1'000 * kMillisecond);
    return Status::okay();
  };
  control->open_all();
  GatedLane lane(control);
  warm_up(lane, doubling_signature(), clock);
  EXPECT_LE(control->started(), 4U);
}

TEST(WarmUpTest, AFixedBatchIsWarmedUpWithItsOwnSize) {
  FakeClock clock;
  const auto control = std::make_shared<LaneControl>();
  cost_time(*control, clock);
  control->open_all();
  Signature signature = doubling_signature();
  signature.fixed_batch = 3;
  GatedLane lane(control);
  warm_up(lane, signature, clock);
  for (const RunRecord& run : control->runs()) EXPECT_EQ(run.rows.size(), 3U);
}

}  // namespace
}  // namespace batched
