// Results on their way back: each row's part of an output, trimmed, and the rows of a call stacked.
#include <gtest/gtest.h>

#include "engine/batch_layout.h"
#include "layout_helpers.h"

namespace batched {
namespace {

using Int64s = std::vector<std::int64_t>;
using Part = std::pair<Dims, Int64s>;

TEST(BatchScatterTest, OutputsAreTrimmedToTheRowsOwnLength) {
  const Signature signature = one_to_one(DType::kInt64, rows_by_length());
  Rows<std::int64_t> rows;
  rows.add({1, 2, 3}).add({4, 5}).add({6, 7, 8, 9});
  const Dims dims{3, 4};
  for (const PaddingSide side : {PaddingSide::kRight, PaddingSide::kLeft}) {
    const BatchLayout layout(signature, side);
    BatchShape shape;
    const Int64s whole = gathered<std::int64_t>(layout, rows.span(), &shape);
    EXPECT_EQ(scattered(layout, shape, rows[0], 0, DType::kInt64, dims, whole), (Part{{3}, {1, 2, 3}}));
    EXPECT_EQ(scattered(layout, shape, rows[1], 1, DType::kInt64, dims, whole), (Part{{2}, {4, 5}}));
    EXPECT_EQ(scattered(layout, shape, rows[2], 2, DType::kInt64, dims, whole), (Part{{4}, {6, 7, 8, 9}}));
  }
}

TEST(BatchScatterTest, OnlyAxesThatCarryAnInputsSymbolAreTrimmed) {
  Signature signature = one_to_one(DType::kInt64, rows_by_length());
  signature.outputs[0].axes[1].symbol = "other";
  const BatchLayout layout(signature, PaddingSide::kRight);
  Rows<std::int64_t> rows;
  rows.add(Int64s{1}).add({2, 3});
  BatchShape shape;
  const Int64s whole = gathered<std::int64_t>(layout, rows.span(), &shape);
  EXPECT_EQ(scattered(layout, shape, rows[0], 0, DType::kInt64, Dims{2, 2}, whole), (Part{{2}, {1, 0}}));
  signature.outputs[0].axes[1].symbol = "";
  const BatchLayout nameless(signature, PaddingSide::kRight);
  EXPECT_EQ(nameless.row_dims(shape, rows[0], 0, Dims{2, 2}), Dims{2});
}

TEST(BatchScatterTest, AnAxisThatDoesNotHaveThePaddedSizeIsLeftAlone) {
  const Signature signature = one_to_one(DType::kInt64, rows_by_length());
  const BatchLayout layout(signature, PaddingSide::kRight);
  Rows<std::int64_t> rows;
  rows.add(Int64s{1}).add({2, 3});
  BatchShape shape;
  layout.fit(rows.span(), &shape);
  EXPECT_EQ(layout.row_dims(shape, rows[0], 0, Dims{2, 5}), Dims{5});
}

TEST(BatchScatterTest, AnOutputWithoutLengthsKeepsItsRow) {
  Signature signature = one_to_one(DType::kInt64, rows_by_length());
  signature.outputs[0].axes[1] = {3, ""};
  const BatchLayout layout(signature, PaddingSide::kLeft);
  Rows<std::int64_t> rows;
  rows.add(Int64s{1}).add({2, 3});
  BatchShape shape;
  layout.fit(rows.span(), &shape);
  EXPECT_EQ(scattered(layout, shape, rows[1], 1, DType::kInt64, Dims{2, 3}, Int64s{1, 2, 3, 4, 5, 6}),
            (Part{{3}, {4, 5, 6}}));
}

TEST(BatchScatterTest, TheBatchAxisMayBeAnyAxis) {
  const Signature signature = one_to_one(DType::kInt64, {{-1, "length"}, {-1, "batch"}}, 1);
  Rows<std::int64_t> rows;
  rows.add({1, 2, 3}).add(Int64s{4});
  for (const PaddingSide side : {PaddingSide::kRight, PaddingSide::kLeft}) {
    const BatchLayout layout(signature, side);
    BatchShape shape;
    const Int64s whole = gathered<std::int64_t>(layout, rows.span(), &shape);
    EXPECT_EQ(scattered(layout, shape, rows[0], 0, DType::kInt64, Dims{3, 2}, whole), (Part{{3}, {1, 2, 3}}));
    EXPECT_EQ(scattered(layout, shape, rows[1], 1, DType::kInt64, Dims{3, 2}, whole), (Part{{1}, {4}}));
  }
}

TEST(BatchScatterTest, TwoDynamicAxesAreBothTrimmed) {
  const Signature signature = one_to_one(DType::kInt64, {{-1, "batch"}, {-1, "h"}, {-1, "w"}});
  Rows<std::int64_t> rows;
  rows.add({1, 3}, {1, 2, 3}).add({2, 1}, {4, 5}).add({2, 2}, {6, 7, 8, 9});
  for (const PaddingSide side : {PaddingSide::kRight, PaddingSide::kLeft}) {
    const BatchLayout layout(signature, side);
    BatchShape shape;
    const Int64s whole = gathered<std::int64_t>(layout, rows.span(), &shape);
    const Dims dims{3, 2, 3};
    EXPECT_EQ(scattered(layout, shape, rows[0], 0, DType::kInt64, dims, whole), (Part{{1, 3}, {1, 2, 3}}));
    EXPECT_EQ(scattered(layout, shape, rows[1], 1, DType::kInt64, dims, whole), (Part{{2, 1}, {4, 5}}));
    EXPECT_EQ(scattered(layout, shape, rows[2], 2, DType::kInt64, dims, whole), (Part{{2, 2}, {6, 7, 8, 9}}));
  }
}

TEST(BatchScatterTest, ARowOfLengthZeroHasAnEmptyPart) {
  const Signature signature = one_to_one(DType::kInt64, rows_by_length());
  for (const PaddingSide side : {PaddingSide::kRight, PaddingSide::kLeft}) {
    const BatchLayout layout(signature, side);
    Rows<std::int64_t> rows;
    rows.add(Int64s{}).add({1, 2});
    BatchShape shape;
    const Int64s whole = gathered<std::int64_t>(layout, rows.span(), &shape);
    EXPECT_EQ(scattered(layout, shape, rows[0], 0, DType::kInt64, Dims{2, 2}, whole), (Part{{0}, {}}));
    EXPECT_EQ(scattered(layout, shape, rows[1], 1, DType::kInt64, Dims{2, 2}, whole), (Part{{2}, {1, 2}}));
  }
}

TEST(BatchScatterTest, OutputsMustHaveAPlaceForEachRow) {
  const Signature signature = one_to_one(DType::kInt64, rows_by_length());
  const BatchLayout layout(signature, PaddingSide::kRight);
  EXPECT_TRUE(layout.holds_rows(0, Dims{3, 4}, 3));
  EXPECT_FALSE(layout.holds_rows(0, Dims{2, 4}, 3));
  EXPECT_FALSE(layout.holds_rows(0, Dims{4, 4}, 3));
  EXPECT_FALSE(layout.holds_rows(0, Dims{}, 1));
}

TensorView view(const Int64s& values, const Dims& dims) {
  return {DType::kInt64, dims, reinterpret_cast<const std::byte*>(values.data())};
}

Part stacked(const std::vector<TensorView>& rows, std::size_t batch_axis,
             PaddingSide side = PaddingSide::kRight) {
  const Dims dims = stacked_dims(rows, batch_axis);
  Int64s whole(dims.elements(), 99);
  stack_rows(rows, dims, batch_axis, side, reinterpret_cast<std::byte*>(whole.data()));
  return {dims, whole};
}

TEST(StackRowsTest, RowsOfOneShapeLieSideBySide) {
  const Int64s a{1, 2};
  const Int64s b{3, 4};
  EXPECT_EQ(stacked({view(a, {2}), view(b, {2})}, 0), (Part{{2, 2}, {1, 2, 3, 4}}));
  EXPECT_EQ(stacked({view(a, {2}), view(b, {2})}, 1), (Part{{2, 2}, {1, 3, 2, 4}}));
  EXPECT_EQ(stacked({view(a, {2})}, 0), (Part{{1, 2}, {1, 2}}));
}

TEST(StackRowsTest, RaggedRowsAreFilledWithZeros) {
  const Int64s a{1};
  const Int64s b{2, 3, 4};
  const Int64s none;
  EXPECT_EQ(stacked({view(a, {1}), view(b, {3}), view(none, {0})}, 0),
            (Part{{3, 3}, {1, 0, 0, 2, 3, 4, 0, 0, 0}}));
  EXPECT_EQ(stacked({view(a, {1}), view(b, {3})}, 0, PaddingSide::kLeft), (Part{{2, 3}, {0, 0, 1, 2, 3, 4}}));
}

TEST(StackRowsTest, RaggedOnSeveralAxes) {
  const Int64s a{1, 2};
  const Int64s b{3, 4};
  EXPECT_EQ(stacked({view(a, {1, 2}), view(b, {2, 1})}, 0), (Part{{2, 2, 2}, {1, 2, 0, 0, 3, 0, 4, 0}}));
}

TEST(StackRowsTest, ScalarsBecomeAVector) {
  const Int64s a{1};
  const Int64s b{2};
  EXPECT_EQ(stacked({view(a, {}), view(b, {})}, 0), (Part{{2}, {1, 2}}));
}

}  // namespace
}  // namespace batched
