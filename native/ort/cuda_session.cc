#include "cuda_session.h"

#include <onnxruntime_run_options_config_keys.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <unordered_map>
#include <utility>

#include "ort_error.h"
#include "ort_library.h"
#include "ort_types.h"

namespace batched {
namespace {

constexpr int kApiWithPlaces = 23;  // SessionGetMemoryInfoForInputs

// With `wait` a run returns once it has ended, else once all is enqueued.
Ort::RunOptions run_options(bool wait) {
  Ort::RunOptions options;
  if (!wait) options.AddConfigEntry(kOrtRunOptionsConfigDisableSynchronizeExecutionProviders, "1");
  return options;
}

// The session's allocator of pinned memory, null if it has none.
Ort::Allocator pinned_allocator(const Ort::Session& session, int ordinal) {
  try {
    return {session, Ort::MemoryInfo("CudaPinned", OrtDeviceAllocator, ordinal, OrtMemTypeCPUOutput)};
  } catch (const Ort::Exception&) {
    return Ort::Allocator(nullptr);
  }
}

// Which inputs the model has for the CPU. To bind them there spares each run a copy back, which it would wait
// for.
std::vector<bool> inputs_on_host(const Ort::Session& session, const Ort::MemoryInfo& memory,
                                 const Signature& signature) {
  std::vector<bool> on_host(signature.inputs.size(), false);
  const bool all_there = memory.GetDeviceType() == OrtMemoryInfoDeviceType_CPU;
  if (all_there || ort_library()->api < kApiWithPlaces) return on_host;
  const std::vector<std::string> names = session.GetInputNames();
  const std::vector<Ort::ConstMemoryInfo> places = session.GetMemoryInfoForInputs();
  for (std::size_t i = 0; i < on_host.size(); ++i) {
    const auto at =
        static_cast<std::size_t>(std::ranges::find(names, signature.inputs[i].name) - names.begin());
    on_host[i] = at < places.size() && places[at].GetDeviceType() == OrtMemoryInfoDeviceType_CPU;
  }
  return on_host;
}

}  // namespace

void use_cuda(Ort::SessionOptions& options, const ModelOptions& model, int device_id, cuda::Stream stream) {
  std::unordered_map<std::string, std::string> settings = {
      {"device_id", std::to_string(device_id)},
      // Once the largest batch has run (warm_up.h) there is nothing to extend; powers of two would take a
      // quarter more.
      {"arena_extend_strategy", "kSameAsRequested"},
      // Exhaustive search takes seconds for every new shape.
      {"cudnn_conv_algo_search", "HEURISTIC"},
      // With TF32 a float32 model would have the precision of a float16 one.
      {"use_tf32", "0"},
  };
  if (model.gpu_mem_limit > 0) settings["gpu_mem_limit"] = std::to_string(model.gpu_mem_limit);
  Ort::CUDAProviderOptions provider;
  provider.Update(settings);
  provider.UpdateWithValue("user_compute_stream", stream);
  options.AppendExecutionProvider_CUDA_V2(*provider);
}

CudaSession::CudaSession(std::shared_ptr<cuda::Device> device, std::unique_ptr<cuda::DeviceStream> stream,
                         Ort::Session session, Ort::MemoryInfo memory, Signature signature, bool graphs)
    : device_(std::move(device)),
      stream_(std::move(stream)),
      signature_(std::move(signature)),
      graphs_enabled_(graphs),
      memory_(std::move(memory)),
      session_(std::move(session)),
      binding_(session_),
      enqueueing_(run_options(/*wait=*/false)),
      waiting_(run_options(/*wait=*/true)) {
  allocator_ = Ort::Allocator(session_, memory_);
  pinned_ = pinned_allocator(session_, device_->ordinal());
  on_host_ = inputs_on_host(session_, memory_, signature_);
}

// Pinned memory that operators have used is given back by the stream, in a callback that the session enqueues
// at its end and that holds the allocator. Were it the last to hold it, it would free all of that memory, and
// end the process: a callback must not call CUDA.
CudaSession::~CudaSession() {
  const std::shared_lock no_capture(captures());
  graphs_.clear();
  binding_ = Ort::IoBinding(nullptr);
  session_ = Ort::Session(nullptr);
  (void)device_->use();  // whichever thread this is
  (void)device_->call("cuStreamSynchronize", device_->driver().stream_synchronize, stream());
}

Status CudaSession::check_graphs() {
  if (ort_library()->api >= kApiWithPlaces) return {};
  return {Code::kInvalidInput, "cudaGraphs needs ONNX Runtime 1." + std::to_string(kApiWithPlaces) +
                                   " or newer; this is " + ort_library()->version + " (" +
                                   ort_library()->path + ")"};
}

Ort::Value CudaSession::tensor_over(const DeviceTensor& tensor, bool on_host) const {
  if (on_host) {
    return Ort::Value::CreateTensor(host_memory_, tensor.host, tensor.bytes(), tensor.dims.data(),
                                    tensor.dims.rank(), to_ort(tensor.dtype));
  }
  // NOLINTNEXTLINE(performance-no-int-to-ptr): the driver gives addresses as numbers
  auto* const data = reinterpret_cast<void*>(tensor.data);
  return Ort::Value::CreateTensor(memory_, data, tensor.bytes(), tensor.dims.data(), tensor.dims.rank(),
                                  to_ort(tensor.dtype));
}

Status CudaSession::launch(std::span<const DeviceTensor> inputs, DeviceRun* run) {
  const std::lock_guard lock(mutex_);
  try {
    Captured* const captured = captured_for(inputs);
    if (captured != nullptr && captured->ran && captured->fit && !captured->graph) capture(inputs, *captured);
    if (captured != nullptr && captured->graph) {
      *run = {captured->run.outputs, nullptr};
      return captured->graph->launch(stream());
    }
    bind_inputs(inputs);
    Status status = run_session(++runs_ % kRunsPerWait == 0 ? waiting_ : enqueueing_, run);
    if (captured != nullptr && status.ok()) captured->ran = true;
    return status;
  } catch (const std::exception& error) {
    return to_status(error, Code::kBackend, "the model could not be run");
  }
}

std::shared_mutex& CudaSession::captures() {
  static auto* const mutex = new std::shared_mutex;  // never destroyed: threads may outlive static objects
  return *mutex;
}

// Leaves it unfit if it can't be: then it runs as ever.
void CudaSession::capture(std::span<const DeviceTensor> inputs, Captured& captured) {
  const std::unique_lock alone(captures(), std::try_to_lock);
  if (!alone) return;
  bind_inputs(inputs);
  const auto work = [&] {
    try {
      return run_session(enqueueing_, &captured.run);
    } catch (const std::exception& error) {
      return to_status(error, Code::kBackend, "the run could not be captured");
    }
  };
  captured.fit = cuda::DeviceGraph::capture(device_, stream(), work, &captured.graph).ok();
  if (captured.fit) {
    captured_.fetch_add(1, std::memory_order_relaxed);
  } else {
    captured.run = {};
  }
}

void CudaSession::bind_inputs(std::span<const DeviceTensor> inputs) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    binding_.BindInput(signature_.inputs[i].name.c_str(), tensor_over(inputs[i], on_host_[i]));
  }
}

