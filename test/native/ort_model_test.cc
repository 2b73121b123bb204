// Models through the real ONNX Runtime. BATCHED_TEST_ORT is the path of its core library.
#include "ort/ort_model.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <set>
#include <string>
#include <thread>

#include "fake_driver.h"
#include "ort/ort_library.h"
#include "ort_runs.h"

namespace batched {
namespace {

using testing::bytes_of;
using testing::load;
using testing::OnnxType;
using testing::run;
using testing::shape_of;
using testing::TinyOnnx;
using testing::values;

// The library is one for the process, so its refusals are tested on the way to loading it.
class OrtEnvironment : public ::testing::Environment {
 public:
  void SetUp() override {
    const char* const path = std::getenv("BATCHED_TEST_ORT");
    ASSERT_NE(path, nullptr) << "BATCHED_TEST_ORT is not set";
    std::unique_ptr<OrtModel> model;
    ASSERT_EQ(OrtModel::load({}, &model).code(), Code::kLibraryNotFound);
    ASSERT_EQ(ort_library(), nullptr);

    LibraryOptions options;
    options.candidates = {"/nowhere/first.so", "/proc/self/maps"};
    const Status nowhere = load_ort_library(options);
    ASSERT_EQ(nowhere.code(), Code::kLibraryNotFound);
    for (const std::string& place : options.candidates) {
      ASSERT_NE(nowhere.message().find(place), std::string::npos) << nowhere.message();
    }
    // An explicit path doesn't fall through to a candidate that would do.
    options = {"/nowhere/explicit.so", {}, {path}};
    ASSERT_EQ(load_ort_library(options).code(), Code::kLibraryNotFound);
    ASSERT_EQ(ort_library(), nullptr);

    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([path] { EXPECT_TRUE(load_ort_library({"", {}, {"/nowhere.so", path}}).ok()); });
    }
    for (std::thread& thread : threads) thread.join();
    ASSERT_NE(ort_library(), nullptr);
  }
};

const auto* const environment = ::testing::AddGlobalTestEnvironment(new OrtEnvironment);

TinyOnnx echo(OnnxType type) {
  TinyOnnx onnx;
  onnx.input("x", type, {"batch", "length"}).output("y", type, {"batch", "length"});
  return onnx.node("Identity", {"x"}, {"y"});
}

// Fails while it runs unless its rows have two elements.
TinyOnnx rows_of_two() {
  TinyOnnx onnx;
  onnx.input("x", OnnxType::kFloat, {"batch", "length"}).output("y", OnnxType::kFloat, {"batch", 1});
  return onnx.floats("w", {2, 1}, {1, 10}).node("MatMul", {"x", "w"}, {"y"});
}

TEST(OrtLibrary, IsLoadedOnce) {
  const LibraryInfo* const info = ort_library();
  EXPECT_GE(info->api, 17);
  EXPECT_FALSE(info->version.empty());
  EXPECT_EQ(info->how, std::string("found in ") + std::getenv("BATCHED_TEST_ORT"));
  EXPECT_STREQ(std::getenv("ORT_DISABLE_TELEMETRY"), "1");
  EXPECT_TRUE(load_ort_library({}).ok());
  EXPECT_TRUE(load_ort_library({std::getenv("BATCHED_TEST_ORT"), {}, {}}).ok());
  const Status other = load_ort_library({"/another/libonnxruntime.so.1", {}, {}});
  EXPECT_EQ(other.code(), Code::kInvalidInput);
  EXPECT_NE(other.message().find(info->path), std::string::npos) << other.message();
}

TEST(OrtModel, EchoesEveryElementType) {
  const std::vector<std::pair<OnnxType, DType>> types = {
      {OnnxType::kFloat, DType::kFloat32},   {OnnxType::kDouble, DType::kFloat64},
      {OnnxType::kFloat16, DType::kFloat16}, {OnnxType::kInt8, DType::kInt8},
      {OnnxType::kInt16, DType::kInt16},     {OnnxType::kInt32, DType::kInt32},
      {OnnxType::kInt64, DType::kInt64},     {OnnxType::kUint8, DType::kUint8},
      {OnnxType::kUint16, DType::kUint16},   {OnnxType::kUint32, DType::kUint32},
      {OnnxType::kUint64, DType::kUint64},   {OnnxType::kBool, DType::kBool},
  };
  for (const auto& [theirs, ours] : types) {
    SCOPED_TRACE(dtype_name(ours));
    std::unique_ptr<OrtModel> model;
    ASSERT_TRUE(load(echo(theirs), {}, &model).ok());
    EXPECT_EQ(model->signature().inputs[0].dtype, ours);
    EXPECT_EQ(model->signature().inputs[0].axes[1].symbol, "length");
    const auto lanes = model->make_lanes();
    std::vector<std::byte> data(6 * element_size(ours), std::byte{1});
    data[0] = std::byte{0};
    const Status status = run(*lanes[0], 1, shape_of({{2, 3}}), {data});
    ASSERT_TRUE(status.ok()) << status.message();
    const TensorView y = lanes[0]->outputs(1)[0];
    EXPECT_EQ(y.dtype, ours);
    EXPECT_EQ(y.dims, (Dims{2, 3}));
    EXPECT_EQ(std::memcmp(y.data, data.data(), data.size()), 0);
  }
}

TEST(OrtModel, RefusesWhatItCannotRead) {
  std::unique_ptr<OrtModel> model;
  const auto says = [&](ModelOptions options, const char* part) {
    const Status status = OrtModel::load(std::move(options), &model);
    EXPECT_EQ(status.code(), Code::kInvalidInput);
    EXPECT_NE(status.message().find(part), std::string::npos) << part << " in: " << status.message();
    EXPECT_EQ(model, nullptr);
  };
  const auto at = [](const char* path) {
    ModelOptions options;
    options.path = path;
    return options;
  };
  ModelOptions corrupt;
  corrupt.bytes.assign(100, std::byte{7});
  says({}, "empty");
  says(at("/nowhere/model.onnx"), "/nowhere/model.onnx does not exist");
  says(at("/tmp"), "folder");
  says(at("/proc/self/cmdline"), "/proc/self/cmdline");
  says(corrupt, "100 bytes");
  ModelOptions both = at("/nowhere/model.onnx");
  both.bytes = corrupt.bytes;
  says(both, "not both");

  for (const OnnxType type : {OnnxType::kString, OnnxType::kBfloat16, OnnxType::kComplex64}) {
    EXPECT_EQ(load(echo(type), {}, &model).code(), Code::kInvalidInput);
  }
  TinyOnnx sequence;
  sequence.input("x", OnnxType::kFloat, {"batch", 2}).sequence_output("y", OnnxType::kFloat);
  sequence.node("SplitToSequence", {"x"}, {"y"}, {{"axis", 0}});
  const Status status = load(sequence, {}, &model);
  EXPECT_NE(status.message().find("output 'y' is of type sequence"), std::string::npos) << status.message();
}

TEST(OrtModel, FindsWeightsInFilesBesideIt) {
  const auto folder = std::filesystem::temp_directory_path() / ("batched-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  TinyOnnx onnx;
  onnx.input("x", OnnxType::kFloat, {"batch", 2}).output("y", OnnxType::kFloat, {"batch", 1});
  onnx.floats_in_file("w", {2, 1}, "weights.bin").node("MatMul", {"x", "w"}, {"y"});
  const float weights[] = {3, 5};
  std::ofstream(folder / "weights.bin", std::ios::binary)
      .write(reinterpret_cast<const char*>(weights), sizeof(weights));
  const std::vector<std::byte> bytes = onnx.build();
  std::ofstream(folder / "model.onnx", std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));

  ModelOptions options;
  options.path = (folder / "model.onnx").string();
  std::unique_ptr<OrtModel> model;
  const Status status = OrtModel::load(options, &model);
  ASSERT_TRUE(status.ok()) << status.message();
  const auto lanes = model->make_lanes();
  ASSERT_TRUE(run(*lanes[0], 0, shape_of({{1, 2}}), {bytes_of<float>({1, 2})}).ok());
  EXPECT_EQ(values<float>(lanes[0]->outputs(0)[0]), std::vector<float>{13});
  std::filesystem::remove_all(folder);
}

TEST(CpuLane, KeepsTheResultsOfOneSlotWhileAnotherRuns) {
  std::unique_ptr<OrtModel> model;
  ASSERT_TRUE(load(rows_of_two(), {}, &model).ok());
  const auto lanes = model->make_lanes();
  Lane& lane = *lanes[0];
  ASSERT_EQ(lane.slots(), 2U);
  EXPECT_LE(lane.name().size(), 15U);
  // Batches of other sizes on the same slot, narrow and wide in turn.
  for (int i = 1; i <= 20; ++i) {
    const std::size_t slot = i % 2;
    const std::vector<float> x(static_cast<std::size_t>(2 * i), static_cast<float>(i));
    ASSERT_TRUE(run(lane, slot, shape_of({{i, 2}}), {bytes_of(x)}, i % 3 == 0).ok());
    EXPECT_EQ(lane.outputs(slot)[0].dims, (Dims{i, 1}));
    EXPECT_EQ(values<float>(lane.outputs(slot)[0]),
              std::vector<float>(static_cast<std::size_t>(i), static_cast<float>(11 * i)));
    if (i == 1) continue;
    EXPECT_EQ(values<float>(lane.outputs(1 - slot)[0])[0], static_cast<float>(11 * (i - 1)));
  }
}

TEST(CpuLane, GoesOnAfterARunThatFailed) {
  std::unique_ptr<OrtModel> model;
  ASSERT_TRUE(load(rows_of_two(), {}, &model).ok());
  const auto lanes = model->make_lanes();
  const Status failed = run(*lanes[0], 0, shape_of({{1, 3}}), {bytes_of<float>({1, 2, 3})});
  EXPECT_EQ(failed.code(), Code::kBackend);
  EXPECT_NE(failed.message().find("MatMul"), std::string::npos) << failed.message();
  EXPECT_EQ(failed.message().find(".h:"), std::string::npos) << failed.message();
  ASSERT_TRUE(run(*lanes[0], 0, shape_of({{1, 2}}), {bytes_of<float>({1, 2})}).ok());
  EXPECT_EQ(values<float>(lanes[0]->outputs(0)[0])[0], 21);
}

TEST(CpuLane, TakesAndGivesNothing) {
  std::unique_ptr<OrtModel> model;
  ASSERT_TRUE(load(echo(OnnxType::kInt64), {}, &model).ok());
  const auto lanes = model->make_lanes();
  for (const bool alone : {false, true}) {
    const Status status = run(*lanes[0], 0, shape_of({{2, 0}}), {{}}, alone);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(lanes[0]->outputs(0)[0].dims, (Dims{2, 0}));
    EXPECT_NE(lanes[0]->outputs(0)[0].data, nullptr);
  }
  std::vector<std::byte*> memory;
  EXPECT_EQ(lanes[0]->stage(0, shape_of({{2, std::int64_t{1} << 62}}), &memory).code(), Code::kInvalidInput);
}

TEST(CpuLane, RunsOutOfMemoryByItsOwnCode) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's operator new ends the process instead of throwing";
#endif
  std::unique_ptr<OrtModel> model;
  TinyOnnx onnx;  // y [batch, n] of zeros
  onnx.input("x", OnnxType::kFloat, {"batch"}).input("n", OnnxType::kInt64, {1});
  onnx.node("Shape", {"x"}, {"b"}).node("Concat", {"b", "n"}, {"dims"}, {{"axis", 0}});
  onnx.node("ConstantOfShape", {"dims"}, {"y"}).output("y", OnnxType::kFloat, {"batch", "n"});
  ModelOptions options;
  options.shared = {"n"};
  ASSERT_TRUE(load(onnx, options, &model).ok());
  const auto lanes = model->make_lanes();
  const BatchShape shape = shape_of({{1}, {1}});
  const Status status =
      run(*lanes[0], 0, shape, {bytes_of<float>({1}), bytes_of<std::int64_t>({std::int64_t{1} << 50})});
  EXPECT_EQ(status.code(), Code::kOutOfMemory) << status.message();
  ASSERT_TRUE(run(*lanes[0], 0, shape, {bytes_of<float>({1}), bytes_of<std::int64_t>({3})}).ok());
  EXPECT_EQ(lanes[0]->outputs(0)[0].dims, (Dims{1, 3}));
  // More than the address space has, in the slot's own memory.
  std::vector<std::byte*> memory;
  EXPECT_EQ(lanes[0]->stage(0, shape_of({{std::int64_t{1} << 58}, {1}}), &memory).code(), Code::kOutOfMemory);
}

