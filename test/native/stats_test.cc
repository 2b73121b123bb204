#include "engine/stats.h"

#include <gtest/gtest.h>

namespace batched {
namespace {

TEST(CountersTest, EveryCodeCountsInExactlyOneWay) {
  for (int number = 0; number <= static_cast<int>(Code::kCancelled); ++number) {
    Counters counters;
    counters.count_settled(static_cast<Code>(number), 3);
    EXPECT_EQ(
        counters.processed + counters.failed + counters.cancelled + counters.timed_out + counters.closed, 3U);
  }
}

TEST(CountersTest, BatchesAreCountedByRowsTokensAndReason) {
  Counters counters;
  counters.count_batch(4, 30, 40, DispatchReason::kFull);
  counters.count_batch(1, 7, 7, DispatchReason::kIdle);
  counters.count_batch(4, 40, 40, DispatchReason::kFull);
  EXPECT_EQ(counters.batches, 3U);
  EXPECT_EQ(counters.batch_rows, 9U);
  EXPECT_EQ(counters.useful_tokens, 77U);
  EXPECT_EQ(counters.padded_tokens, 87U);
  EXPECT_EQ(counters.reasons[static_cast<std::size_t>(DispatchReason::kFull)], 2U);
  EXPECT_EQ(counters.batch_sizes, (std::vector<std::uint64_t>{0, 1, 0, 0, 2}));
  counters.clear();
  EXPECT_EQ(counters.batches, 0U);
  EXPECT_TRUE(counters.batch_sizes.empty());
}

}  // namespace
}  // namespace batched
