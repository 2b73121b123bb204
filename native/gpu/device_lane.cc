#include "device_lane.h"

#include <algorithm>
#include <utility>

#include "engine/thread.h"
#include "engine/trace.h"

namespace batched {
namespace {

// Of every tensor within a slot's block, as CUDA's own allocations.
constexpr std::size_t kAlignment = 256;

std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

DeviceLane::DeviceLane(std::shared_ptr<cuda::Device> device, std::shared_ptr<DeviceSession> session,
                       Signature signature, std::string name)
    : device_(std::move(device)),
      session_(std::move(session)),
      signature_(std::move(signature)),
      name_(std::move(name)) {}

DeviceLane::~DeviceLane() {
  {
    const MutexLock lock(mutex_);
    ending_ = true;
    changed_.notify_one();
  }
  if (waiter_.joinable()) waiter_.join();
  (void)device_->use();  // whichever thread this is, it frees the device's memory
}

// Once, on the lane's own thread.
Status DeviceLane::prepare() {
  Status status = device_->use();
  if (status.ok() && in_.get() == nullptr) status = in_.create(device_);
  if (status.ok() && out_.get() == nullptr) status = out_.create(device_);
  while (status.ok() && slots_.size() < kSlots) {
    auto slot = std::make_unique<Slot>(device_);
    status = slot->copied_in.create(device_, /*timed=*/false);
    if (status.ok()) status = slot->began.create(device_, /*timed=*/true);
    if (status.ok()) status = slot->computed.create(device_, /*timed=*/true);
    if (status.ok()) status = slot->copied_out.create(device_, /*timed=*/false);
    if (status.ok()) slots_.push_back(std::move(slot));
  }
  if (status.ok() && !waiter_.joinable()) waiter_ = std::thread([this] { wait_for_runs(); });
  return status;
}

Status DeviceLane::stage(std::size_t slot, const BatchShape& shape, std::vector<std::byte*>* inputs) {
  if (!waiter_.joinable()) {
    if (Status status = prepare(); !status.ok()) return status;
  }
  return stage_inputs(*slots_[slot], shape, inputs);
}

Status DeviceLane::stage_inputs(Slot& slot, const BatchShape& shape, std::vector<std::byte*>* inputs) {
  Status status = input_sizes(signature_, shape, &sizes_);
  if (!status.ok()) return status;
  slot.views.clear();
  slot.inputs.clear();
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < sizes_.size(); ++i) {
    slot.inputs.push_back(
        {signature_.inputs[i].dtype, shape.inputs[i], bytes, nullptr});  // an offset, for now
    bytes += aligned(std::max<std::size_t>(1, sizes_[i]));
  }
  slot.input_bytes = bytes;
  status = slot.host_inputs.reserve(bytes);
  if (status.ok()) status = reserve_device(slot, bytes);
  if (!status.ok()) return status;
  inputs->clear();
  for (DeviceTensor& input : slot.inputs) {
    input.host = slot.host_inputs.pinned() + input.data;
    inputs->push_back(input.host);
    input.data += slot.device_inputs.device();
  }
  return {};
}

// Where there is no memory left, slots that hold some without need give it up first.
Status DeviceLane::reserve_device(Slot& slot, std::size_t bytes) {
  slot.on_device.store(true, std::memory_order_relaxed);
  Status status = slot.device_inputs.reserve(bytes);
  if (status.code() == Code::kOutOfMemory) {
    for (const std::unique_ptr<Slot>& other : slots_) {
      if (!other->on_device.load(std::memory_order_acquire)) other->device_inputs.release();
    }
    status = slot.device_inputs.reserve(bytes);
  }
  if (!status.ok()) slot.on_device.store(false, std::memory_order_relaxed);
  std::uint64_t held = 0;
  for (const std::unique_ptr<Slot>& each : slots_) held += each->device_inputs.capacity();
  slot_bytes_.store(held, std::memory_order_relaxed);
  return status;
}

void DeviceLane::run(std::size_t slot, const BatchShape& /*shape*/, bool /*alone*/, Done done) {
  InFlight run{slots_[slot].get(), {}, std::move(done)};
  run.status = interrupted_.load(std::memory_order_acquire)
                   ? Status(Code::kClosed, "the model was closed before the batch ran")
                   : enqueue(*run.slot);
  const MutexLock lock(mutex_);
  in_flight_.push_back(std::move(run));
  changed_.notify_one();
}

Status DeviceLane::enqueue(Slot& slot) {
  const cuda::Driver& driver = device_->driver();
  const cuda::Stream compute = session_->stream();
  Status status;
  {
    const TraceRange range("h2d", slot.input_bytes);
    status = device_->call("cuMemcpyHtoDAsync", driver.copy_in, slot.device_inputs.device(),
                           static_cast<const void*>(slot.host_inputs.pinned()), slot.input_bytes, in_.get());
    if (status.ok()) {
      status = device_->call("cuEventRecord", driver.event_record, slot.copied_in.get(), in_.get());
    }
    if (status.ok()) {
      status =
          device_->call("cuStreamWaitEvent", driver.stream_wait_event, compute, slot.copied_in.get(), 0U);
    }
    if (status.ok()) {
      status = device_->call("cuEventRecord", driver.event_record, slot.began.get(), compute);
    }
  }
  if (status.ok()) {
    const TraceRange range("launch");
    status = session_->launch(slot.inputs, &slot.run);
  }
  return status.ok() ? copy_out(slot) : status;
}

Status DeviceLane::copy_out(Slot& slot) {
  const TraceRange range("d2h");
  const cuda::Driver& driver = device_->driver();
  std::size_t bytes = 0;
  for (const DeviceTensor& output : slot.run.outputs) bytes += aligned(output.bytes());
  Status status = slot.host_outputs.reserve(std::max<std::size_t>(1, bytes));
  if (status.ok()) {
    status = device_->call("cuEventRecord", driver.event_record, slot.computed.get(), session_->stream());
  }
  const cuda::Stream out = session_->outputs_may_be_overwritten() ? session_->stream() : out_.get();
  if (status.ok() && out != session_->stream()) {
    status = device_->call("cuStreamWaitEvent", driver.stream_wait_event, out, slot.computed.get(), 0U);
  }
  std::byte* to = slot.host_outputs.pinned();
  for (const DeviceTensor& output : slot.run.outputs) {
    if (!status.ok()) return status;
    if (output.bytes() > 0) {
      status = device_->call("cuMemcpyDtoHAsync", driver.copy_out, static_cast<void*>(to), output.data,
                             output.bytes(), out);
    }
    slot.views.push_back({output.dtype, output.dims, to});
    to += aligned(output.bytes());
  }
  if (!status.ok()) return status;
  return device_->call("cuEventRecord", driver.event_record, slot.copied_out.get(), out);
}

std::span<const TensorView> DeviceLane::outputs(std::size_t slot) const { return slots_[slot]->views; }

std::optional<DeviceUse> DeviceLane::device_use() const {
  return DeviceUse{computed_.load(std::memory_order_relaxed),
                   session_->memory() + slot_bytes_.load(std::memory_order_relaxed), session_->graphs()};
}

// Not worth a run: if the driver can't tell, the time is missing from the figures.
void DeviceLane::count_time(const Slot& slot) {
  float milliseconds = 0;
  const Status status = device_->call("cuEventElapsedTime", device_->driver().event_elapsed, &milliseconds,
                                      slot.began.get(), slot.computed.get());
  if (status.ok()) {
    computed_.fetch_add(static_cast<Nanos>(static_cast<double>(milliseconds) * kMillisecond),
                        std::memory_order_relaxed);
  }
}

void DeviceLane::interrupt() noexcept { interrupted_.store(true, std::memory_order_release); }

// All three to their end: a run that was not enqueued whole has no event of its own to wait for.
Status DeviceLane::drain() {
  Status first;
  for (const cuda::Stream stream : {in_.get(), session_->stream(), out_.get()}) {
    Status status = device_->call("cuStreamSynchronize", device_->driver().stream_synchronize, stream);
    if (first.ok()) first = std::move(status);
  }
  return first;
}

// The waiter's thread.
void DeviceLane::wait_for_runs() {
  name_this_thread(name_ + "w");
  (void)device_->use();  // if it fails, so does what follows
  for (;;) {
    InFlight run;
    {
      MutexLock lock(mutex_);
      while (in_flight_.empty() && !ending_) changed_.wait(lock.native());
      if (in_flight_.empty()) return;
      run = std::move(in_flight_.front());
      in_flight_.pop_front();
    }
    if (run.status.ok()) {
      run.status = device_->call("cuEventSynchronize", device_->driver().event_synchronize,
                                 run.slot->copied_out.get());
    }
    if (run.status.ok()) count_time(*run.slot);
    if (!run.status.ok() && run.status.code() != Code::kClosed) {
      // An error of the device that a failed launch only hinted at comes to light here.
      const Status drained = drain();
      if (drained.code() == Code::kDeviceLost) run.status = drained;
    }
    // What it took of the device is free again before the next run asks for more.
    run.slot->run = {};
    run.slot->on_device.store(false, std::memory_order_release);
    run.done(std::move(run.status));
  }
}

}  // namespace batched