TEST(CpuLane, IsInterruptedFromAnotherThread) {
  TinyOnnx onnx;
  onnx.input("x", OnnxType::kFloat, {"batch", 256}).output("y", OnnxType::kFloat, {"batch", 256});
  std::vector<float> identity(256 * 256);
  for (std::size_t i = 0; i < 256; ++i) identity[i * 257] = 1;
  onnx.floats("w", {256, 256}, identity);
  constexpr int kProducts = 1000;  // with 4,096 rows, many seconds of work
  for (int i = 0; i < kProducts; ++i) {
    onnx.node("MatMul", {i == 0 ? "x" : std::to_string(i), "w"},
              {i + 1 == kProducts ? "y" : std::to_string(i + 1)});
  }
  ModelOptions options;
  options.lanes = 2;
  options.intra_op_threads = 1;
  std::unique_ptr<OrtModel> model;
  ASSERT_TRUE(load(onnx, options, &model).ok());
  auto lanes = model->make_lanes();
  model.reset();  // lanes keep what they need
  const BatchShape shape = shape_of({{4096, 256}});
  std::vector<std::byte*> memory;
  ASSERT_TRUE(lanes[0]->stage(0, shape, &memory).ok());
  std::memset(memory[0], 0, 4096 * 256 * sizeof(float));
  std::atomic<bool> running{false};
  std::atomic<Code> code{Code::kOk};
  std::thread thread([&] {
    running = true;
    lanes[0]->run(0, shape, false, [&](const Status& status) { code = status.code(); });
  });
  while (!running) std::this_thread::yield();
  lanes[0]->interrupt();
  thread.join();
  EXPECT_EQ(code, Code::kClosed);
  EXPECT_EQ(run(*lanes[0], 1, shape_of({{1, 256}}), {}).code(), Code::kClosed);
}

