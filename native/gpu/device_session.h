// What a GPU's lane asks of the model: to enqueue runs on a stream. Private to native/gpu and native/ort.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cuda_driver.h"
#include "engine/status.h"
#include "engine/tensor.h"

namespace batched {

// A dense tensor in device memory that somebody else owns.
struct DeviceTensor {
  DType dtype = DType::kFloat32;
  Dims dims;
  cuda::DevicePtr data = 0;
  std::byte* host = nullptr;  // of an input: the same in pinned memory, there already before the run

  std::size_t bytes() const { return dims.elements() * element_size(dtype); }
};

// A run that has been enqueued.
struct DeviceRun {
  std::vector<DeviceTensor> outputs;  // written once the stream has come that far
  std::shared_ptr<void> memory;       // theirs
};

class DeviceSession {
 public:
  virtual ~DeviceSession() = default;

  // Where runs are enqueued. Lives as long as the session.
  virtual cuda::Stream stream() const = 0;

  // Enqueues a run behind what is in the stream, without waiting for it. The inputs are in the order of the
  // signature and stay where they are until the run has ended. Any thread that has made the device its own.
  virtual Status launch(std::span<const DeviceTensor> inputs, DeviceRun* run) = 0;

  // Bytes of the device's memory it has taken, weights included; 0 if it can't tell. Any thread.
  virtual std::uint64_t memory() const = 0;

  // How many CUDA graphs it has captured. Any thread.
  virtual std::uint64_t graphs() const = 0;

  // Later runs may write where a run's outputs are: they have to be copied out on the stream itself.
  virtual bool outputs_may_be_overwritten() const = 0;
};

}  // namespace batched
