#include "engine/batch_layout.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "layout_helpers.h"

namespace batched {
namespace {

using Int64s = std::vector<std::int64_t>;

TEST(BatchGatherTest, PadsOnTheRight) {
  const Signature signature = one_to_one(DType::kInt64, rows_by_length());
  const BatchLayout layout(signature, PaddingSide::kRight);
  Rows<std::int64_t> rows;
  rows.add({1, 2, 3}).add({4, 5}).add({6, 7, 8, 9});
  BatchShape shape;
  EXPECT_EQ(gathered<std::int64_t>(layout, rows.span(), &shape),
            (Int64s{1, 2, 3, 0, 4, 5, 0, 0, 6, 7, 8, 9}));
  EXPECT_EQ(shape.inputs[0], (Dims{3, 4}));
}

TEST(BatchGatherTest, PadsOnTheLeft) {
  const Signature signature = one_to_one(DType::kInt64, rows_by_length());
  const BatchLayout layout(signature, PaddingSide::kLeft);
  Rows<std::int64_t> rows;
  rows.add({1, 2, 3}).add({4, 5}).add({6, 7, 8, 9});
  BatchShape shape;
  EXPECT_EQ(gathered<std::int64_t>(layout, rows.span(), &shape),
            (Int64s{0, 1, 2, 3, 0, 0, 4, 5, 6, 7, 8, 9}));
}

TEST(BatchGatherTest, PadsNothingWhenAllRowsAreOfOneShape) {
  const Signature signature = one_to_one(DType::kInt64, rows_by_length());
  const BatchLayout layout(signature, PaddingSide::kNone);
  Rows<std::int64_t> rows;
  rows.add({1, 2}).add({3, 4});
  BatchShape shape;
  EXPECT_EQ(gathered<std::int64_t>(layout, rows.span(), &shape), (Int64s{1, 2, 3, 4}));
}

TEST(BatchGatherTest, RowsOfLengthZeroAreAllPadding) {
  for (const PaddingSide side : {PaddingSide::kRight, PaddingSide::kLeft}) {
    const Signature signature = one_to_one(DType::kInt64, rows_by_length(), 0, 7);
    const BatchLayout layout(signature, side);
    Rows<std::int64_t> rows;
    rows.add(Int64s{}).add({1, 2}).add(Int64s{});
    BatchShape shape;
    EXPECT_EQ(gathered<std::int64_t>(layout, rows.span(), &shape), (Int64s{7, 7, 1, 2, 7, 7}));
    Rows<std::int64_t> empty;
    empty.add(Int64s{}).add(Int64s{});
    EXPECT_EQ(gathered<std::int64_t>(layout, empty.span(), &shape), Int64s{});
    EXPECT_EQ(shape.inputs[0], (Dims{2, 0}));
  }
}

TEST(BatchGatherTest, ScalarsPerRowAreLaidSideBySide) {
  const Signature signature = one_to_one(DType::kFloat32, {{-1, "batch"}});
  const BatchLayout layout(signature, PaddingSide::kRight);
  Rows<float> rows;
  rows.add(Dims{}, {1.5F}).add(Dims{}, {2.5F});
  BatchShape shape;
  EXPECT_EQ(gathered<float>(layout, rows.span(), &shape), (std::vector<float>{1.5F, 2.5F}));
  EXPECT_EQ(shape.inputs[0], Dims{2});
}

TEST(BatchGatherTest, AFixedBatchIsFilledUpWithPadding) {
  for (const PaddingSide side : {PaddingSide::kRight, PaddingSide::kLeft}) {
    Signature signature = one_to_one(DType::kInt64, rows_by_length(), 0, 5);
    signature.fixed_batch = 4;
    const BatchLayout layout(signature, side);
    Rows<std::int64_t> rows;
    rows.add({1, 2}).add({3, 4});
    BatchShape shape;
    EXPECT_EQ(gathered<std::int64_t>(layout, rows.span(), &shape), (Int64s{1, 2, 3, 4, 5, 5, 5, 5}));
    EXPECT_TRUE(layout.holds_rows(0, Dims{4, 2}, 2));
    EXPECT_FALSE(layout.holds_rows(0, Dims{1, 2}, 2));
  }
}

TEST(BatchGatherTest, TheBatchAxisMayBeAnyAxis) {
  const Signature signature = one_to_one(DType::kInt64, {{-1, "length"}, {-1, "batch"}}, 1, 9);
  Rows<std::int64_t> rows;
  rows.add({1, 2, 3}).add(Int64s{4});
  BatchShape shape;
  const BatchLayout right(signature, PaddingSide::kRight);
  EXPECT_EQ(gathered<std::int64_t>(right, rows.span(), &shape), (Int64s{1, 4, 2, 9, 3, 9}));
  EXPECT_EQ(shape.inputs[0], (Dims{3, 2}));
  const BatchLayout left(signature, PaddingSide::kLeft);
  EXPECT_EQ(gathered<std::int64_t>(left, rows.span(), &shape), (Int64s{1, 9, 2, 9, 3, 4}));
}

TEST(BatchGatherTest, AFixedBatchOnAnotherAxisIsFilledUpToo) {
  Signature signature = one_to_one(DType::kInt64, {{-1, "length"}, {3, "batch"}}, 1, 9);
  signature.fixed_batch = 3;
  const BatchLayout layout(signature, PaddingSide::kRight);
  Rows<std::int64_t> rows;
  rows.add({1, 2});
  BatchShape shape;
  EXPECT_EQ(gathered<std::int64_t>(layout, rows.span(), &shape), (Int64s{1, 9, 9, 2, 9, 9}));
}

TEST(BatchGatherTest, TwoDynamicAxesArePaddedToTheMostOfEach) {
  const Signature signature = one_to_one(DType::kInt64, {{-1, "batch"}, {-1, "h"}, {-1, "w"}}, 0, 0);
  Rows<std::int64_t> rows;
  rows.add({1, 3}, {1, 2, 3}).add({2, 1}, {4, 5});
  BatchShape shape;
  const BatchLayout right(signature, PaddingSide::kRight);
  EXPECT_EQ(gathered<std::int64_t>(right, rows.span(), &shape), (Int64s{1, 2, 3, 0, 0, 0, 4, 0, 0, 5, 0, 0}));
  EXPECT_EQ(shape.inputs[0], (Dims{2, 2, 3}));
  const BatchLayout left(signature, PaddingSide::kLeft);
  EXPECT_EQ(gathered<std::int64_t>(left, rows.span(), &shape), (Int64s{0, 0, 0, 1, 2, 3, 0, 0, 4, 0, 0, 5}));
}

TEST(BatchGatherTest, ASharedInputIsCopiedOnce) {
  Signature signature = one_to_one(DType::kInt64, {{-1, "n"}}, TensorSpec::kShared);
  const BatchLayout layout(signature, PaddingSide::kRight);
  Rows<std::int64_t> rows;
  rows.add({1, 2}).add({1, 2}).add({1, 2});
  BatchShape shape;
  EXPECT_EQ(gathered<std::int64_t>(layout, rows.span(), &shape), (Int64s{1, 2}));
  EXPECT_EQ(shape.inputs[0], Dims{2});
}

template <typename T>
void expect_padding(DType dtype, double pad_value, T expected) {
  SCOPED_TRACE(dtype_name(dtype));
  ASSERT_EQ(sizeof(T), element_size(dtype));
  for (const PaddingSide side : {PaddingSide::kRight, PaddingSide::kLeft}) {
    const Signature signature = one_to_one(dtype, rows_by_length(), 0, pad_value);
    const BatchLayout layout(signature, side);
    Rows<T> rows;
    rows.add({T(1), T(0), T(1)}).add({T(1)});
    BatchShape shape;
    const std::vector<T> last = side == PaddingSide::kRight ? std::vector<T>{T(1), expected, expected}
                                                            : std::vector<T>{expected, expected, T(1)};
    const std::vector<T> whole = gathered<T>(layout, rows.span(), &shape);
    EXPECT_EQ(std::vector<T>(whole.begin(), whole.begin() + 3), (std::vector<T>{T(1), T(0), T(1)}));
    EXPECT_EQ(std::vector<T>(whole.begin() + 3, whole.end()), last);
  }
}

TEST(BatchGatherTest, EveryTypeIsPaddedWithItsValue) {
  expect_padding<float>(DType::kFloat32, 1.5, 1.5F);
  expect_padding<double>(DType::kFloat64, -0.1, -0.1);
  expect_padding<std::uint16_t>(DType::kFloat16, 1.5, 0x3e00);
  expect_padding<std::int8_t>(DType::kInt8, -7, std::int8_t{-7});
  expect_padding<std::int16_t>(DType::kInt16, -300, std::int16_t{-300});
  expect_padding<std::int32_t>(DType::kInt32, -100, -100);
  expect_padding<std::int64_t>(DType::kInt64, 1e12, 1'000'000'000'000);
  expect_padding<std::uint8_t>(DType::kUint8, 200, std::uint8_t{200});
  expect_padding<std::uint16_t>(DType::kUint16, 60'000, std::uint16_t{60'000});
  expect_padding<std::uint32_t>(DType::kUint32, 4e9, 4'000'000'000U);
  expect_padding<std::uint64_t>(DType::kUint64, 1e18, 1'000'000'000'000'000'000U);
  expect_padding<std::uint8_t>(DType::kBool, 1, std::uint8_t{1});
  expect_padding<std::uint8_t>(DType::kBool, 5, std::uint8_t{1});
}

TEST(BatchGatherTest, EveryTypeIsPaddedWithZero) {
  for (int type = 0; type < 12; ++type) {
    const auto dtype = static_cast<DType>(type);
    switch (element_size(dtype)) {
      case 1:
        expect_padding<std::uint8_t>(dtype, 0, std::uint8_t{0});
        break;
      case 2:
        expect_padding<std::uint16_t>(dtype, 0, std::uint16_t{0});
        break;
      case 4:
        expect_padding<std::uint32_t>(dtype, 0, 0U);
        break;
      default:
        expect_padding<std::uint64_t>(dtype, 0, std::uint64_t{0});
    }
  }
}

TEST(BatchGatherTest, HalvesAreRoundedToNearestEven) {
  struct Half {
    double value;
    std::uint16_t bits;
  };
  const Half halves[] = {
      {1, 0x3c00},
      {-2, 0xc000},
      {65504, 0x7bff},
      {65519, 0x7bff},
      {65520, 0x7c00},
      {-1e9, 0xfc00},
      {std::ldexp(1, -14), 0x0400},
      {std::ldexp(1, -24), 0x0001},
      {std::ldexp(1, -26), 0x0000},
      {std::ldexp(3, -25), 0x0002},          // 1.5 of the smallest: to even
      {1 + std::ldexp(1, -11), 0x3c00},      // halfway: to even, down
      {1 + 3 * std::ldexp(1, -11), 0x3c02},  // halfway: to even, up
      {std::numeric_limits<double>::infinity(), 0x7c00},
      {std::numeric_limits<double>::quiet_NaN(), 0x7e00},
  };
  for (const Half& half : halves) {
    SCOPED_TRACE(half.value);
    expect_padding<std::uint16_t>(DType::kFloat16, half.value, half.bits);
  }
}

}  // namespace
}  // namespace batched
