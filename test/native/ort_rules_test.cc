// The pure parts of native/ort: no ONNX Runtime library is loaded here.
#include <gtest/gtest.h>

#include <cmath>
#include <new>
#include <stdexcept>

#include "ort/ort_error.h"
#include "ort/ort_threads.h"
#include "ort/signature_rules.h"

namespace batched {
namespace {

Axis fixed(std::int64_t size) { return {size, ""}; }
Axis named(const char* symbol) { return {Axis::kDynamic, symbol}; }

DeclaredTensor tensor(const char* name, std::vector<Axis> axes, DType dtype = DType::kFloat32) {
  DeclaredTensor declared;
  declared.name = name;
  declared.dtype = dtype;
  declared.axes = std::move(axes);
  return declared;
}

struct Case {
  const char* what;
  std::vector<DeclaredTensor> inputs;
  std::vector<DeclaredTensor> outputs;
  ModelOptions options;
  std::vector<int> batch_axes;  // inputs, then outputs
  std::int64_t fixed_batch = 0;
};

TEST(SignatureRules, FindTheBatchAxis) {
  ModelOptions state_axis;
  state_axis.batch_axis = {{"state", 1}};
  ModelOptions shared;
  shared.shared = {"sr"};
  ModelOptions four;
  four.batch_axis = {{"x", 0}};
  ModelOptions only_y;
  only_y.outputs = {"y"};
  ModelOptions swapped;
  swapped.outputs = {"z", "y"};
  const Axis b = named("batch");
  const Axis s = named("sequence");
  const std::vector<Case> cases = {
      {"axis 0", {tensor("x", {b, s})}, {tensor("y", {b, fixed(4)})}, {}, {0, 0}},
      {"the input's symbol, elsewhere", {tensor("x", {b, s})}, {tensor("y", {s, b})}, {}, {0, 1}},
      {"no symbols", {tensor("x", {named(""), named("")})}, {tensor("y", {named("")})}, {}, {0, 0}},
      {"a symbol of shape inference", {tensor("x", {b})}, {tensor("y", {named("unk__1")})}, {}, {0, 0}},
      {"given, and found in the output by its symbol",
       {tensor("x", {b, s}), tensor("state", {fixed(2), b, fixed(4)})},
       {tensor("y", {b}), tensor("n", {fixed(2), b, fixed(4)})},
       state_axis,
       {0, 1, 0, 1}},
      {"given, and found in the output as the only dynamic axis",
       {tensor("x", {named("")}), tensor("state", {fixed(2), named(""), fixed(4)})},
       {tensor("n", {fixed(2), named(""), fixed(4)})},
       state_axis,
       {0, 1, 1}},
      {"given, and axis 0 is the only one that it can be in the output",
       {tensor("x", {named(""), named("")}), tensor("state", {fixed(2), named(""), fixed(4)})},
       {tensor("y", {named(""), fixed(1)})},
       state_axis,
       {0, 1, 0}},
      {"given, and the batch fixed at 1",
       {tensor("x", {fixed(1), fixed(3)}), tensor("state", {fixed(2), fixed(1), fixed(4)})},
       {tensor("y", {fixed(1), fixed(1)}), tensor("n", {fixed(2), fixed(1), fixed(4)})},
       state_axis,
       {0, 1, 0, 1},
       1},
      {"shared",
       {tensor("x", {b}), tensor("sr", {})},
       {tensor("y", {b})},
       shared,
       {0, TensorSpec::kShared, 0}},
      {"fixed at 1", {tensor("x", {fixed(1), fixed(3)})}, {tensor("y", {fixed(1), fixed(9)})}, {}, {0, 0}, 1},
      {"fixed at 4, by name",
       {tensor("x", {fixed(4), fixed(3)})},
       {tensor("y", {fixed(3), fixed(4)})},
       four,
       {0, 1},
       4},
      {"an unselected output is not looked at",
       {tensor("x", {b})},
       {tensor("s", {}), tensor("y", {b})},
       only_y,
       {0, 0}},
      {"outputs in the order asked for",
       {tensor("x", {b, s})},
       {tensor("y", {b, s}), tensor("z", {s, b})},
       swapped,
       {0, 1, 0}},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.what);
    Signature signature;
    const Status status = make_signature(test.inputs, test.outputs, test.options, &signature);
    ASSERT_TRUE(status.ok()) << status.message();
    std::vector<int> axes;
    for (const TensorSpec& spec : signature.inputs) axes.push_back(spec.batch_axis);
    for (const TensorSpec& spec : signature.outputs) axes.push_back(spec.batch_axis);
    EXPECT_EQ(axes, test.batch_axes);
    EXPECT_EQ(signature.fixed_batch, test.fixed_batch);
  }
}

TEST(SignatureRules, AnOutputOfUnknownRankIsTakenAtItsWord) {
  DeclaredTensor unranked = tensor("y", {});
  unranked.ranked = false;
  Signature signature;
  ASSERT_TRUE(make_signature({tensor("x", {named("batch")})}, {unranked}, {}, &signature).ok());
  EXPECT_EQ(signature.outputs[0].batch_axis, 0);
}

struct Refusal {
  const char* what;
  std::vector<DeclaredTensor> inputs;
  std::vector<DeclaredTensor> outputs;
  ModelOptions options;
  std::vector<const char*> says;
};

TEST(SignatureRules, RefuseWhatCannotBeBatched) {
  const Axis b = named("batch");
  const Axis s = named("sequence");
  const DeclaredTensor x = tensor("x", {b, s});
  const DeclaredTensor y = tensor("y", {b, s});
  DeclaredTensor text = tensor("x", {b});
  text.unsupported = "string";
  ModelOptions outputs, twice, axis, range, shared, pad, pad_value, both, all_shared;
  outputs.outputs = {"z"};
  twice.outputs = {"y", "y"};
  axis.batch_axis = {{"z", 0}};
  range.batch_axis = {{"x", 2}};
  shared.shared = {"y"};
  pad.pad_values = {{"y", 1}};
  pad_value.pad_values = {{"x", 0.5}};
  both.batch_axis = {{"x", 0}};
  both.shared = {"x"};
  all_shared.shared = {"x"};
  ModelOptions state_axis;
  state_axis.batch_axis = {{"state", 1}};
  const Axis unnamed = named("");
  const DeclaredTensor state = tensor("state", {fixed(2), unnamed, fixed(4)});
  const std::vector<Refusal> cases = {
      {"unknown output", {x}, {y}, outputs, {"outputs", "'z'", "it has: y"}},
      {"output twice", {x}, {y}, twice, {"outputs", "'y' twice"}},
      {"unknown batchAxis", {x}, {y}, axis, {"batchAxis", "'z'", "x; y"}},
      {"batchAxis out of range", {x}, {y}, range, {"batchAxis is 2", "[batch, sequence]"}},
      {"shared names an output", {x}, {y}, shared, {"shared", "'y'", "it has: x"}},
      {"padTokens names an output", {x}, {y}, pad, {"padTokens", "'y'", "it has: x"}},
      {"a pad value the type lacks",
       {tensor("x", {b, s}, DType::kInt64)},
       {y},
       pad_value,
       {"padTokens", "int64", "0.5"}},
      {"both", {x}, {y}, both, {"batchAxis and shared"}},
      {"all shared", {x}, {y}, all_shared, {"nothing to batch"}},
      {"no inputs", {}, {y}, {}, {"no inputs"}},
      {"a type", {text}, {y}, {}, {"input 'x'", "string"}},
      {"a scalar input", {x, tensor("sr", {})}, {y}, {}, {"'sr'", "shared: ['sr']"}},
      {"channels, not a batch",
       {tensor("x", {fixed(3), fixed(8)})},
       {y},
       {},
       {"'x' float32 [3, 8]", "fixed at 3", "batchAxis", "shared"}},
      {"another axis has the batch",
       {x, tensor("state", {fixed(2), b})},
       {y},
       {},
       {"'state'", "batchAxis: { 'state': 1 }"}},
      {"fixed beside dynamic", {x, tensor("m", {fixed(1), s})}, {y}, {}, {"'m'", "fixed at 1"}},
      {"a scalar output", {x}, {tensor("loss", {})}, {}, {"output 'loss'", "outputs", "batchAxis"}},
      {"an output without the batch", {x}, {tensor("y", {s, fixed(4)})}, {}, {"output 'y'", "batchAxis"}},
      {"the only dynamic axis may have the batch",
       {tensor("x", {unnamed, unnamed}), state},
       {y},
       {},
       {"'state'", "batchAxis: { 'state': 1 }"}},
      {"an output's axes without names, where an input's batch is not axis 0",
       {tensor("x", {unnamed, unnamed}), state},
       {tensor("stateN", {unnamed, unnamed, unnamed})},
       state_axis,
       {"output 'stateN' float32 [?, ?, ?]", "several axes", "batchAxis: { 'stateN': axis }"}},
      {"nine axes", {tensor("x", std::vector<Axis>(9, b))}, {y}, {}, {"more than 8"}},
  };
  for (const Refusal& test : cases) {
    SCOPED_TRACE(test.what);
    Signature signature;
    const Status status = make_signature(test.inputs, test.outputs, test.options, &signature);
    EXPECT_EQ(status.code(), Code::kInvalidInput);
    for (const char* part : test.says) {
      EXPECT_NE(status.message().find(part), std::string::npos) << part << " in: " << status.message();
    }
  }
}

TEST(SignatureRules, PadValuesFitTheirType) {
  struct Pad {
    DType dtype;
    double value;
    bool fits;
  };
  const std::vector<Pad> pads = {
      {DType::kInt8, -128, true},      {DType::kInt8, 128, false},  {DType::kUint8, 255, true},
      {DType::kUint8, -1, false},      {DType::kInt64, -1, true},   {DType::kInt64, 0x1p63, false},
      {DType::kUint64, 0x1p64, false}, {DType::kInt32, NAN, false}, {DType::kFloat32, NAN, true},
      {DType::kFloat16, -0.5, true},   {DType::kBool, 1, true},     {DType::kBool, 2, false},
  };
  for (const Pad& pad : pads) {
    ModelOptions options;
    options.pad_values = {{"x", pad.value}};
    Signature signature;
    const Status status = make_signature({tensor("x", {named("b"), named("n")}, pad.dtype)},
                                         {tensor("y", {named("b")})}, options, &signature);
    EXPECT_EQ(status.ok(), pad.fits) << dtype_name(pad.dtype) << " " << pad.value;
    if (status.ok() && !std::isnan(pad.value)) {
      EXPECT_EQ(signature.inputs[0].pad_value, pad.value);
    }
  }
}

TEST(ThreadPlan, NarrowLanesAndAWideSessionByDefault) {
  struct Want {
    int cores;
    std::size_t lanes;
    int threads;
    std::uint64_t bytes;
    ThreadPlan plan;
  };
  constexpr std::uint64_t kLarge = std::uint64_t{2} << 30;
  const std::vector<Want> wants = {
      {1, 0, 0, 0, {1, 1, false, 0}}, {2, 0, 0, 0, {2, 1, false, 2}}, {64, 0, 0, 0, {16, 1, false, 8}},
      {4, 1, 0, 0, {1, 4, false, 0}}, {4, 3, 0, 0, {3, 1, false, 4}}, {4, 0, 0, kLarge, {4, 1, false, 0}},
      {4, 0, 1, 0, {4, 1, false, 0}}, {8, 0, 2, 0, {4, 2, true, 0}},  {2, 0, 4, 0, {1, 4, true, 0}},
      {2, 3, 2, 0, {3, 2, true, 0}},
  };
  for (const Want& want : wants) {
    const ThreadPlan plan = plan_threads(want.cores, want.lanes, want.threads, want.bytes);
    SCOPED_TRACE(std::to_string(want.cores) + " cores, " + std::to_string(want.lanes) + " lanes, " +
                 std::to_string(want.threads) + " threads");
    EXPECT_EQ(plan.lanes, want.plan.lanes);
    EXPECT_EQ(plan.narrow_threads, want.plan.narrow_threads);
    EXPECT_EQ(plan.one_each, want.plan.one_each);
    EXPECT_EQ(plan.wide_threads, want.plan.wide_threads);
  }
  EXPECT_GE(usable_cores(), 1);
}

TEST(OrtMessage, LosesItsSourcePlaces) {
  EXPECT_EQ(clean_ort_message(
                "Non-zero status code returned while running Reshape node. Name:'r' Status Message: "
                "/onnxruntime_src/onnxruntime/core/providers/cpu/tensor/reshape_helper.h:47 "
                "onnxruntime::ReshapeHelper::ReshapeHelper(const TensorShape&, TensorShapeVector&, bool) "
                "input_shape_size == size was false. Input shape:{3}, requested shape:{2,2}\n"),
            "Non-zero status code returned while running Reshape node. Name:'r' Status Message: "
            "input_shape_size == size was false. Input shape:{3}, requested shape:{2,2}");
  EXPECT_EQ(clean_ort_message("Load model from /models/a.onnx failed:Protobuf parsing failed."),
            "Protobuf parsing failed.");
  EXPECT_EQ(clean_ort_message("Message: matmul_helper.h:59 Compute MatMul dimension mismatch"),
            "Message: Compute MatMul dimension mismatch");
  EXPECT_EQ(clean_ort_message("a\n  b\n"), "a b");
  EXPECT_EQ(clean_ort_message("/x/y.cc:12 void f(int) const it broke (badly)"), "it broke (badly)");
  EXPECT_EQ(clean_ort_message("/x/y.cc:12 it broke, see (2)"), "it broke, see (2)");
  EXPECT_EQ(clean_ort_message(""), "");
}

TEST(OrtMessage, LosesThePlacesOfTheCudaProvider) {
  const std::string call =
      "std::conditional_t<THRW, void, onnxruntime::common::Status> onnxruntime::CudaCall(ERRTYPE, const "
      "char*, "
      "const char*, SUCCTYPE, const char*, const char*, int) [with ERRTYPE = cudaError; bool THRW = true; "
      "SUCCTYPE = cudaError; std::conditional_t<THRW, void, common::Status> = void] ";
  const std::string place = "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:133 ";
  EXPECT_EQ(
      clean_ort_message("Exception during initialization: " + place + call + place + call +
                        "CUDA failure 2: out of memory ; GPU=0 ; hostname=vm ; "
                        "file=/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_allocator.cc ; line=55 ; "
                        "expr=cudaMalloc((void**)&p, size); "),
      "Exception during initialization: CUDA failure 2: out of memory (GPU 0, cudaMalloc((void**)&p, size))");
  EXPECT_EQ(clean_ort_message(
                "bool onnxruntime::CudaCall(ERRTYPE) [with ERRTYPE = cublasStatus_t] CUBLAS failure 1: "
                "CUBLAS_STATUS_NOT_INITIALIZED ; GPU=1 ; hostname=h ; file=/a.cc ; line=1 ; expr=f(a) "),
            "CUBLAS failure 1: CUBLAS_STATUS_NOT_INITIALIZED (GPU 1, f(a))");
  EXPECT_EQ(clean_ort_message(call + "cuDNN is unavailable for CUDA Execution Provider: dlopen failed"),
            "cuDNN is unavailable for CUDA Execution Provider: dlopen failed");
  EXPECT_EQ(clean_ort_message("onnxruntime::CudaCall( cut short"), "onnxruntime::CudaCall( cut short");
}

TEST(OrtMessage, KnowsWhatComesFromCuda) {
  EXPECT_TRUE(is_from_cuda("x: CUBLAS failure 1: CUBLAS_STATUS_NOT_INITIALIZED ; GPU=0"));
  EXPECT_TRUE(is_from_cuda("cuDNN is unavailable for CUDA Execution Provider: dlopen failed"));
  EXPECT_FALSE(is_from_cuda("Protobuf parsing failed."));
  const std::runtime_error memory("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0");
  EXPECT_EQ(to_status(memory, Code::kBackend, "it").code(), Code::kOutOfMemory);
}

TEST(OrtMessage, LackOfMemoryHasItsOwnCode) {
  EXPECT_EQ(to_status(std::bad_alloc(), Code::kBackend, "x").code(), Code::kOutOfMemory);
  const std::runtime_error arena("BFCArena: Failed to allocate memory for requested buffer of size 9");
  EXPECT_EQ(to_status(arena, Code::kBackend, "x").code(), Code::kOutOfMemory);
  const Status other = to_status(std::runtime_error("no"), Code::kBackend, "the run failed");
  EXPECT_EQ(other.code(), Code::kBackend);
  EXPECT_EQ(other.message(), "the run failed: no");
}

}  // namespace
}  // namespace batched