TEST(CpuLane, RunsBesideOthersInOneSession) {
  ModelOptions options;
  options.lanes = 4;
  for (const int threads : {0, 1, 2}) {
    options.intra_op_threads = threads;
    std::unique_ptr<OrtModel> model;
    ASSERT_TRUE(load(rows_of_two(), options, &model).ok());
    EXPECT_EQ(model->lane_threads(), threads == 2 ? 2 : 1);
    auto lanes = model->make_lanes();
    ASSERT_EQ(lanes.size(), 4U);
    std::vector<std::thread> running;
    for (auto& lane : lanes) {
      running.emplace_back([&lane] {
        for (int i = 1; i <= 200; ++i) {
          const std::vector<float> x(static_cast<std::size_t>(2 * (i % 7 + 1)), static_cast<float>(i));
          const BatchShape shape = shape_of({{i % 7 + 1, 2}});
          ASSERT_TRUE(run(*lane, i % 2, shape, {bytes_of(x)}, i % 5 == 0).ok());
          ASSERT_EQ(values<float>(lane->outputs(i % 2)[0])[0], static_cast<float>(11 * i));
        }
      });
    }
    for (std::thread& thread : running) thread.join();
  }
}

// --- on a GPU that is played: the whole way but for the CUDA provider
// ---------------------------------------

