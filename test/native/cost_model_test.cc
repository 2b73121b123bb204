#include "engine/cost_model.h"

#include <gtest/gtest.h>

#include <cmath>

#include "known_cost.h"
#include "random.h"

namespace batched {
namespace {

double line(double a, double b, double c, std::size_t rows, std::uint64_t tokens) {
  return a * static_cast<double>(tokens) + b * static_cast<double>(rows) + c;
}

TEST(CostModelTest, KnowsNothingAtFirst) {
  const CostModel cost;
  EXPECT_FALSE(cost.known());
  EXPECT_EQ(cost.predict(4, 100), 0);
}

TEST(CostModelTest, BatchesOfOneSizeTeachNothingAboutOthers) {
  CostModel cost;
  for (int i = 0; i < 50; ++i) cost.observe(4, 64, 1'000);
  EXPECT_FALSE(cost.known());
  cost.observe(8, 256, 3'000);
  EXPECT_TRUE(cost.known());
}

struct Coefficients {
  double a;
  double b;
  double c;
};

TEST(CostModelTest, RecoversTheCoefficientsOfExactMeasurements) {
  const Coefficients cases[] = {
      {118'000, 0, 1'900'000}, {1'000, 50'000, 200'000}, {50'000, 0, 0},
      {2'000, 300'000, 0},     {500, 1'000, 5'000'000},
  };
  for (const Coefficients& exact : cases) {
    const CostModel cost = known_cost(exact.a, exact.b, exact.c);
    ASSERT_TRUE(cost.known());
    EXPECT_NEAR(cost.per_token(), exact.a, 0.05 * exact.a + 200);
    EXPECT_NEAR(cost.per_row(), exact.b, 0.05 * exact.b + 2'000);
    EXPECT_NEAR(cost.per_batch(), exact.c, 0.05 * exact.c + 10'000);
  }
}

TEST(CostModelTest, PredictsBatchesItHasNotSeen) {
  const Coefficients exact{118'000, 20'000, 1'900'000};
  const CostModel cost = known_cost(exact.a, exact.b, exact.c);
  for (const std::size_t rows : {1U, 3U, 7U, 20U, 32U}) {
    for (const std::uint64_t length : {3U, 11U, 50U, 100U}) {
      const double expected = line(exact.a, exact.b, exact.c, rows, rows * length);
      EXPECT_NEAR(cost.predict(rows, rows * length), expected, 0.05 * expected) << rows << " x " << length;
    }
  }
}

TEST(CostModelTest, SeesThroughNoise) {
  Random random(5);
  CostModel cost;
  for (int i = 0; i < 400; ++i) {
    const std::size_t rows = 1 + random.below(32);
    const std::uint64_t tokens = rows * (1 + random.below(100));
    const double noise = 0.9 + 0.2 * random.unit();
    cost.observe(rows, tokens, static_cast<Nanos>(noise * line(1'000, 0, 20'000, rows, tokens)));
  }
  for (const std::size_t rows : {1U, 8U, 32U}) {
    const double expected = line(1'000, 0, 20'000, rows, rows * 30);
    EXPECT_NEAR(cost.predict(rows, rows * 30), expected, 0.15 * expected);
  }
}

TEST(CostModelTest, CoefficientsAndPredictionsAreNeverNegative) {
  Random random(6);
  for (int round = 0; round < 50; ++round) {
    CostModel cost;
    for (int i = 0; i < 60; ++i) {
      const std::size_t rows = 1 + random.below(64);
      const std::uint64_t tokens = rows * (1 + random.below(512));
      // Nonsense: durations that have nothing to do with the batch, or fall with its size.
      const Nanos duration = round % 2 == 0 ? static_cast<Nanos>(1 + random.below(1'000'000'000))
                                            : static_cast<Nanos>(1'000'000'000 / tokens);
      cost.observe(rows, tokens, duration);
      ASSERT_GE(cost.per_token(), 0);
      ASSERT_GE(cost.per_row(), 0);
      ASSERT_GE(cost.per_batch(), 0);
      const double predicted = cost.predict(1 + random.below(64), 1 + random.below(10'000));
      ASSERT_GE(predicted, 0);
      ASSERT_TRUE(std::isfinite(predicted));
    }
  }
}

TEST(CostModelTest, AStallDoesNotPoisonWhatIsPredicted) {
  CostModel cost = known_cost(1'000, 0, 20'000);
  const double before = cost.predict(8, 256);
  cost.observe(8, 256, static_cast<Nanos>(1'000 * before));
  EXPECT_NEAR(cost.predict(8, 256), before, 0.2 * before);
  EXPECT_NEAR(cost.predict(16, 1'024), line(1'000, 0, 20'000, 16, 1'024),
              0.2 * line(1'000, 0, 20'000, 16, 1'024));
  for (int i = 0; i < 20; ++i) cost.observe(8, 256, static_cast<Nanos>(before));
  EXPECT_NEAR(cost.predict(8, 256), before, 0.05 * before);
}

TEST(CostModelTest, ADurationOfZeroIsTakenAsTheShortestThereIs) {
  CostModel cost = known_cost(1'000, 0, 20'000);
  cost.observe(4, 64, 0);
  cost.observe(4, 64, -5);
  EXPECT_TRUE(std::isfinite(cost.predict(4, 64)));
}

TEST(CostModelTest, FollowsABendAwayFromTheLine) {
  // From 1,024 padded tokens on the lane is half as fast again, as where a batch leaves a cache.
  const auto bent = [](std::size_t rows, std::uint64_t tokens) {
    return line(1'000, 0, 20'000, rows, tokens) * (tokens >= 1'024 ? 1.5 : 1.0);
  };
  CostModel cost;
  for (int round = 0; round < 100; ++round) {
    for (const std::size_t rows : {1U, 4U, 16U, 32U}) {
      for (const std::uint64_t length : {8U, 16U, 32U, 64U}) {
        cost.observe(rows, rows * length, static_cast<Nanos>(bent(rows, rows * length)));
      }
    }
  }
  EXPECT_NEAR(cost.predict(16, 512), bent(16, 512), 0.1 * bent(16, 512));
  EXPECT_NEAR(cost.predict(32, 1'024), bent(32, 1'024), 0.1 * bent(32, 1'024));
  EXPECT_NEAR(cost.predict(32, 2'048), bent(32, 2'048), 0.1 * bent(32, 2'048));
}

TEST(CostModelTest, TakesBatchesOfAnySize) {
  CostModel cost = known_cost(1'000, 0, 20'000);
  cost.observe(1, 0, 20'000);
  cost.observe(1'000'000, UINT64_MAX / 2, kNever);
  EXPECT_TRUE(std::isfinite(cost.predict(1, 0)));
  EXPECT_TRUE(std::isfinite(cost.predict(1, UINT64_MAX)));
}

TEST(CostModelTest, ForgetsWhatIsLongPast) {
  CostModel cost = known_cost(1'000, 0, 20'000);
  for (int round = 0; round < 60; ++round) {  // the machine has become twice as slow
    for (const std::size_t rows : {1U, 4U, 16U}) {
      for (const std::uint64_t length : {8U, 32U, 64U}) {
        cost.observe(rows, rows * length,
                     static_cast<Nanos>(2 * line(1'000, 0, 20'000, rows, rows * length)));
      }
    }
  }
  const double expected = 2 * line(1'000, 0, 20'000, 4, 128);
  EXPECT_NEAR(cost.predict(4, 128), expected, 0.05 * expected);
}

}  // namespace
}  // namespace batched
