#include "ort_model.h"

#include <onnxruntime_session_options_config_keys.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <shared_mutex>
#include <utility>

#include "cpu_lane.h"
#include "cuda_session.h"
#include "gpu/cuda_device.h"
#include "gpu/cuda_driver.h"
#include "gpu/device_lane.h"
#include "open_session.h"
#include "ort_api.h"
#include "ort_error.h"
#include "ort_library.h"
#include "ort_threads.h"
#include "ort_types.h"
#include "signature_rules.h"

namespace batched {

// What one lane on a GPU runs with.
struct GpuLane {
  std::shared_ptr<cuda::Device> device;
  std::shared_ptr<DeviceSession> session;
  std::string name;
};

// On the CPU or on GPUs.
struct OrtModel::State {
  Status load_cpu(const ModelOptions& options);
  Status load_gpus(const ModelOptions& options);
  Status add_gpu_lane(const ModelOptions& options, const std::shared_ptr<cuda::Device>& device,
                      std::size_t index);
  Status sign(const ModelOptions& options, const Ort::Session& session);

  Signature signature;
  ThreadPlan plan;
  std::shared_ptr<CpuSessions> cpu;
  std::vector<GpuLane> gpu;
};

namespace {

constexpr std::size_t kMostLanesAsked = 256;
// Longer than the serial stretches between a transformer's operators.
constexpr const char* kSpinMicroseconds = "100";

// What sessions on every provider have in common.
Ort::SessionOptions common_options(int threads) {
  Ort::SessionOptions options;
  options.SetGraphOptimizationLevel(GraphOptimizationLevel::ORT_ENABLE_ALL);
  options.SetExecutionMode(ExecutionMode::ORT_SEQUENTIAL);
  options.SetIntraOpNumThreads(threads);
  options.SetInterOpNumThreads(1);
  // Plans memory for shapes seen before; here nearly every batch has another. On a GPU, where a plan is one
  // piece of its own size, it takes three quarters more memory.
  options.DisableMemPattern();
  // What fails comes back as a Status; the log would say it a second time, on stderr.
  options.SetLogSeverityLevel(ORT_LOGGING_LEVEL_FATAL);
  return options;
}

Ort::SessionOptions cpu_options(int threads) {
  Ort::SessionOptions options = common_options(threads);
  // Pool threads spin between the operators of a run: a lone request takes a third longer if they sleep.
  // But only shortly, since by default they go on for milliseconds, which costs as much where other
  // threads want the core; and not at all once no run is left. An older library ignores the duration.
  options.AddConfigEntry(kOrtSessionOptionsConfigAllowIntraOpSpinning, "1");
  options.AddConfigEntry(kOrtSessionOptionsConfigIntraOpSpinDurationUs, kSpinMicroseconds);
  options.AddConfigEntry(kOrtSessionOptionsConfigForceSpinningStop, "1");
  if (threads > 1) use_own_threads(options);
  return options;
}

// The device computes, so no pool of threads; and weights are copied there once, without a detour.
Ort::SessionOptions gpu_options() {
  Ort::SessionOptions options = common_options(1);
  options.AddConfigEntry(kOrtSessionOptionsUseDeviceAllocatorForInitializers, "1");
  return options;
}

// Why the file can't be read, in ONNX Runtime's stead: it says so only for some of the reasons.
Status check_readable(const std::string& path) {
  std::error_code error;
  const auto kind = std::filesystem::status(path, error).type();
  const std::string what = "the model file " + path;
  if (kind == std::filesystem::file_type::not_found) {
    return {Code::kInvalidInput, what + " does not exist"};
  }
  if (error) return {Code::kInvalidInput, what + " can't be read: " + error.message()};
  if (kind == std::filesystem::file_type::directory) {
    return {Code::kInvalidInput, what + " is a folder"};
  }
  errno = 0;
  if (!std::ifstream(path, std::ios::binary)) {
    return {Code::kInvalidInput, what + " can't be read: " + std::strerror(errno)};
  }
  return {};
}

// Size of the model, with the files of weights that lie beside it and begin with its name, as in
// model.onnx.data or model.onnx_data. An estimate: it only decides about a second session.
std::uint64_t size_of(const ModelOptions& model) {
  if (model.path.empty()) return model.bytes.size();
  const std::filesystem::path path(model.path);
  const std::string name = path.filename().string();
  std::uint64_t bytes = 0;
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::absolute(path, error).parent_path();
  for (std::filesystem::directory_iterator file(folder, error), end; !error && file != end;
       file.increment(error)) {
    if (!file->path().filename().string().starts_with(name)) continue;
    std::error_code none;
    const std::uintmax_t size = file->file_size(none);
    if (!none) bytes += size;
  }
  return bytes;
}

Status check_options(const ModelOptions& options) {
  if (options.path.empty() == options.bytes.empty()) {
    return {Code::kInvalidInput, options.path.empty() ? "the model is empty: give a path or bytes"
                                                      : "a model is given by path or by bytes, not both"};
  }
  if (options.lanes > kMostLanesAsked) {
    return {Code::kInvalidInput,
            "lanes is " + std::to_string(options.lanes) + ", more than " + std::to_string(kMostLanesAsked)};
  }
  if (options.intra_op_threads < 0) return {Code::kInvalidInput, "intraOpThreads is negative"};
  return options.path.empty() ? Status::okay() : check_readable(options.path);
}

std::string source_of(const ModelOptions& options) {
  return options.path.empty() ? "the model (" + std::to_string(options.bytes.size()) + " bytes in memory)"
                              : "the model " + options.path;
}

// A GPU that fails before there is a model is one that can't be used: another provider may be. Lack of memory
// passes.
Status as_unavailable(Status status) {
  if (status.ok() || status.code() == Code::kOutOfMemory) return status;
  return {Code::kProviderUnavailable, status.message()};
}

}  // namespace

OrtModel::OrtModel(std::shared_ptr<State> state) : state_(std::move(state)) {}
OrtModel::~OrtModel() = default;

Status OrtModel::load(ModelOptions options, std::unique_ptr<OrtModel>* model) {
  if (ort_env() == nullptr) return {Code::kLibraryNotFound, "ONNX Runtime is not loaded"};
  try {
    if (Status status = check_options(options); !status.ok()) return status;
    auto state = std::make_shared<State>();
    const Status status = options.gpus.empty() ? state->load_cpu(options) : state->load_gpus(options);
    if (!status.ok()) return status;
    model->reset(new OrtModel(std::move(state)));
    return {};
  } catch (const std::exception& error) {
    return to_status(error, Code::kInvalidInput, source_of(options) + " could not be loaded");
  }
}

Status OrtModel::State::sign(const ModelOptions& options, const Ort::Session& session) {
  const Status status =
      make_signature(declared_inputs(session), declared_outputs(session), options, &signature);
  return status.ok() ? status : Status(status.code(), source_of(options) + ": " + status.message());
}

Status OrtModel::State::load_cpu(const ModelOptions& options) {
  plan = plan_threads(usable_cores(), options.lanes, options.intra_op_threads, size_of(options));
  cpu = std::make_shared<CpuSessions>();
  cpu->narrow.push_back(open_session(options, cpu_options(plan.narrow_threads)));
  if (Status status = sign(options, cpu->narrow[0]); !status.ok()) return status;
  cpu->signature = signature;
  while (plan.one_each && cpu->narrow.size() < plan.lanes) {
    cpu->narrow.push_back(open_session(options, cpu_options(plan.narrow_threads)));
  }
  if (plan.wide_threads > 0) cpu->wide = open_session(options, cpu_options(plan.wide_threads));
  return {};
}

Status OrtModel::State::load_gpus(const ModelOptions& options) {
  if (options.cuda_graphs) {
    if (Status status = CudaSession::check_graphs(); !status.ok()) return status;
  }
  const cuda::Driver* driver = options.stand_in;
  if (driver == nullptr) {
    if (Status status = cuda::load_driver(&driver); !status.ok()) return status;
  }
  for (const int gpu_id : options.gpus) {
    std::shared_ptr<cuda::Device> device;
    Status status = as_unavailable(cuda::Device::open(*driver, gpu_id, &device));
    if (status.ok()) status = as_unavailable(device->use());
    for (std::size_t lane = 0; status.ok() && lane < std::max<std::size_t>(1, options.lanes); ++lane) {
      status = add_gpu_lane(options, device, lane);
    }
    if (!status.ok()) return status;
  }
  return {};
}

Status OrtModel::State::add_gpu_lane(const ModelOptions& options, const std::shared_ptr<cuda::Device>& device,
                                     std::size_t index) {
  auto stream = std::make_unique<cuda::DeviceStream>();
  if (Status status = as_unavailable(stream->create(device)); !status.ok()) return status;
  Ort::SessionOptions session_options = gpu_options();
  try {
    if (options.stand_in == nullptr) use_cuda(session_options, options, device->ordinal(), stream->get());
  } catch (const Ort::Exception& error) {
    return to_status(error, Code::kProviderUnavailable, "ONNX Runtime's CUDA provider could not be loaded");
  }
  Ort::Session session(nullptr);
  try {
    const std::shared_lock no_capture(CudaSession::captures());
    session = open_session(options, session_options);
  } catch (const Ort::Exception& error) {
    // Of the device or of a library that the model needs, not of the model.
    const Code code = is_from_cuda(error.what()) ? Code::kProviderUnavailable : Code::kInvalidInput;
    return to_status(error, code,
                     source_of(options) + " could not be loaded on GPU " + std::to_string(device->ordinal()));
  }
  if (gpu.empty()) {
    if (Status status = sign(options, session); !status.ok()) return status;
  }
  Ort::MemoryInfo memory =
      options.stand_in == nullptr
          ? Ort::MemoryInfo("Cuda", OrtDeviceAllocator, device->ordinal(), OrtMemTypeDefault)
          : Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault);
  auto lane = std::make_shared<CudaSession>(device, std::move(stream), std::move(session), std::move(memory),
                                            signature, options.cuda_graphs);
  // Within the 15 characters of a thread's name, the waiter's digit included.
  gpu.push_back({device, std::move(lane),
                 "batched-g" + std::to_string(device->ordinal()) + "-" + std::to_string(index)});
  return {};
}