Status CudaSession::run_session(const Ort::RunOptions& options, DeviceRun* run) {
  // Each time anew: a run leaves its results bound, and the next would be made to fit into them.
  for (const TensorSpec& output : signature_.outputs) binding_.BindOutput(output.name.c_str(), memory_);
  session_.Run(options, binding_);
  auto values = std::make_shared<std::vector<Ort::Value>>(binding_.GetOutputValues());
  binding_.ClearBoundOutputs();
  run->outputs.clear();
  for (std::size_t o = 0; o < values->size(); ++o) {
    TensorView view;
    if (Status status = view_output((*values)[o], signature_.outputs[o], &view); !status.ok()) return status;
    run->outputs.push_back({view.dtype, view.dims, reinterpret_cast<cuda::DevicePtr>(view.data)});
  }
  run->memory = std::move(values);
  return {};
}

std::uint64_t CudaSession::memory() const {
  constexpr int kApiWithFigures = 23;
  if (ort_library()->api < kApiWithFigures) return 0;
  const Ort::KeyValuePairs figures = allocator_.GetStats();
  const char* const total = figures.GetValue("TotalAllocated");
  return total == nullptr ? 0 : std::strtoull(total, nullptr, 10);
}

CudaSession::Captured* CudaSession::captured_for(std::span<const DeviceTensor> inputs) {
  if (!graphs_enabled_ || std::ranges::count(on_host_, true) > 0 || inputs.empty() ||
      inputs[0].dims.elements() > kGraphElements)
    return nullptr;
  std::vector<std::uint64_t> key;
  for (const DeviceTensor& input : inputs) {
    key.push_back(input.data);
    for (const std::int64_t dim : input.dims.span()) key.push_back(static_cast<std::uint64_t>(dim));
  }
  const auto found = graphs_.find(key);
  if (found != graphs_.end()) return &found->second;
  return graphs_.size() < kMostGraphs ? &graphs_[std::move(key)] : nullptr;
}

}  // namespace batched
