#include "engine/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "random.h"

namespace batched {
namespace {

TEST(HistogramTest, IsEmptyAtFirst) {
  const Histogram histogram;
  EXPECT_EQ(histogram.count(), 0U);
  EXPECT_EQ(histogram.percentile(0.5), 0);
  EXPECT_EQ(histogram.max(), 0);
}

TEST(HistogramTest, SmallValuesAreExact) {
  Histogram histogram;
  for (Nanos value = 0; value < 32; ++value) histogram.record(value);
  for (Nanos value = 0; value < 32; ++value) {
    EXPECT_EQ(histogram.percentile(static_cast<double>(value + 1) / 32), value);
  }
}

TEST(HistogramTest, PercentilesAreWithinOneThirtySecond) {
  Random random(3);
  for (const double spread : {5.0, 20.0, 40.0}) {  // octaves
    Histogram histogram;
    std::vector<Nanos> values;
    for (int i = 0; i < 20'000; ++i) {
      values.push_back(static_cast<Nanos>(std::exp2(random.unit() * spread)));
      histogram.record(values.back());
    }
    std::ranges::sort(values);
    for (const double fraction : {0.001, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0}) {
      const auto rank = static_cast<std::size_t>(std::ceil(fraction * static_cast<double>(values.size())));
      const double exact = static_cast<double>(values[rank - 1]);
      const double found = static_cast<double>(histogram.percentile(fraction));
      EXPECT_GE(found, exact);
      EXPECT_LE(found, exact * (1 + 1.0 / 32));
    }
  }
}

TEST(HistogramTest, NoPercentileIsAboveTheMaximum) {
  Histogram histogram;
  histogram.record(1'000'003);
  EXPECT_EQ(histogram.percentile(0.5), 1'000'003);
  EXPECT_EQ(histogram.percentile(1), 1'000'003);
  EXPECT_EQ(histogram.max(), 1'000'003);
}

TEST(HistogramTest, FractionsOutsideOfZeroToOneAreClamped) {
  Histogram histogram;
  histogram.record(1);
  histogram.record(9);
  EXPECT_EQ(histogram.percentile(-1), 1);
  EXPECT_EQ(histogram.percentile(7), 9);
}

TEST(HistogramTest, TakesAnyValueThereIs) {
  Histogram histogram;
  histogram.record(-5);
  EXPECT_EQ(histogram.percentile(1), 0);
  histogram.record(kNever);
  EXPECT_EQ(histogram.max(), kNever);
  EXPECT_GT(histogram.percentile(1), Nanos{1} << 43);
}

TEST(HistogramTest, CanBeCleared) {
  Histogram histogram;
  histogram.record(10);
  histogram.record(20);
  EXPECT_EQ(histogram.sum(), 30);
  histogram.clear();
  EXPECT_EQ(histogram.count(), 0U);
  EXPECT_EQ(histogram.sum(), 0);
  EXPECT_EQ(histogram.percentile(1), 0);
}

}  // namespace
}  // namespace batched
