#include "cuda_session.h"

#include <onnxruntime_run_options_config_keys.h>

#include <cstdlib>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>

#include "ort_error.h"
#include "ort_library.h"
#include "ort_types.h"

namespace batched {
namespace {

constexpr int kNoGraph = -1;

Ort::RunOptions run_options(bool graphs, int graph_id) {
  Ort::RunOptions options;
  options.AddConfigEntry(kOrtRunOptionsConfigDisableSynchronizeExecutionProviders, "1");
  if (graphs)
    options.AddConfigEntry(kOrtRunOptionsConfigCudaGraphAnnotation, std::to_string(graph_id).c_str());
  return options;
}

}  // namespace

void use_cuda(Ort::SessionOptions& options, const ModelOptions& model, int device_id, cuda::Stream stream) {
  std::unordered_map<std::string, std::string> settings = {
      {"device_id", std::to_string(device_id)},
      // The next power of two doubles what a large batch takes.
      {"arena_extend_strategy", "kSameAsRequested"},
      // Exhaustive search takes seconds for every new shape.
      {"cudnn_conv_algo_search", "HEURISTIC"},
      // With TF32 a float32 model would have the precision of a float16 one.
      {"use_tf32", "0"},
      {"enable_cuda_graph", model.cuda_graphs ? "1" : "0"},
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
      session_(std::move(session)),
      memory_(std::move(memory)),
      allocator_(session_, memory_),
      binding_(session_),
      plain_(run_options(graphs, kNoGraph)) {}

Ort::Value CudaSession::tensor_over(const DeviceTensor& tensor) const {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): the driver gives addresses as numbers
  auto* const data = reinterpret_cast<void*>(tensor.data);
  return Ort::Value::CreateTensor(memory_, data, tensor.bytes(), tensor.dims.data(), tensor.dims.rank(),
                                  to_ort(tensor.dtype));
}

Status CudaSession::launch(std::span<const DeviceTensor> inputs, DeviceRun* run) {
  const std::lock_guard lock(mutex_);
  try {
    bind_inputs(inputs);
    Graph* const graph = graph_for(inputs);
    if (graph != nullptr && graph->runs++ > 0) return launch_graph(*graph, run);
    Status status = launch_plain(run);
    if (graph != nullptr && status.ok()) graph->outputs = run->outputs;
    return status;
  } catch (const std::exception& error) {
    return to_status(error, Code::kBackend, "the model could not be run");
  }
}

void CudaSession::bind_inputs(std::span<const DeviceTensor> inputs) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    binding_.BindInput(signature_.inputs[i].name.c_str(), tensor_over(inputs[i]));
  }
}

Status CudaSession::launch_plain(DeviceRun* run) {
  const std::shared_lock no_capture(cuda::Device::capture());
  // Each time anew: a run leaves its results bound, and the next would be made to fit into them.
  for (const TensorSpec& output : signature_.outputs) binding_.BindOutput(output.name.c_str(), memory_);
  session_.Run(plain_, binding_);
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

CudaSession::Graph* CudaSession::graph_for(std::span<const DeviceTensor> inputs) {
  if (!graphs_enabled_ || inputs.empty() || inputs[0].dims.elements() > kGraphElements) return nullptr;
  std::vector<std::uint64_t> key = {std::hash<std::thread::id>{}(std::this_thread::get_id())};
  for (const DeviceTensor& input : inputs) {
    key.push_back(input.data);
    for (const std::int64_t dim : input.dims.span()) key.push_back(static_cast<std::uint64_t>(dim));
  }
  const auto found = graphs_.find(key);
  if (found != graphs_.end()) return &found->second;
  if (graphs_.size() >= kMostGraphs) return nullptr;
  Graph& graph = graphs_[std::move(key)];
  graph.options = run_options(true, static_cast<int>(graphs_.size()));  // 0 is ONNX Runtime's own
  return &graph;
}

// Replays the graph, or captures it first.
Status CudaSession::launch_graph(Graph& graph, DeviceRun* run) {
  while (graph.buffers.size() < graph.outputs.size()) {
    DeviceTensor& output = graph.outputs[graph.buffers.size()];
    auto buffer = std::make_unique<cuda::DeviceBuffer>(device_, cuda::DeviceBuffer::Place::kDevice);
    if (Status status = buffer->reserve(output.bytes()); !status.ok()) return status;
    output.data = buffer->device();
    graph.buffers.push_back(std::move(buffer));
  }
  for (std::size_t o = 0; o < graph.outputs.size(); ++o) {
    binding_.BindOutput(signature_.outputs[o].name.c_str(), tensor_over(graph.outputs[o]));
  }
  if (graph.runs <= kCaptureRuns) {
    const std::unique_lock alone(cuda::Device::capture());
    session_.Run(graph.options, binding_);
  } else {
    const std::shared_lock no_capture(cuda::Device::capture());
    session_.Run(graph.options, binding_);
  }
  binding_.ClearBoundOutputs();
  run->outputs = graph.outputs;
  return {};
}

}  // namespace batched
