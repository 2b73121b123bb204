// An ONNX Runtime session on a GPU, one for each lane. Private to native/ort.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include "gpu/cuda_device.h"
#include "gpu/device_graph.h"
#include "gpu/device_session.h"
#include "ort_api.h"
#include "ort_model.h"

namespace batched {

// Adds the CUDA provider to `options`, to compute on `stream`. Throws Ort::Exception: the provider's library,
// or one that it needs, does not load.
void use_cuda(Ort::SessionOptions& options, const ModelOptions& model, int device_id, cuda::Stream stream);

// Runs with inputs and outputs in device memory. launch() does not wait for the device, but for one in
// kRunsPerWait: an operator may pass arguments to its kernel through pinned memory (Concat of tensors of
// several sizes does), and ONNX Runtime gives that back at the end of a run that waits, and of no other.
//
// With graphs, a small batch of a shape that comes again in the same place is captured as a CUDA graph: one
// launch of a few microseconds instead of a run. A graph is bound to addresses. Its outputs stay its own; for
// the rest ONNX Runtime holds the memory to be free, and gives it to later runs, so that the order of the
// stream is all that keeps them apart. There are at most kMostGraphs. What can't be captured, or depends on
// the host's memory, runs as usual.
class CudaSession final : public DeviceSession {
 public:
  // `stream` is the one that `session` was made with, `memory` the place of its tensors.
  CudaSession(std::shared_ptr<cuda::Device> device, std::unique_ptr<cuda::DeviceStream> stream,
              Ort::Session session, Ort::MemoryInfo memory, Signature signature, bool graphs);
  ~CudaSession() override;
  CudaSession(const CudaSession&) = delete;
  CudaSession& operator=(const CudaSession&) = delete;

  cuda::Stream stream() const override { return stream_->get(); }
  Status launch(std::span<const DeviceTensor> inputs, DeviceRun* run) override;
  std::uint64_t memory() const override;
  std::uint64_t graphs() const override { return captured_.load(std::memory_order_relaxed); }
  bool outputs_may_be_overwritten() const override { return graphs_enabled_; }

  // Of the process: whoever waits for a whole device while a stream of it is captured fails, and spoils the
  // capture. ONNX Runtime does so when it makes a session. Captures hold it alone; where they can't have it
  // they come later.
  static std::shared_mutex& captures();

  // kInvalidInput: this ONNX Runtime can't tell where a model reads its inputs, which a graph depends on.
  static Status check_graphs();

 private:
  static constexpr std::uint64_t kRunsPerWait = 256;
  static constexpr std::size_t kMostGraphs = 128;
  static constexpr std::size_t kGraphElements =
      4096;  // of the first input: beyond it launching is not what costs

  // Of one shape at one place.
  struct Captured {
    bool ran = false;  // once, so that what a first run sets up is there
    bool fit = true;   // to be captured, as far as is known
    std::unique_ptr<cuda::DeviceGraph> graph;
    DeviceRun run;  // where it writes
  };

  Captured* captured_for(std::span<const DeviceTensor> inputs);
  void capture(std::span<const DeviceTensor> inputs, Captured& captured);
  void bind_inputs(std::span<const DeviceTensor> inputs);
  Status run_session(const Ort::RunOptions& options, DeviceRun* run);
  Ort::Value tensor_over(const DeviceTensor& tensor, bool on_host) const;

  const std::shared_ptr<cuda::Device> device_;
  const std::unique_ptr<cuda::DeviceStream> stream_;  // outlives the session
  const Signature signature_;
  const bool graphs_enabled_;
  std::vector<bool> on_host_;  // by input: the model reads it on the CPU, or not at all
  std::mutex mutex_;           // two engines may share a model, and so a lane's session
  const Ort::MemoryInfo memory_;
  const Ort::MemoryInfo host_memory_ = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault);
  // The session's own, for `memory_` and for pinned memory of the host. They outlive it: see ~CudaSession().
  Ort::Allocator allocator_{nullptr};
  Ort::Allocator pinned_{nullptr};
  Ort::Session session_;
  Ort::IoBinding binding_;
  const Ort::RunOptions enqueueing_;
  const Ort::RunOptions waiting_;
  std::uint64_t runs_ = 0;
  // By the inputs' addresses and dimensions.
  std::map<std::vector<std::uint64_t>, Captured> graphs_;
  std::atomic<std::uint64_t> captured_{0};
};

}  // namespace batched
