#include "engine/trace.h"

#include <gtest/gtest.h>

namespace batched {
namespace {

TEST(Trace, ABatchReadsAsDecimalDigits) {
  EXPECT_EQ(trace_batch(32, 1824, 1368), 32'0001824'075U);
  EXPECT_EQ(trace_batch(1, 1, 1), 1'0000001'100U);
}

TEST(Trace, ABatchWithoutTokensIsFull) { EXPECT_EQ(trace_batch(7, 0, 0), 7'0000000'100U); }

TEST(Trace, MoreTokensThanTheDigitsHoldLeaveTheRowsAlone) {
  EXPECT_EQ(trace_batch(2, 20'000'000, 10'000'000), 2'9999999'050U);
}

}  // namespace
}  // namespace batched
