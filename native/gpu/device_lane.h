// A lane on a GPU. Private to native/gpu and native/ort.
//
// A batch takes three streams, each behind the other by an event, so that while one batch computes the next
// one's inputs come in and the last one's outputs go out:
//
//   stage()  the engine writes the rows into the slot's pinned memory
//   run()    in: one copy to the device   compute: the session's run   out: one copy per output to pinned
//   memory
//            enqueues all that and returns; nothing in it waits for the device
//   waiter   a thread that sleeps until the slot's outputs have arrived, and then calls `done`
//
// Two runs may be in flight and a third slot can be staged or copied out of meanwhile, so that the stream
// never runs dry while there is work. A run that fails half-way drains the streams before its slot is free
// again: what has been enqueued may still read and write the slot's memory.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cuda_device.h"
#include "device_session.h"
#include "engine/lane.h"
#include "engine/thread_annotations.h"

namespace batched {

// Threads: as Lane says. `done` is called from the lane's waiter.
class DeviceLane final : public Lane {
 public:
  // Asks nothing of the device: that begins with the first stage(). `name`: as Lane says, with a digit to
  // spare.
  DeviceLane(std::shared_ptr<cuda::Device> device, std::shared_ptr<DeviceSession> session,
             Signature signature, std::string name);
  // Waits for the runs in flight.
  ~DeviceLane() override;

  std::string name() const override { return name_; }
  std::size_t slots() const override { return kSlots; }
  std::size_t runs() const override { return kRuns; }
  Status stage(std::size_t slot, const BatchShape& shape, std::vector<std::byte*>* inputs) override;
  void run(std::size_t slot, const BatchShape& shape, bool alone, Done done) override;
  std::span<const TensorView> outputs(std::size_t slot) const override;
  std::optional<DeviceUse> device_use() const override;
  // Runs in flight end by themselves; further ones fail with kClosed.
  void interrupt() noexcept override;

 private:
  static constexpr std::size_t kSlots = 3;
  static constexpr std::size_t kRuns = 2;

  struct Slot {
    explicit Slot(const std::shared_ptr<cuda::Device>& device)
        : host_inputs(device, cuda::DeviceBuffer::Place::kPinned),
          device_inputs(device, cuda::DeviceBuffer::Place::kDevice),
          host_outputs(device, cuda::DeviceBuffer::Place::kPinned) {}

    cuda::DeviceBuffer host_inputs;    // all inputs, one after the other
    cuda::DeviceBuffer device_inputs;  // the same, on the device
    cuda::DeviceBuffer host_outputs;
    std::atomic<bool> on_device{false};  // from stage() until its run has ended
    std::size_t input_bytes = 0;
    std::vector<DeviceTensor> inputs;
    DeviceRun run;  // keeps the outputs' memory on the device
    std::vector<TensorView> views;
    cuda::DeviceEvent copied_in;
    cuda::DeviceEvent began;
    cuda::DeviceEvent computed;
    cuda::DeviceEvent copied_out;
  };

  // A run that the waiter is to see through.
  struct InFlight {
    Slot* slot = nullptr;
    Status status;  // not ok: what came of enqueueing it
    Done done;
  };

  Status prepare();
  Status stage_inputs(Slot& slot, const BatchShape& shape, std::vector<std::byte*>* inputs);
  Status reserve_device(Slot& slot, std::size_t bytes);
  Status enqueue(Slot& slot);
  Status copy_out(Slot& slot);
  Status drain();
  void wait_for_runs();
  void count_time(const Slot& slot);

  const std::shared_ptr<cuda::Device> device_;
  const std::shared_ptr<DeviceSession> session_;
  const Signature signature_;
  const std::string name_;
  cuda::DeviceStream in_;
  cuda::DeviceStream out_;
  std::vector<std::unique_ptr<Slot>> slots_;  // empty until prepare()
  std::vector<std::size_t> sizes_;            // of the inputs that are being staged
  std::atomic<bool> interrupted_{false};
  std::atomic<Nanos> computed_{0};
  std::atomic<std::uint64_t> slot_bytes_{0};  // on the device

  Mutex mutex_;
  std::condition_variable changed_;
  std::deque<InFlight> in_flight_ BATCHED_GUARDED_BY(mutex_);
  bool ending_ BATCHED_GUARDED_BY(mutex_) = false;
  std::thread waiter_;
};

}  // namespace batched
