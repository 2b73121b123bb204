#include "cpu_lane.h"

#include <utility>

#include "ort_error.h"
#include "ort_types.h"

namespace batched {

CpuLane::CpuLane(std::shared_ptr<CpuSessions> sessions, std::size_t index)
    : sessions_(std::move(sessions)),
      index_(index),
      memory_(Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault)) {}

std::string CpuLane::name() const { return "batched-cpu-" + std::to_string(index_); }

Status CpuLane::stage(std::size_t slot, const BatchShape& shape, std::vector<std::byte*>* inputs) {
  try {
    return stage_inputs(slots_[slot], shape, inputs);
  } catch (const std::exception& error) {
    return to_status(error, Code::kBackend, "the batch could not be staged");
  }
}

Status CpuLane::stage_inputs(Slot& slot, const BatchShape& shape, std::vector<std::byte*>* inputs) {
  const std::vector<TensorSpec>& specs = sessions_->signature.inputs;
  if (Status status = input_sizes(sessions_->signature, shape, &sizes_); !status.ok()) return status;
  // The last batch's results go back to the session's allocator before the next run asks it for more.
  slot.views.clear();
  slot.outputs.clear();
  slot.inputs.clear();
  slot.buffers.resize(specs.size());
  inputs->clear();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const Dims& dims = shape.inputs[i];
    std::byte* const memory = slot.buffers[i].reserve(sizes_[i]);
    slot.inputs.push_back(Ort::Value::CreateTensor(memory_, memory, sizes_[i], dims.data(), dims.rank(),
                                                   to_ort(specs[i].dtype)));
    inputs->push_back(memory);
  }
  return {};
}

void CpuLane::run(std::size_t slot, const BatchShape& /*shape*/, bool alone, Done done) {
  Status status;
  try {
    if (!interrupted_.load(std::memory_order_acquire)) {
      run_session(slots_[slot], alone);
      status = view_outputs(slots_[slot]);
    } else {
      status = {Code::kClosed, "the model was closed before the batch ran"};
    }
  } catch (const std::exception& error) {
    status = to_status(error, Code::kBackend, "the model could not be run");
    if (interrupted_.load(std::memory_order_acquire)) {
      status = {Code::kClosed, "the model was closed while the batch was running"};
    }
  }
  done(std::move(status));
}

void CpuLane::run_session(Slot& slot, bool alone) {
  const bool wide = alone && sessions_->wide.has_value();
  const std::size_t own = sessions_->narrow.size() > 1 ? index_ : 0;
  Ort::Session& session = wide ? *sessions_->wide : sessions_->narrow[own];
  Ort::IoBinding& binding = wide ? slot.wide : slot.narrow;
  if (static_cast<OrtIoBinding*>(binding) == nullptr) binding = Ort::IoBinding(session);

  const Signature& signature = sessions_->signature;
  for (std::size_t i = 0; i < signature.inputs.size(); ++i) {
    binding.BindInput(signature.inputs[i].name.c_str(), slot.inputs[i]);
  }
  // Each time anew: a run leaves its results bound, and the next would be made to fit into them.
  for (const TensorSpec& output : signature.outputs) {
    binding.BindOutput(output.name.c_str(), memory_);
  }
  session.Run(run_options_, binding);
  slot.outputs = binding.GetOutputValues();
  // Results belong to the slot from here on, and the inputs' memory may move at the next stage().
  binding.ClearBoundOutputs();
  binding.ClearBoundInputs();
}

Status CpuLane::view_outputs(Slot& slot) const {
  static constexpr std::byte kNothing{};
  const std::vector<TensorSpec>& specs = sessions_->signature.outputs;
  slot.views.clear();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    TensorView view;
    if (Status status = view_output(slot.outputs[i], specs[i], &view); !status.ok()) return status;
    if (view.data == nullptr) view.data = &kNothing;  // it has no elements
    slot.views.push_back(view);
  }
  return {};
}

std::span<const TensorView> CpuLane::outputs(std::size_t slot) const { return slots_[slot].views; }

void CpuLane::interrupt() noexcept {
  interrupted_.store(true, std::memory_order_release);
  // Stays set, so a run that comes later ends at once too. Any thread may set it during a run.
  if (OrtStatus* const status = Ort::GetApi().RunOptionsSetTerminate(
          const_cast<OrtRunOptions*>(static_cast<const OrtRunOptions*>(run_options_)))) {
    Ort::GetApi().ReleaseStatus(status);
  }
}

}  // namespace batched
