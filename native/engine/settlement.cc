#include "settlement.h"

#include <utility>

#include "trace.h"

namespace batched {
namespace {

constexpr std::size_t kAlignment = 8;  // of an output in a delivery's memory: fits every typed array

std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Builds the delivery of one sink: first every part's place, then one allocation, then the copies.
class DeliveryBuilder {
 public:
  DeliveryBuilder(const Signature& signature, const BatchOutputs* outputs)
      : signature_(signature), outputs_(outputs) {}

  void add(SettledCall& settled) {
    CallResult result;
    result.id = settled.id;
    result.code = settled.code;
    result.message = std::move(settled.message);
    result.first_part = delivery_.parts.size();
    if (settled.code == Code::kOk) {
      const Call& call = *settled.owned;
      if (call.rows.size() == 1) {
        place_single(call, settled.row_in_batch);
      } else if (call.stack) {
        place_stacked(call);
      } else {
        place_rows(call);
      }
    }
    result.part_count = delivery_.parts.size() - result.first_part;
    delivery_.results.push_back(std::move(result));
  }

  Delivery build() {
    delivery_.data = std::make_unique_for_overwrite<std::byte[]>(delivery_.bytes);
    for (const Copy& copy : copies_) {
      std::byte* const to = delivery_.data.get() + copy.offset;
      if (copy.call == nullptr) {
        outputs_->layout.scatter(outputs_->tensors[copy.output], copy.output, copy.row, copy.dims, to);
      } else {
        stack_rows(rows_of(*copy.call, copy.output, copy.row), copy.dims, batch_axis(copy.output),
                   outputs_->layout.side(), to);
      }
    }
    return std::move(delivery_);
  }

 private:
  struct Copy {
    std::size_t offset;
    std::size_t output;
    std::size_t row;
    Dims dims;         // of the row when `call` is null, else of the stacked tensor
    const Call* call;  // of several rows, whose own row outputs are stacked
  };
  static constexpr std::size_t kAllRows = SIZE_MAX;

  std::size_t batch_axis(std::size_t output) const {
    return static_cast<std::size_t>(signature_.outputs[output].batch_axis);
  }

  std::size_t place(std::size_t output, const Dims& dims) {
    const std::size_t offset = delivery_.bytes;
    delivery_.bytes += aligned(dims.elements() * element_size(signature_.outputs[output].dtype));
    delivery_.parts.push_back({offset, dims});
    return offset;
  }

  void place_single(const Call& call, std::size_t row) {
    const RowInputs inputs = call.inputs_of(call.rows.front());
    for (std::size_t o = 0; o < signature_.outputs.size(); ++o) {
      const Dims dims = outputs_->layout.row_dims(outputs_->shape, inputs, o, outputs_->tensors[o].dims);
      Dims whole = dims;
      whole.insert(batch_axis(o), 1);
      copies_.push_back({place(o, whole), o, row, dims, nullptr});
    }
  }

  // The row outputs of a call are stored row by row; `row` picks one, or all for stacking.
  std::vector<TensorView> rows_of(const Call& call, std::size_t output, std::size_t row) const {
    const std::size_t outputs = signature_.outputs.size();
    if (row != kAllRows) return {call.row_outputs[row * outputs + output]};
    std::vector<TensorView> rows;
    rows.reserve(call.rows.size());
    for (std::size_t r = 0; r < call.rows.size(); ++r) rows.push_back(call.row_outputs[r * outputs + output]);
    return rows;
  }

  void place_stacked(const Call& call) {
    for (std::size_t o = 0; o < signature_.outputs.size(); ++o) {
      const Dims dims = stacked_dims(rows_of(call, o, kAllRows), batch_axis(o));
      copies_.push_back({place(o, dims), o, kAllRows, dims, &call});
    }
  }

  void place_rows(const Call& call) {
    for (std::size_t r = 0; r < call.rows.size(); ++r) {
      for (std::size_t o = 0; o < signature_.outputs.size(); ++o) {
        const Dims dims = stacked_dims(rows_of(call, o, r), batch_axis(o));
        copies_.push_back({place(o, dims), o, r, dims, &call});
      }
    }
  }

  const Signature& signature_;
  const BatchOutputs* const outputs_;
  Delivery delivery_;
  std::vector<Copy> copies_;
};

}  // namespace

void deliver(Settlement& settlement, const Signature& signature, const BatchOutputs* outputs) {
  if (settlement.calls.empty()) return;
  const TraceRange range("settle", settlement.calls.size());
  // Nearly always one sink. The calls of a sink keep their order.
  std::vector<std::pair<CompletionSink*, DeliveryBuilder>> builders;
  for (SettledCall& settled : settlement.calls) {
    DeliveryBuilder* builder = nullptr;
    for (auto& [sink, candidate] : builders) {
      if (sink == settled.to()) builder = &candidate;
    }
    if (builder == nullptr) {
      builder = &builders.emplace_back(settled.to(), DeliveryBuilder(signature, outputs)).second;
    }
    builder->add(settled);
  }
  for (auto& [sink, builder] : builders) sink->deliver(builder.build());
}

}  // namespace batched
