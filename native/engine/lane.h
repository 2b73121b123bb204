// What the engine asks of a lane: an executor with its own memory, such as an ONNX Runtime session on
// the CPU or on a GPU, or a remote inference server.
//
// A batch goes through a slot in separate steps, so that a lane with several slots can overlap them:
//
//   stage()    gives the slot's input memory; the engine then writes the padded rows there
//   run()      starts the run; `done` is called once, from any thread, when the outputs are readable
//   outputs()  where the slot's outputs lie, until the slot is staged again
//
// The engine calls everything but interrupt() and device_use() from the lane's one thread, stages a slot only
// while it is free, and has at most runs() runs in flight.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "batch_layout.h"
#include "clock.h"
#include "status.h"
#include "tensor.h"

namespace batched {

// What a lane takes of its device, since it was made.
struct DeviceUse {
  Nanos computed = 0;        // time the device spent on the lane's runs
  std::uint64_t bytes = 0;   // memory of the device, of the session and of the slots
  std::uint64_t graphs = 0;  // captured CUDA graphs
};

class Lane {
 public:
  // Called exactly once per run, from any thread, possibly before run() returns. Must not throw.
  using Done = std::function<void(Status)>;

  virtual ~Lane() = default;

  // At most 15 characters: the name of the lane's thread.
  virtual std::string name() const = 0;

  // How many batches can be in the lane at once: some running, the others staged or being copied out.
  virtual std::size_t slots() const = 0;

  // How many runs may be in flight at once, less than slots(). They end in the order they were started:
  // a GPU that has the next run in its stream before one ends never waits for the host.
  virtual std::size_t runs() const { return 1; }

  // Memory for every input of the batch, aligned to 64 bytes, written to `inputs`.
  virtual Status stage(std::size_t slot, const BatchShape& shape, std::vector<std::byte*>* inputs) = 0;

  // `alone`: no other lane runs and nothing else waits, so the batch may use the idle lanes' cores.
  virtual void run(std::size_t slot, const BatchShape& shape, bool alone, Done done) = 0;

  // In the order of the signature. Valid after a run that succeeded.
  virtual std::span<const TensorView> outputs(std::size_t slot) const = 0;

  // Nothing for a lane on the CPU. Any thread.
  virtual std::optional<DeviceUse> device_use() const { return std::nullopt; }

  // The engine is going away: ends the running batch early if the lane can, and every run after it.
  // Such a run fails with kClosed, which is not tried again. Any thread.
  virtual void interrupt() noexcept = 0;
};

}  // namespace batched
