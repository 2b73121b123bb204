#include "engine/shape_ladder.h"

#include <gtest/gtest.h>

#include <set>

#include "layout_helpers.h"

namespace batched {
namespace {

TEST(ShapeLadderTest, OffItLeavesBatchesAsTheyAre) {
  const ShapeLadder::Rung rung = ShapeLadder{}.fit(5, 33);
  EXPECT_EQ(rung.rows, 5U);
  EXPECT_EQ(rung.length, 33U);
}

TEST(ShapeLadderTest, LengthsGoUpByEightAndByLessThanAQuarter) {
  const ShapeLadder ladder{false, true, 0, 0};
  std::set<std::uint32_t> rungs;
  for (std::uint32_t length = 1; length <= 4096; ++length) {
    const ShapeLadder::Rung rung = ladder.fit(3, length);
    ASSERT_EQ(rung.rows, 3U);
    ASSERT_GE(rung.length, length);
    ASSERT_EQ(rung.length % 8, 0U);
    if (length > 32) {
      ASSERT_LT(rung.length, length + length / 4 + 1) << length;
    }
    ASSERT_EQ(ladder.fit(3, rung.length).length, rung.length) << "a rung is its own";
    rungs.insert(rung.length);
  }
  EXPECT_LE(rungs.size(), 32U) << "four to an octave";
}

TEST(ShapeLadderTest, RowsStopAtTheLargestBatch) {
  const ShapeLadder ladder{true, false, 33, 0};
  for (std::size_t rows = 1; rows <= 33; ++rows) {
    const std::size_t rung = ladder.fit(rows, 7).rows;
    ASSERT_GE(rung, rows);
    ASSERT_LE(rung, std::min<std::size_t>(33, rows + rows / 4));
  }
  EXPECT_EQ(ladder.fit(33, 7).rows, 33U);
  EXPECT_EQ(ladder.fit(9, 7).rows, 10U);
}

TEST(ShapeLadderTest, ABatchIsNotFilledUpBeyondTheBudgetOfTokens) {
  const ShapeLadder ladder{true, true, 32, 100};
  EXPECT_EQ(ladder.fit(3, 30).length, 32U);
  const ShapeLadder::Rung over = ladder.fit(3, 33);
  EXPECT_EQ(over.length, 33U);
  EXPECT_EQ(over.rows, 3U);
}

TEST(BatchLadderTest, FillsUpWithRowsAndTokensOfPadding) {
  const Signature signature = one_to_one(DType::kInt64, rows_by_length(), 0, 9);
  const BatchLayout layout(signature, PaddingSide::kRight, {true, true, 6, 0});
  Rows<std::int64_t> rows;
  for (int i = 0; i < 5; ++i) rows.add({1, 2});
  rows.add({3});
  rows.add({4, 5, 6, 7, 8, 9, 10, 11, 12});
  BatchShape shape;
  shape.longest = 9;
  const std::vector<std::int64_t> all = gathered<std::int64_t>(layout, rows.span(), &shape);
  EXPECT_EQ(shape.inputs[0], (Dims{7, 16})) << "the policy's batch size has no rung above it";
  EXPECT_EQ(shape.padded_tokens(), 7U * 16U);
  EXPECT_EQ(all[5 * 16], 3);
  EXPECT_EQ(all[5 * 16 + 1], 9);
  EXPECT_EQ(all[6 * 16 + 9], 9);

  const BatchLayout nine(signature, PaddingSide::kRight, {true, true, 32, 0});
  rows.add({1}).add({1});
  const std::vector<std::int64_t> filled = gathered<std::int64_t>(nine, rows.span(), &shape);
  EXPECT_EQ(shape.inputs[0], (Dims{10, 16}));
  for (std::size_t i = 9 * 16; i < 10 * 16; ++i) EXPECT_EQ(filled[i], 9);
  EXPECT_TRUE(nine.holds_rows(0, {10, 16}, 9));
  EXPECT_FALSE(nine.holds_rows(0, {8, 16}, 9));
}

TEST(BatchLadderTest, WhereOnlyEqualShapesShareABatchLengthsStayAsTheyAre) {
  const Signature signature = one_to_one(DType::kInt64, rows_by_length());
  const BatchLayout layout(signature, PaddingSide::kNone, {true, true, 32, 0});
  Rows<std::int64_t> rows;
  rows.add({1, 2, 3});
  BatchShape shape;
  shape.longest = 3;
  EXPECT_EQ(gathered<std::int64_t>(layout, rows.span(), &shape), (std::vector<std::int64_t>{1, 2, 3}));
}

TEST(BatchLadderTest, AModelWithAFixedBatchKeepsIt) {
  Signature signature = one_to_one(DType::kInt64, rows_by_length());
  signature.fixed_batch = 3;
  const BatchLayout layout(signature, PaddingSide::kRight, {true, false, 32, 0});
  Rows<std::int64_t> rows;
  rows.add({1, 2});
  BatchShape shape;
  shape.longest = 2;
  EXPECT_EQ(gathered<std::int64_t>(layout, rows.span(), &shape),
            (std::vector<std::int64_t>{1, 2, 0, 0, 0, 0}));
  EXPECT_EQ(shape.padded_tokens(), 6U);
}

}  // namespace
}  // namespace batched