ModelOptions on_gpus(const testing::FakeDriver& driver, std::vector<int> gpus) {
  ModelOptions options;
  options.gpus = std::move(gpus);
  options.stand_in = &driver.table();
  return options;
}

// One run on a lane that calls back from a thread of its own.
Status run_async(Lane& lane, std::size_t slot, const BatchShape& shape, const std::vector<float>& x) {
  std::vector<std::byte*> memory;
  Status status = lane.stage(slot, shape, &memory);
  if (!status.ok()) return status;
  std::memcpy(memory[0], x.data(), x.size() * sizeof(float));
  std::promise<Status> ended;
  lane.run(slot, shape, false, [&](Status result) { ended.set_value(std::move(result)); });
  return ended.get_future().get();
}

TEST(OrtGpu, EveryLaneHasASessionAndComputes) {
  testing::FakeDriver driver(2, /*inline_streams=*/true);
  {
    ModelOptions options = on_gpus(driver, {0, 1});
    options.lanes = 2;
    std::unique_ptr<OrtModel> model;
    ASSERT_TRUE(load(rows_of_two(), options, &model).ok());
    EXPECT_EQ(model->provider(), "cuda");
    EXPECT_EQ(model->lanes(), 4U);
    EXPECT_TRUE(model->ladder().rows);
    EXPECT_FALSE(model->ladder().lengths) << "the model takes no attention mask";
    std::set<std::string> names;
    for (const std::unique_ptr<Lane>& lane : model->make_lanes()) {
      names.insert(lane->name());
      EXPECT_GT(lane->device_use()->bytes, 0U) << "weights at least";
      for (int i = 0; i < 5; ++i) {
        const BatchShape shape = shape_of({{3, 2}});
        ASSERT_TRUE(run_async(*lane, i % 3, shape, {1, 1, 2, 2, 3, static_cast<float>(i)}).ok());
        const std::vector<float> y = values<float>(lane->outputs(i % 3)[0]);
        ASSERT_EQ(y, (std::vector<float>{11, 22, 3 + 10 * static_cast<float>(i)}));
      }
    }
    EXPECT_EQ(names, (std::set<std::string>{"batched-g0-0", "batched-g0-1", "batched-g1-0", "batched-g1-1"}));
  }
  EXPECT_EQ(driver.alive(), 0U);
}

