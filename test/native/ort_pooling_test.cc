// Pooling inside the session, through the real ONNX Runtime.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "engine/half.h"
#include "ort_runs.h"

namespace batched {
namespace {

using testing::bytes_of;
using testing::load;
using testing::OnnxDims;
using testing::OnnxType;
using testing::run;
using testing::shape_of;
using testing::TinyOnnx;
using testing::values;

using Kind = Pooling::Kind;

constexpr float kPadding = 1000;

ModelOptions pooled(Kind kind, bool normalize = false, std::string states = "") {
  ModelOptions options;
  options.pooling = {kind, normalize, std::move(states)};
  return options;
}

// states = x [batch, sequence, 2].
TinyOnnx encoder(OnnxType type = OnnxType::kFloat, OnnxType mask = OnnxType::kInt64) {
  TinyOnnx onnx;
  onnx.input("x", type, {"batch", "sequence", 2}).input("attention_mask", mask, {"batch", "sequence"});
  return onnx.node("Identity", {"x"}, {"states"}).output("states", type, {"batch", "sequence", 2});
}

// Three rows of three places: three tokens, one, and none.
struct Batch {
  std::vector<float> x;
  std::vector<int> mask;
};
const Batch kRight = {{3, 4, 1, 2, 2, 0, 6, 8, kPadding, kPadding, kPadding, kPadding, kPadding, kPadding,
                       kPadding, kPadding, kPadding, kPadding},
                      {1, 1, 1, 1, 0, 0, 0, 0, 0}};
const Batch kLeft = {{3, 4, 1, 2, 2, 0, kPadding, kPadding, kPadding, kPadding, 6, 8, kPadding, kPadding,
                      kPadding, kPadding, kPadding, kPadding},
                     {1, 1, 1, 0, 0, 1, 0, 0, 0}};

std::vector<std::byte> mask_bytes(const std::vector<int>& mask, OnnxType type) {
  if (type == OnnxType::kInt32) return bytes_of(std::vector<std::int32_t>(mask.begin(), mask.end()));
  return bytes_of(std::vector<std::int64_t>(mask.begin(), mask.end()));
}

// What the pooled model gives for the batch, on either session.
std::vector<float> result_of(const OrtModel& model, const Batch& batch, OnnxType mask, bool alone) {
  const auto lanes = model.make_lanes();
  const bool half = model.signature().inputs[0].dtype == DType::kFloat16;
  std::vector<Half> halves;
  for (const float value : batch.x) halves.push_back(to_half(value));
  const Status status =
      run(*lanes[0], 0, shape_of({{3, 3, 2}, {3, 3}}),
          {half ? bytes_of(halves) : bytes_of(batch.x), mask_bytes(batch.mask, mask)}, alone);
  EXPECT_TRUE(status.ok()) << status.message();
  const TensorView vectors = lanes[0]->outputs(0)[0];
  EXPECT_EQ(vectors.dims, (Dims{3, 2}));
  EXPECT_EQ(lanes[0]->outputs(0).size(), 1U);
  if (!half) return values<float>(vectors);
  std::vector<float> floats;
  for (const Half value : values<Half>(vectors)) floats.push_back(to_float(value));
  return floats;
}

void expect_near(const std::vector<float>& found, const std::vector<float>& wanted, float tolerance) {
  ASSERT_EQ(found.size(), wanted.size());
  for (std::size_t i = 0; i < wanted.size(); ++i)
    EXPECT_NEAR(found[i], wanted[i], tolerance) << "element " << i;
}

TEST(Pooling, CountsTheTokensOfTheMaskOnEitherSideAndAtEveryOpset) {
  const float one = 1 / std::sqrt(2.0F);
  const struct {
    Kind kind;
    bool normalize;
    std::vector<float> wanted;
  } cases[] = {
      {Kind::kMean, false, {2, 2, 6, 8, 0, 0}},
      {Kind::kMean, true, {one, one, 0.6F, 0.8F, 0, 0}},
      {Kind::kCls, false, {3, 4, 6, 8, 0, 0}},
      {Kind::kCls, true, {0.6F, 0.8F, 0.6F, 0.8F, 0, 0}},
  };
  for (const int opset : {11, 12, 13, 17, 18, 21}) {
    for (const auto& [kind, normalize, wanted] : cases) {
      for (const OnnxType type : {OnnxType::kFloat, OnnxType::kFloat16}) {
        SCOPED_TRACE("opset " + std::to_string(opset) + (kind == Kind::kMean ? " mean" : " cls") +
                     (normalize ? " normalized" : "") + (type == OnnxType::kFloat ? "" : " in halves"));
        const OnnxType mask = opset % 2 == 0 ? OnnxType::kInt32 : OnnxType::kInt64;
        std::unique_ptr<OrtModel> model;
        const Status status = load(encoder(type, mask).opset(static_cast<std::uint64_t>(opset)),
                                   pooled(kind, normalize), &model);
        ASSERT_TRUE(status.ok()) << status.message();
        const float tolerance = type == OnnxType::kFloat ? 1e-6F : 1e-3F;
        expect_near(result_of(*model, kRight, mask, /*alone=*/false), wanted, tolerance);
        expect_near(result_of(*model, kLeft, mask, /*alone=*/true), wanted, tolerance);
      }
    }
  }
}

TEST(Pooling, LeavesOneOutputWithoutTheSequence) {
  std::unique_ptr<OrtModel> model;
  ASSERT_TRUE(load(encoder(OnnxType::kFloat16), pooled(Kind::kMean), &model).ok());
  ASSERT_EQ(model->signature().outputs.size(), 1U);
  const TensorSpec& output = model->signature().outputs[0];
  EXPECT_EQ(output.name, "sentence_embedding");
  EXPECT_EQ(output.dtype, DType::kFloat16);
  EXPECT_EQ(output.batch_axis, 0);
  ASSERT_EQ(output.axes.size(), 2U);
  EXPECT_EQ(output.axes[0].symbol, "batch");
  EXPECT_EQ(output.axes[1].size, 2);
}

TEST(Pooling, SumsManyTokensOfHalvesInSinglePrecision) {
  std::unique_ptr<OrtModel> model;
  ASSERT_TRUE(load(encoder(OnnxType::kFloat16), pooled(Kind::kMean), &model).ok());
  const auto lanes = model->make_lanes();
  constexpr std::int64_t kTokens = 4096;  // whose sum of 100 each is no half
  const std::vector<Half> x(2 * kTokens, to_half(100));
  const Status status = run(*lanes[0], 0, shape_of({{1, kTokens, 2}, {1, kTokens}}),
                            {bytes_of(x), bytes_of(std::vector<std::int64_t>(kTokens, 1))});
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(to_float(values<Half>(lanes[0]->outputs(0)[0])[0]), 100);
}

TEST(Pooling, TakesTheOutputThatIsNamed) {
  TinyOnnx onnx = encoder();
  onnx.node("Neg", {"x"}, {"negative"}).output("negative", OnnxType::kFloat, {"batch", "sequence", 2});
  std::unique_ptr<OrtModel> model;
  const Status several = load(onnx, pooled(Kind::kMean), &model);
  EXPECT_EQ(several.code(), Code::kInvalidInput);
  EXPECT_NE(several.message().find("states, negative"), std::string::npos) << several.message();
  ASSERT_TRUE(load(onnx, pooled(Kind::kMean, false, "negative"), &model).ok());
  expect_near(result_of(*model, kRight, OnnxType::kInt64, false), {-2, -2, -6, -8, 0, 0}, 1e-6F);
}

TEST(Pooling, TakesTheFirstPlaceWhereThereIsNoMask) {
  TinyOnnx onnx;
  onnx.input("x", OnnxType::kFloat, {"batch", "sequence", 2}).node("Identity", {"x"}, {"states"});
  onnx.output("states", OnnxType::kFloat, {"batch", "sequence", 2});
  std::unique_ptr<OrtModel> model;
  ASSERT_TRUE(load(onnx, pooled(Kind::kCls, true), &model).ok());
  const auto lanes = model->make_lanes();
  ASSERT_TRUE(run(*lanes[0], 0, shape_of({{2, 2, 2}}), {bytes_of<float>({3, 4, 1, 1, 0, -2, 1, 1})}).ok());
  expect_near(values<float>(lanes[0]->outputs(0)[0]), {0.6F, 0.8F, 0, -1}, 1e-6F);
}

TEST(Pooling, WorksOnAModelInAFileWithItsWeightsBesideIt) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("batched-pooling-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  TinyOnnx onnx;
  onnx.input("x", OnnxType::kFloat, {"batch", "sequence", 2});
  onnx.input("attention_mask", OnnxType::kInt64, {"batch", "sequence"});
  onnx.floats_in_file("w", {2, 2}, "weights.bin").node("MatMul", {"x", "w"}, {"states"});
  onnx.output("states", OnnxType::kFloat, {"batch", "sequence", 2});
  const auto write = [&](const char* name, const std::vector<std::byte>& bytes) {
    std::ofstream(folder / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  };
  write("weights.bin", bytes_of<float>({0, 1, 1, 0}));
  write("model.onnx", onnx.build());
  ModelOptions options = pooled(Kind::kMean);
  options.path = (folder / "model.onnx").string();
  std::unique_ptr<OrtModel> model;
  const Status status = OrtModel::load(options, &model);
  ASSERT_TRUE(status.ok()) << status.message();
  for (const bool alone : {false, true}) {
    expect_near(result_of(*model, kRight, OnnxType::kInt64, alone), {2, 2, 8, 6, 0, 0}, 1e-6F);
  }
  std::filesystem::remove_all(folder);
}

TEST(Pooling, RefusesWhatItCannotPool) {
  const auto refuses = [](const TinyOnnx& onnx, const ModelOptions& options, const char* says) {
    std::unique_ptr<OrtModel> model;
    const Status status = load(onnx, options, &model);
    EXPECT_EQ(status.code(), Code::kInvalidInput);
    EXPECT_NE(status.message().find(says), std::string::npos) << says << " in: " << status.message();
    EXPECT_EQ(model, nullptr);
  };
  const auto plain = [](OnnxType type, const OnnxDims& dims) {
    TinyOnnx onnx;
    onnx.input("x", type, dims).node("Identity", {"x"}, {"y"});
    return onnx.output("y", type, dims);
  };
  const OnnxDims states = {"batch", "sequence", 2};
  refuses(plain(OnnxType::kFloat, {"batch", 2}), pooled(Kind::kMean), "no such output; it has: y");
  refuses(plain(OnnxType::kInt64, states), pooled(Kind::kMean), "no such output; it has: y");
  refuses(plain(OnnxType::kFloat, states), pooled(Kind::kMean), "its inputs are x");
  refuses(plain(OnnxType::kFloat, {"batch", 2}), pooled(Kind::kMean, false, "y"), "outputs names 'y'");
  refuses(encoder(), pooled(Kind::kMean, false, "z"), "outputs names 'z'");
  refuses(encoder().opset(10), pooled(Kind::kMean), "opset 10: export it with 11");

  TinyOnnx own = encoder();
  own.node("ReduceMax", {"x"}, {"sentence_embedding"}, {{"keepdims", 1}});
  own.output("sentence_embedding", OnnxType::kFloat, {1, 1, 1});
  refuses(own, pooled(Kind::kMean), "the model gives sentence_embedding itself");

  TinyOnnx deep;
  deep.input("x", OnnxType::kFloat, states)
      .input("attention_mask", OnnxType::kInt64, {"batch", 1, "sequence"});
  deep.node("Identity", {"x"}, {"y"}).output("y", OnnxType::kFloat, states);
  refuses(deep, pooled(Kind::kCls), "attention_mask is not a tensor [batch, sequence]");
}

}  // namespace
}  // namespace batched
