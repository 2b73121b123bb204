#include "signature_rules.h"

#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <utility>

namespace batched {
namespace {

using Tensors = std::vector<DeclaredTensor>;

Status invalid(std::string message) { return {Code::kInvalidInput, std::move(message)}; }

const DeclaredTensor* find(const Tensors& tensors, const std::string& name) {
  for (const DeclaredTensor& tensor : tensors) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

std::string names_of(const Tensors& tensors) {
  std::string names;
  for (const DeclaredTensor& tensor : tensors) names += (names.empty() ? "" : ", ") + tensor.name;
  return names.empty() ? "none" : names;
}

// "input 'x' float32 [batch, 3, ?]"
std::string describe(const char* kind, const DeclaredTensor& tensor) {
  std::string text = std::string(kind) + " '" + tensor.name + "' " + dtype_name(tensor.dtype) + " [";
  for (std::size_t i = 0; i < tensor.axes.size(); ++i) {
    const Axis& axis = tensor.axes[i];
    if (i > 0) text += ", ";
    if (axis.dynamic()) {
      text += axis.symbol.empty() ? "?" : axis.symbol;
    } else {
      text += std::to_string(axis.size);
    }
  }
  return text + "]";
}

Status unknown_name(const char* option, const std::string& name, const char* kind, const std::string& known) {
  return invalid(std::string(option) + " names '" + name + "', but the model has no such " + kind +
                 "; it has: " + known);
}

Status check_names(const Tensors& inputs, const Tensors& outputs, const ModelOptions& options) {
  for (const std::string& name : options.outputs) {
    if (find(outputs, name) == nullptr) return unknown_name("outputs", name, "output", names_of(outputs));
  }
  for (const auto& [name, axis] : options.batch_axis) {
    if (find(inputs, name) == nullptr && find(outputs, name) == nullptr) {
      return unknown_name("batchAxis", name, "input or output", names_of(inputs) + "; " + names_of(outputs));
    }
    if (options.shared.contains(name) && find(outputs, name) == nullptr) {
      return invalid("input '" + name + "' is named by both batchAxis and shared");
    }
  }
  for (const std::string& name : options.shared) {
    if (find(inputs, name) == nullptr) return unknown_name("shared", name, "input", names_of(inputs));
  }
  for (const auto& [name, value] : options.pad_values) {
    if (find(inputs, name) == nullptr) {
      return unknown_name("padTokens", name, "input", names_of(inputs));
    }
  }
  return {};
}

template <typename T>
bool holds(double value) {
  // Both ends are exact as doubles: -2^n, and 2^n for one past the largest.
  constexpr int kBits = std::numeric_limits<T>::digits;
  const double least = std::numeric_limits<T>::is_signed ? -std::ldexp(1.0, kBits) : 0.0;
  return value == std::trunc(value) && value >= least && value < std::ldexp(1.0, kBits);
}

// Whether `value` can be an element of `dtype`: the conversion of any other is undefined.
bool representable(DType dtype, double value) {
  switch (dtype) {
    case DType::kFloat32:
    case DType::kFloat64:
    case DType::kFloat16:
      return true;
    case DType::kInt8:
      return holds<std::int8_t>(value);
    case DType::kInt16:
      return holds<std::int16_t>(value);
    case DType::kInt32:
      return holds<std::int32_t>(value);
    case DType::kInt64:
      return holds<std::int64_t>(value);
    case DType::kUint8:
      return holds<std::uint8_t>(value);
    case DType::kUint16:
      return holds<std::uint16_t>(value);
    case DType::kUint32:
      return holds<std::uint32_t>(value);
    case DType::kUint64:
      return holds<std::uint64_t>(value);
    case DType::kBool:
      return value == 0 || value == 1;
  }
  return false;
}

// What an input and an output have in common: a type and a rank that the engine can hold.
Status check_form(const char* kind, const DeclaredTensor& tensor) {
  if (!tensor.unsupported.empty()) {
    return invalid(std::string(kind) + " '" + tensor.name + "' is of type " + tensor.unsupported +
                   ", which is not supported");
  }
  if (tensor.axes.size() > Dims::kMaxRank) {
    return invalid(describe(kind, tensor) + " has more than " + std::to_string(Dims::kMaxRank) +
                   " axes, which is not supported");
  }
  return {};
}

// The axis that the option batchAxis gives, if it does.
Status given_axis(const char* kind, const DeclaredTensor& tensor, const ModelOptions& options,
                  std::optional<int>* axis) {
  const auto found = options.batch_axis.find(tensor.name);
  if (found == options.batch_axis.end()) return {};
  const std::size_t rank = tensor.ranked ? tensor.axes.size() : Dims::kMaxRank;
  if (found->second < 0 || static_cast<std::size_t>(found->second) >= rank) {
    return invalid("batchAxis is " + std::to_string(found->second) + " for " + describe(kind, tensor) +
                   ", which has no such axis");
  }
  *axis = found->second;
  return {};
}

Status place_input(const DeclaredTensor& tensor, const ModelOptions& options, TensorSpec* spec) {
  if (Status status = check_form("input", tensor); !status.ok()) return status;
  *spec = {tensor.name, tensor.dtype, tensor.axes, 0, 0};
  if (const auto pad = options.pad_values.find(tensor.name); pad != options.pad_values.end()) {
    if (!representable(tensor.dtype, pad->second)) {
      return invalid("padTokens gives " + describe("input", tensor) + " the value " +
                     std::to_string(pad->second) + ", which is not one of its type");
    }
    spec->pad_value = pad->second;
  }
  if (!tensor.ranked) {
    return invalid("input '" + tensor.name + "' declares no dimensions, so it can't be checked: export " +
                   "the model with a shape for it");
  }
  if (options.shared.contains(tensor.name)) {
    spec->batch_axis = TensorSpec::kShared;
    return {};
  }
  std::optional<int> given;
  if (Status status = given_axis("input", tensor, options, &given); !status.ok()) return status;
  spec->batch_axis = given.value_or(0);
  if (!tensor.axes.empty()) return {};
  return invalid(describe("input", tensor) + " has no axis for the batch: if all rows of a batch use " +
                 "one value, say shared: ['" + tensor.name + "']");
}

const Axis& batch_of(const TensorSpec& spec) { return spec.axes[static_cast<std::size_t>(spec.batch_axis)]; }

// The only dynamic axis, or -1.
int only_dynamic(const std::vector<Axis>& axes) {
  int only = -1;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    if (!axes[i].dynamic()) continue;
    if (only >= 0) return -1;
    only = static_cast<int>(i);
  }
  return only;
}

// "batchAxis: { 'x': 1 }", with the axis that carries the symbol of another input's batch if one does, or
// with the only dynamic one.
std::string axis_advice(const TensorSpec& spec, const Signature& signature) {
  std::string axis = "axis";
  for (std::size_t i = spec.axes.size(); i-- > 0;) {
    for (const TensorSpec& other : signature.inputs) {
      if (other.shared() || !batch_of(other).dynamic() || batch_of(other).symbol.empty()) continue;
      if (batch_of(other).symbol == spec.axes[i].symbol) axis = std::to_string(i);
    }
  }
  if (axis == "axis") {
    if (const int only = only_dynamic(spec.axes); only >= 0) axis = std::to_string(only);
  }
  return "batchAxis: { '" + spec.name + "': " + axis + " }";
}

// All batch axes of the inputs are dynamic, or all are fixed at one size. A fixed size other than 1 is
// taken for a batch only if somebody says so: it may as well be channels.
Status agree_on_batch(const Tensors& declared, const ModelOptions& options, Signature* signature) {
  std::int64_t fixed = 0;
  bool dynamic = false;
  bool any = false;
  for (const TensorSpec& spec : signature->inputs) {
    if (spec.shared()) continue;
    any = true;
    const Axis& axis = batch_of(spec);
    if (axis.dynamic()) dynamic = true;
    if (axis.size == 1 && fixed == 0) fixed = 1;
    if (!axis.dynamic() && options.batch_axis.contains(spec.name)) fixed = axis.size;
  }
  if (!any) return invalid("all inputs of the model are shared, so there is nothing to batch");
  for (std::size_t i = 0; i < signature->inputs.size(); ++i) {
    const TensorSpec& spec = signature->inputs[i];
    if (spec.shared() || batch_of(spec).dynamic()) continue;
    if (!dynamic && batch_of(spec).size == fixed && fixed > 0) continue;
    return invalid(describe("input", declared[i]) + ": axis " + std::to_string(spec.batch_axis) +
                   " is fixed at " + std::to_string(batch_of(spec).size) +
                   ", so it doesn't take batches: name the axis of the batch (this one, if the model "
                   "wants as many rows in every run) with " +
                   axis_advice(spec, *signature) + ", or say shared: ['" + spec.name +
                   "'] if all rows of a batch use one value");
  }
  signature->fixed_batch = dynamic ? 0 : fixed;
  return {};
}

// The symbols of the inputs' batch axes, and those of their other axes.
struct Symbols {
  std::set<std::string> batch;
  std::set<std::string> row;
  bool batch_first = true;  // every input has its batch on axis 0
};

Symbols symbols_of(const Signature& signature) {
  Symbols symbols;
  for (const TensorSpec& spec : signature.inputs) {
    if (spec.batch_axis > 0) symbols.batch_first = false;
    for (std::size_t i = 0; i < spec.axes.size(); ++i) {
      const Axis& axis = spec.axes[i];
      if (!axis.dynamic() || axis.symbol.empty()) continue;
      (static_cast<int>(i) == spec.batch_axis ? symbols.batch : symbols.row).insert(axis.symbol);
    }
  }
  return symbols;
}

constexpr int kNoAxis = -1;
constexpr int kSeveralAxes = -2;

// The axis that is the batch by the look of it, or one of the above.
int guess_axis(const std::vector<Axis>& axes, const Symbols& symbols, std::int64_t fixed_batch) {
  for (std::size_t i = 0; i < axes.size(); ++i) {
    if (axes[i].dynamic() && symbols.batch.contains(axes[i].symbol)) return static_cast<int>(i);
  }
  // Axis 0 if it may be, else the only one that may. But where an input has its batch elsewhere, an output
  // may too, and then a wrong guess would mix up the rows of a batch: only the only one will do.
  int only = kNoAxis;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const Axis& axis = axes[i];
    const bool may =
        axis.dynamic() ? !symbols.row.contains(axis.symbol) : fixed_batch > 0 && axis.size == fixed_batch;
    if (!may) continue;
    if (i == 0 && (symbols.batch_first || !axis.dynamic())) return 0;
    if (only >= 0) return kSeveralAxes;
    only = static_cast<int>(i);
  }
  return only;
}

Status place_output(const DeclaredTensor& tensor, const ModelOptions& options, const Symbols& symbols,
                    std::int64_t fixed_batch, TensorSpec* spec) {
  if (Status status = check_form("output", tensor); !status.ok()) return status;
  *spec = {tensor.name, tensor.dtype, tensor.axes, 0, 0};
  std::optional<int> given;
  if (Status status = given_axis("output", tensor, options, &given); !status.ok()) return status;
  if (given || !tensor.ranked) {
    spec->batch_axis = given.value_or(0);  // the engine checks what comes out
    return {};
  }
  spec->batch_axis = guess_axis(tensor.axes, symbols, fixed_batch);
  if (spec->batch_axis >= 0) return {};
  const char* why = spec->batch_axis == kSeveralAxes ? " has several axes that may be the batch"
                                                     : " has no axis for the batch";
  return invalid(describe("output", tensor) + why + ": leave it out by naming the " +
                 "others in outputs, or name its axis with batchAxis: { '" + tensor.name + "': axis }");
}

}  // namespace

Status make_signature(const Tensors& inputs, const Tensors& outputs, const ModelOptions& options,
                      Signature* signature) {
  if (Status status = check_names(inputs, outputs, options); !status.ok()) return status;
  if (inputs.empty()) return invalid("the model has no inputs");
  if (outputs.empty()) return invalid("the model has no outputs");

  Signature made;
  for (const DeclaredTensor& tensor : inputs) {
    Status status = place_input(tensor, options, &made.inputs.emplace_back());
    if (!status.ok()) return status;
  }
  if (Status status = agree_on_batch(inputs, options, &made); !status.ok()) return status;

  const Symbols symbols = symbols_of(made);
  std::vector<std::string> wanted = options.outputs;
  if (wanted.empty()) {
    for (const DeclaredTensor& tensor : outputs) wanted.push_back(tensor.name);
  }
  std::set<std::string> seen;
  for (const std::string& name : wanted) {
    if (!seen.insert(name).second) return invalid("outputs names '" + name + "' twice");
    Status status =
        place_output(*find(outputs, name), options, symbols, made.fixed_batch, &made.outputs.emplace_back());
    if (!status.ok()) return status;
  }
  *signature = std::move(made);
  return {};
}

}  // namespace batched
