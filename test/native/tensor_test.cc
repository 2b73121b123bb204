#include "engine/tensor.h"

#include <gtest/gtest.h>

#include <limits>

#include "engine/status.h"

namespace batched {
namespace {

constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();

struct Product {
  std::vector<std::int64_t> dims;
  std::size_t element_bytes;
  bool fits;
  std::size_t elements;
};

TEST(TensorTest, CheckedElementsRefusesNegativesAndOverflow) {
  const Product cases[] = {
      {{}, 4, true, 1},
      {{3}, 4, true, 3},
      {{2, 3, 4}, 8, true, 24},
      {{0}, 8, true, 0},
      {{5, 0, 7}, 8, true, 0},
      {{-1}, 1, false, 0},
      {{-1, -1}, 1, false, 0},
      {{0, -1}, 1, false, 0},
      {{kHuge}, 1, true, static_cast<std::size_t>(kHuge)},
      {{kHuge}, 2, false, 0},
      {{kHuge, 2}, 1, false, 0},
      {{kHuge, 4}, 1, false, 0},
      {{1LL << 32, 1LL << 32}, 1, false, 0},
      {{1LL << 31, 1LL << 31}, 1, true, std::size_t{1} << 62},
      {{1LL << 31, 1LL << 31}, 2, false, 0},
      {{1LL << 60}, 8, false, 0},
      {{1LL << 60}, 4, true, std::size_t{1} << 60},
  };
  for (const Product& product : cases) {
    SCOPED_TRACE(to_string(product.dims));
    std::size_t elements = 0;
    EXPECT_EQ(checked_elements(product.dims, product.element_bytes, &elements), product.fits);
    if (product.fits) {
      EXPECT_EQ(elements, product.elements);
    }
  }
}

TEST(TensorTest, AZeroAmongDimensionsWhoseOthersOverflowIsRefusedOrEmpty) {
  std::size_t elements = 1;
  if (checked_elements(std::vector<std::int64_t>{kHuge, kHuge, 0}, 8, &elements)) {
    EXPECT_EQ(elements, 0U);
  }
  if (checked_elements(std::vector<std::int64_t>{0, kHuge, kHuge}, 8, &elements)) {
    EXPECT_EQ(elements, 0U);
  }
}

TEST(TensorTest, ElementSizesAndNames) {
  struct Type {
    DType dtype;
    std::size_t size;
    const char* name;
  };
  const Type types[] = {
      {DType::kFloat32, 4, "float32"}, {DType::kFloat64, 8, "float64"}, {DType::kFloat16, 2, "float16"},
      {DType::kInt8, 1, "int8"},       {DType::kInt16, 2, "int16"},     {DType::kInt32, 4, "int32"},
      {DType::kInt64, 8, "int64"},     {DType::kUint8, 1, "uint8"},     {DType::kUint16, 2, "uint16"},
      {DType::kUint32, 4, "uint32"},   {DType::kUint64, 8, "uint64"},   {DType::kBool, 1, "bool"}};
  for (const Type& type : types) {
    EXPECT_EQ(element_size(type.dtype), type.size) << type.name;
    EXPECT_STREQ(dtype_name(type.dtype), type.name);
  }
}

TEST(TensorTest, DimsCanBeInsertedAndErasedAnywhere) {
  Dims dims{2, 3};
  dims.insert(0, 9);
  EXPECT_EQ(dims, (Dims{9, 2, 3}));
  dims.insert(3, 8);
  EXPECT_EQ(dims, (Dims{9, 2, 3, 8}));
  dims.insert(1, 7);
  EXPECT_EQ(dims, (Dims{9, 7, 2, 3, 8}));
  dims.erase(1);
  dims.erase(3);
  dims.erase(0);
  EXPECT_EQ(dims, (Dims{2, 3}));
  EXPECT_EQ(dims.elements(), 6U);
  EXPECT_NE(dims, (Dims{2, 3, 1}));
  EXPECT_EQ(Dims{}.elements(), 1U) << "a scalar";
}

TEST(TensorTest, DimsAreWrittenWithAQuestionMarkForDynamicOnes) {
  EXPECT_EQ(to_string(std::vector<std::int64_t>{-1, 3}), "[?, 3]");
  EXPECT_EQ(to_string(Dims{}.span()), "[]");
}

TEST(StatusTest, EveryCodeHasItsStableName) {
  EXPECT_TRUE(Status::okay().ok());
  EXPECT_STREQ(code_name(Code::kQueueFull), "BATCHED_QUEUE_FULL");
  EXPECT_STREQ(code_name(Code::kDeadline), "BATCHED_DEADLINE");
  EXPECT_STREQ(code_name(Code::kCancelled), "BATCHED_CANCELLED");
  EXPECT_STREQ(code_name(Code::kDeviceLost), "BATCHED_DEVICE_LOST");
  EXPECT_EQ(static_cast<int>(Code::kCancelled), 11) << "the numbers are part of the boundary";
}

}  // namespace
}  // namespace batched
