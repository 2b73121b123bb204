// An ONNX Runtime session on a GPU, one for each lane. Private to native/ort.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "gpu/cuda_device.h"
#include "gpu/device_session.h"
#include "ort_api.h"
#include "ort_model.h"

namespace batched {

// Adds the CUDA provider to `options`, to compute on `stream`. Throws Ort::Exception: the provider's library,
// or one that it needs, does not load.
void use_cuda(Ort::SessionOptions& options, const ModelOptions& model, int device_id, cuda::Stream stream);

// Runs with inputs and outputs in device memory; nothing in launch() waits for the device.
//
// With graphs, a small batch of a shape that comes again is captured as a CUDA graph: one launch instead of
// one per kernel. A graph is bound to addresses, so each has outputs of its own; there are at most
// kMostGraphs.
class CudaSession final : public DeviceSession {
 public:
  // `stream` is the one that `session` was made with, `memory` the place of its tensors.
  CudaSession(std::shared_ptr<cuda::Device> device, std::unique_ptr<cuda::DeviceStream> stream,
              Ort::Session session, Ort::MemoryInfo memory, Signature signature, bool graphs);

  cuda::Stream stream() const override { return stream_->get(); }
  Status launch(std::span<const DeviceTensor> inputs, DeviceRun* run) override;
  std::uint64_t memory() const override;

 private:
  static constexpr std::size_t kMostGraphs = 128;
  static constexpr std::size_t kGraphElements =
      4096;                               // of the first input: beyond it launching is not what costs
  static constexpr int kCaptureRuns = 4;  // ONNX Runtime warms up twice, then captures

  // Of one shape at one place.
  struct Graph {
    int runs = 0;
    Ort::RunOptions options{nullptr};
    std::vector<DeviceTensor> outputs;
    std::vector<std::unique_ptr<cuda::DeviceBuffer>> buffers;  // by output, once it is to be captured
  };

  Graph* graph_for(std::span<const DeviceTensor> inputs);
  void bind_inputs(std::span<const DeviceTensor> inputs);
  Status launch_plain(DeviceRun* run);
  Status launch_graph(Graph& graph, DeviceRun* run);
  Ort::Value tensor_over(const DeviceTensor& tensor) const;

  const std::shared_ptr<cuda::Device> device_;
  const std::unique_ptr<cuda::DeviceStream> stream_;  // outlives the session
  const Signature signature_;
  const bool graphs_enabled_;
  std::mutex mutex_;  // two engines may share a model, and so a lane's session
  Ort::Session session_;
  const Ort::MemoryInfo memory_;
  const Ort::Allocator allocator_;  // the session's own
  Ort::IoBinding binding_;
  const Ort::RunOptions plain_;
  // By the thread, for which ONNX Runtime captures, and the inputs' addresses and dimensions.
  std::map<std::vector<std::uint64_t>, Graph> graphs_;
};

}  // namespace batched
