#include "engine/row_check.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace batched {
namespace {

RowInput input_of(const Dims& dims) { return {nullptr, dims}; }

TensorSpec spec(const char* name, std::vector<Axis> axes, int batch_axis = 0) {
  return {name, DType::kInt64, std::move(axes), batch_axis, 0};
}

Signature text_signature() {
  Signature signature;
  signature.inputs = {spec("ids", {{-1, "batch"}, {-1, "length"}}),
                      spec("mask", {{-1, "batch"}, {-1, "length"}})};
  return signature;
}

Status check(const Signature& signature, const std::vector<RowInput>& row) {
  return check_row(signature, row);
}

TEST(RowCheckTest, ARowThatFitsPasses) {
  EXPECT_TRUE(check(text_signature(), {input_of({5}), input_of({5})}).ok());
}

TEST(RowCheckTest, TheRankMustFit) {
  const Status status = check(text_signature(), {input_of({1, 5}), input_of({5})});
  EXPECT_EQ(status.code(), Code::kInvalidInput);
  EXPECT_EQ(status.message(), "input 'ids': a row has dims [1, 5] where the model wants [length]");
  EXPECT_FALSE(check(text_signature(), {input_of({5}), input_of({})}).ok());
}

TEST(RowCheckTest, InputsOfOneSymbolMustAgree) {
  const Status status = check(text_signature(), {input_of({5}), input_of({4})});
  EXPECT_EQ(status.code(), Code::kInvalidInput);
  EXPECT_EQ(status.message(), "inputs 'ids' and 'mask' disagree on 'length': 5 and 4");
}

TEST(RowCheckTest, AxesOfOneInputWithOneSymbolMustAgree) {
  Signature signature;
  signature.inputs = {spec("pairs", {{-1, "batch"}, {-1, "n"}, {-1, "n"}})};
  EXPECT_TRUE(check(signature, {input_of({3, 3})}).ok());
  EXPECT_EQ(check(signature, {input_of({2, 3})}).code(), Code::kInvalidInput);
}

TEST(RowCheckTest, AxesWithoutASymbolNeedNotAgree) {
  Signature signature;
  signature.inputs = {spec("a", {{-1, "batch"}, {-1, ""}}), spec("b", {{-1, "batch"}, {-1, ""}})};
  EXPECT_TRUE(check(signature, {input_of({3}), input_of({4})}).ok());
}

TEST(RowCheckTest, FixedDimensionsMustFit) {
  Signature signature;
  signature.inputs = {spec("image", {{-1, "batch"}, {3, ""}, {-1, "h"}})};
  EXPECT_TRUE(check(signature, {input_of({3, 7})}).ok());
  const Status status = check(signature, {input_of({4, 7})});
  EXPECT_EQ(status.message(), "input 'image': a row has dims [4, 7] where the model wants [3, h]");
}

TEST(RowCheckTest, TheBatchAxisIsNotPartOfARow) {
  Signature signature;
  signature.inputs = {spec("x", {{7, ""}, {-1, "batch"}, {2, ""}}, 1)};
  EXPECT_TRUE(check(signature, {input_of({7, 2})}).ok());
  EXPECT_FALSE(check(signature, {input_of({2, 7})}).ok());
}

TEST(RowCheckTest, ASharedInputIsCheckedWhole) {
  Signature signature = text_signature();
  signature.inputs.push_back(spec("table", {{2, ""}, {-1, "k"}}, TensorSpec::kShared));
  EXPECT_TRUE(check(signature, {input_of({5}), input_of({5}), input_of({2, 9})}).ok());
  EXPECT_FALSE(check(signature, {input_of({5}), input_of({5}), input_of({3, 9})}).ok());
}

TEST(RowLengthTest, IsTheProductOfTheDynamicAxesOfTheFirstInputThatHasAny) {
  Signature image;
  image.inputs = {spec("scale", {{-1, "batch"}, {1, ""}}),
                  spec("image", {{-1, "batch"}, {3, ""}, {-1, "h"}, {-1, "w"}})};
  EXPECT_EQ(length_of(image, std::vector{input_of({1}), input_of({3, 4, 5})}), 20U);
  EXPECT_EQ(length_of(text_signature(), std::vector{input_of({7}), input_of({7})}), 7U);
}

TEST(RowLengthTest, IsAtLeastOneAndDoesNotOverflow) {
  Signature fixed;
  fixed.inputs = {spec("x", {{-1, "batch"}, {10, ""}})};
  EXPECT_EQ(length_of(fixed, std::vector{input_of({10})}), 1U);
  EXPECT_EQ(length_of(text_signature(), std::vector{input_of({0}), input_of({0})}), 1U);
  EXPECT_EQ(length_of(text_signature(), std::vector{input_of({1LL << 40}), input_of({1LL << 40})}),
            UINT32_MAX);
}

TEST(RowLengthTest, ASharedInputHasNoPartInIt) {
  Signature signature;
  signature.inputs = {spec("table", {{-1, "k"}}, TensorSpec::kShared),
                      spec("ids", {{-1, "batch"}, {-1, "n"}})};
  EXPECT_EQ(length_of(signature, std::vector{input_of({100}), input_of({6})}), 6U);
}

TEST(RowGroupTest, PaddedRowsNeedNoGroups) {
  const std::vector row{input_of({5}), input_of({5})};
  EXPECT_EQ(group_of(text_signature(), PaddingSide::kRight, row, 1), 0U);
  EXPECT_EQ(group_of(text_signature(), PaddingSide::kLeft, row, 1), 0U);
}

TEST(RowGroupTest, WithoutPaddingRowsAreGroupedByShape) {
  const auto group = [](std::int64_t a, std::int64_t b) {
    return group_of(text_signature(), PaddingSide::kNone, std::vector{input_of({a}), input_of({b})}, 1);
  };
  EXPECT_EQ(group(5, 5), group(5, 5));
  EXPECT_NE(group(5, 5), group(6, 6));
  EXPECT_NE(group(5, 6), group(6, 5));
}

TEST(RowGroupTest, RowsAreGroupedByTheValueAndShapeOfSharedInputs) {
  Signature signature;
  signature.inputs = {spec("k", {{-1, "n"}}, TensorSpec::kShared)};
  const auto group = [&](const std::vector<std::int64_t>& values, const Dims& dims, std::uint64_t seed = 1) {
    const std::vector<RowInput> row{{reinterpret_cast<const std::byte*>(values.data()), dims}};
    return group_of(signature, PaddingSide::kRight, row, seed);
  };
  EXPECT_EQ(group({1, 2}, {2}), group({1, 2}, {2}));
  EXPECT_NE(group({1, 2}, {2}), group({1, 3}, {2}));
  EXPECT_NE(group({1, 2}, {2}), group({2, 1}, {2}));
  EXPECT_NE(group({1, 2}, {2}), group({1, 2}, {1, 2}));
  EXPECT_NE(group({1, 2}, {2}, 1), group({1, 2}, {2}, 2)) << "the hash is seeded";
}

}  // namespace
}  // namespace batched