const Signature& OrtModel::signature() const { return state_->signature; }

std::vector<std::unique_ptr<Lane>> OrtModel::make_lanes() const {
  std::vector<std::unique_ptr<Lane>> lanes;
  for (const GpuLane& lane : state_->gpu) {
    lanes.push_back(std::make_unique<DeviceLane>(lane.device, lane.session, state_->signature, lane.name));
  }
  for (std::size_t i = 0; state_->cpu != nullptr && i < state_->plan.lanes; ++i) {
    lanes.push_back(std::make_unique<CpuLane>(state_->cpu, i));
  }
  return lanes;
}

ShapeLadder OrtModel::ladder() const {
  ShapeLadder ladder;
  ladder.rows = !state_->gpu.empty();
  ladder.lengths = ladder.rows && std::ranges::any_of(state_->signature.inputs, [](const TensorSpec& input) {
                     return input.name == "attention_mask";
                   });
  return ladder;
}

std::string OrtModel::provider() const { return state_->gpu.empty() ? "cpu" : "cuda"; }
std::size_t OrtModel::lanes() const { return state_->gpu.empty() ? state_->plan.lanes : state_->gpu.size(); }
int OrtModel::lane_threads() const { return state_->plan.narrow_threads; }
int OrtModel::wide_threads() const {
  return state_->plan.wide_threads > 0 ? state_->plan.wide_threads : state_->plan.narrow_threads;
}

}  // namespace batched