TEST(OrtGpu, ARunThatFailsLeavesTheLaneAsItWas) {
  testing::FakeDriver driver(1, /*inline_streams=*/true);
  std::unique_ptr<OrtModel> model;
  ASSERT_TRUE(load(rows_of_two(), on_gpus(driver, {0}), &model).ok());
  const std::vector<std::unique_ptr<Lane>> lanes = model->make_lanes();
  EXPECT_EQ(run_async(*lanes[0], 0, shape_of({{1, 3}}), {1, 2, 3}).code(), Code::kBackend);
  ASSERT_TRUE(run_async(*lanes[0], 0, shape_of({{1, 2}}), {1, 2}).ok());
  EXPECT_EQ(values<float>(lanes[0]->outputs(0)[0]), std::vector<float>{21});
}

// The session that stands for the GPU's enqueues nothing, so that there is nothing to capture.
TEST(OrtGpu, WithGraphsWhatCannotBeCapturedRunsAsEver) {
  testing::FakeDriver driver(1, /*inline_streams=*/true);
  {
    ModelOptions options = on_gpus(driver, {0});
    options.cuda_graphs = true;
    std::unique_ptr<OrtModel> model;
    ASSERT_TRUE(load(rows_of_two(), options, &model).ok());
    const std::vector<std::unique_ptr<Lane>> lanes = model->make_lanes();
    for (int i = 0; i < 40; ++i) {
      const std::int64_t rows = 1 + i % 2;
      std::vector<float> x(static_cast<std::size_t>(rows) * 2, static_cast<float>(i));
      const std::size_t slot = static_cast<std::size_t>(i) % 3;
      ASSERT_TRUE(run_async(*lanes[0], slot, shape_of({{rows, 2}}), x).ok());
      const std::vector<float> y = values<float>(lanes[0]->outputs(slot)[0]);
      ASSERT_EQ(y, std::vector<float>(static_cast<std::size_t>(rows), 11 * static_cast<float>(i)));
    }
    EXPECT_EQ(driver.calls("capture_begin"), 3U * 2U) << "one try for each slot and shape";
    EXPECT_EQ(lanes[0]->device_use()->graphs, 0U);
  }
  EXPECT_EQ(driver.alive(), 0U);
}

TEST(OrtGpu, SaysWhatIsMissing) {
  testing::FakeDriver driver(1);
  std::unique_ptr<OrtModel> model;
  const Status status = load(rows_of_two(), on_gpus(driver, {3}), &model);
  EXPECT_EQ(status.code(), Code::kProviderUnavailable);
  EXPECT_EQ(status.message(), "there is no GPU 3: there is 1, counted from 0");
}

#if defined(__linux__)
TEST(OrtThreads, AreNamedAndYieldToJavaScript) {
  ModelOptions options;
  options.intra_op_threads = 3;
  options.lanes = 1;
  std::unique_ptr<OrtModel> model;
  ASSERT_TRUE(load(rows_of_two(), options, &model).ok());
  const auto pool_threads = [] {
    std::vector<int> found;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      std::string name;
      std::ifstream(task.path() / "comm") >> name;
      if (name.starts_with("batched-ort-")) found.push_back(std::stoi(task.path().filename().string()));
    }
    return found;
  };
  // A thread names itself a moment after its session is there, and is listed for a moment after it was
  // joined.
  const auto await_threads = [&](std::size_t wanted) {
    for (int i = 0; i < 1000 && pool_threads().size() != wanted; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_EQ(pool_threads().size(), wanted);
  };
  await_threads(2);
  for (const int id : pool_threads()) EXPECT_EQ(getpriority(PRIO_PROCESS, static_cast<id_t>(id)), 10) << id;
  model.reset();
  await_threads(0);
}
#endif

}  // namespace
}  // namespace batched
