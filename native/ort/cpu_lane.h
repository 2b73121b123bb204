// A lane on the CPU: runs happen on the lane's own thread, in sessions it shares with other lanes.
// Private to native/ort.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/lane.h"
#include "host_buffer.h"
#include "ort_api.h"

namespace batched {

// What the CPU lanes of one model have in common. Ort::Session::Run may be called from several threads.
struct CpuSessions {
  Signature signature;
  std::vector<Ort::Session> narrow;  // one for all lanes, or one for each
  std::optional<Ort::Session> wide;  // for a run that has the machine for itself
};

// Threads: as Lane says. `done` is called from run(), on its thread.
class CpuLane final : public Lane {
 public:
  CpuLane(std::shared_ptr<CpuSessions> sessions, std::size_t index);

  std::string name() const override;
  std::size_t slots() const override { return kSlots; }
  Status stage(std::size_t slot, const BatchShape& shape, std::vector<std::byte*>* inputs) override;
  void run(std::size_t slot, const BatchShape& shape, bool alone, Done done) override;
  std::span<const TensorView> outputs(std::size_t slot) const override;
  // The lane is finished after this: further runs fail with kClosed.
  void interrupt() noexcept override;

 private:
  // One running, one being copied out of.
  static constexpr std::size_t kSlots = 2;

  struct Slot {
    std::vector<HostBuffer> buffers;  // by input
    std::vector<Ort::Value> inputs;   // tensors over the buffers
    std::vector<Ort::Value> outputs;  // own the memory behind the views
    std::vector<TensorView> views;
    Ort::IoBinding narrow{nullptr};  // made at first use
    Ort::IoBinding wide{nullptr};
  };

  Status stage_inputs(Slot& slot, const BatchShape& shape, std::vector<std::byte*>* inputs);
  void run_session(Slot& slot, bool alone);  // throws Ort::Exception
  Status view_outputs(Slot& slot) const;

  const std::shared_ptr<CpuSessions> sessions_;
  const std::size_t index_;
  const Ort::MemoryInfo memory_;
  const Ort::RunOptions run_options_;
  std::array<Slot, kSlots> slots_;
  std::vector<std::size_t> sizes_;  // of the inputs that are being staged
  std::atomic<bool> interrupted_{false};
};

}  // namespace batched
