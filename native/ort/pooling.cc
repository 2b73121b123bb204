#include "pooling.h"

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ort_types.h"

namespace batched {
namespace {

constexpr const char* kMask = "attention_mask";
constexpr const char* kPooled = "sentence_embedding";
// Has every operator used here; newer forms of them are told apart below.
constexpr int kOldestOpset = 11;
constexpr int kAxesAreInput = 13;  // of ReduceSum

using Names = std::vector<std::string>;

[[noreturn]] void refuse(const std::string& why) { throw std::invalid_argument("pooling: " + why); }

std::string listed(const std::vector<DeclaredTensor>& tensors) {
  std::string names;
  for (const DeclaredTensor& tensor : tensors) names += (names.empty() ? "" : ", ") + tensor.name;
  return names;
}

bool is_hidden_states(const DeclaredTensor& tensor) {
  const bool real = tensor.dtype == DType::kFloat32 || tensor.dtype == DType::kFloat16;
  return tensor.unsupported.empty() && tensor.ranked && real && tensor.axes.size() == 3;
}

// The output to pool: the one of that name, or the only one that may be.
DeclaredTensor find_states(const std::vector<DeclaredTensor>& outputs, const std::string& name) {
  std::vector<DeclaredTensor> found;
  for (const DeclaredTensor& output : outputs) {
    if (name.empty() ? is_hidden_states(output) : output.name == name) found.push_back(output);
    if (output.name == kPooled) {
      refuse("the model gives " + std::string(kPooled) + " itself: leave pooling out and say outputs: ['" +
             kPooled + "']");
    }
  }
  if (found.size() > 1) {
    refuse("several outputs may be hidden states, " + listed(found) + ": name one in outputs");
  }
  if (found.size() == 1 && is_hidden_states(found[0])) return found[0];
  const std::string wanted = "hidden states are float32 or float16 [batch, sequence, hidden]";
  if (!name.empty())
    refuse("outputs names '" + name + "', but " + wanted + "; the model has: " + listed(outputs));
  refuse(wanted + ", and the model has no such output; it has: " + listed(outputs));
}

bool has_mask(const std::vector<DeclaredTensor>& inputs) {
  for (const DeclaredTensor& input : inputs) {
    if (input.name != kMask) continue;
    if (input.unsupported.empty() && input.ranked && input.axes.size() == 2) return true;
    refuse(std::string(kMask) + " is not a tensor [batch, sequence]");
  }
  return false;
}

// Nodes and constants to add to a graph. Values are called by their names.
class Additions {
 public:
  explicit Additions(int opset) : opset_(opset) {}

  std::string node(const char* type, const Names& inputs, std::vector<Ort::OpAttr> attributes = {}) {
    return node(type, inputs, fresh(type), std::move(attributes));
  }
  std::string node(const char* type, const Names& inputs, const std::string& output,
                   std::vector<Ort::OpAttr> attributes) {
    Ort::Node made(type, "", output, inputs, {output}, attributes);
    graph_.AddNode(made);
    return output;
  }

  std::string cast(const std::string& input, DType to) { return cast(input, to, fresh("Cast")); }
  std::string cast(const std::string& input, DType to, const std::string& output) {
    return node("Cast", {input}, output, integer("to", to_ort(to)));
  }
  // The sum over axis 1, which stays.
  std::string sum(const std::string& input) {
    if (opset_ >= kAxesAreInput) return node("ReduceSum", {input, ints({1})});
    const std::int64_t axis = 1;
    std::vector<Ort::OpAttr> axes;
    axes.emplace_back("axes", &axis, 1, ORT_OP_ATTR_INTS);
    return node("ReduceSum", {input}, std::move(axes));
  }
  std::string reshape(const std::string& input, std::initializer_list<std::int64_t> dims) {
    return node("Reshape", {input, ints(dims)});
  }

  std::string ints(std::initializer_list<std::int64_t> values) {
    return constant(values, {static_cast<std::int64_t>(values.size())});
  }
  std::string scalar(std::int64_t value) { return constant({value}, {}); }
  std::string scalar(float value) { return constant({value}, {}); }

  static std::vector<Ort::OpAttr> integer(const char* name, std::int64_t value) {
    std::vector<Ort::OpAttr> attributes;
    attributes.emplace_back(name, &value, 1, ORT_OP_ATTR_INT);
    return attributes;
  }

  // With `output` as the graph's only one.
  Ort::Model finish(Ort::ValueInfo output) {
    std::vector<Ort::ValueInfo> outputs;
    outputs.push_back(std::move(output));
    graph_.SetOutputs(outputs);
    const std::vector<Ort::Model::DomainOpsetPair> opsets = {{"", opset_}};
    Ort::Model model(opsets);
    model.AddGraph(graph_);
    return model;
  }

 private:
  std::string fresh(const char* kind) { return "batched/pooling/" + std::to_string(count_++) + "/" + kind; }

  template <typename T>
  std::string constant(std::initializer_list<T> values, const std::vector<std::int64_t>& dims) {
    const Ort::AllocatorWithDefaultOptions allocator;
    Ort::Value value = Ort::Value::CreateTensor<T>(allocator, dims.data(), dims.size());
    std::copy(values.begin(), values.end(), value.GetTensorMutableData<T>());
    std::string name = fresh("constant");
    graph_.AddInitializer(name, value, false);
    return name;
  }

  const int opset_;
  int count_ = 0;
  Ort::Graph graph_;
};

// weights [batch, sequence] x states [batch, sequence, hidden] -> [batch, hidden], in the type of both.
std::string weighted_sum(Additions& add, const std::string& weights, const std::string& states) {
  return add.reshape(add.node("MatMul", {add.reshape(weights, {0, 1, -1}), states}), {0, -1});
}

std::string mean(Additions& add, const DeclaredTensor& states) {
  const std::string mask = add.cast(kMask, DType::kFloat32);
  const std::string total = weighted_sum(add, mask, add.cast(states.name, DType::kFloat32));
  const std::string tokens = add.node("Max", {add.sum(mask), add.scalar(1.0F)});
  return add.node("Div", {total, tokens});
}

std::string first_token(Additions& add, const DeclaredTensor& states, bool masked) {
  if (!masked)
    return add.node("Gather", {states.name, add.scalar(std::int64_t{0})}, Additions::integer("axis", 1));
  // One where the first token is, found by counting along the mask: on the left there may be padding.
  const std::string mask = add.cast(kMask, DType::kFloat32);
  const std::string counted = add.node("CumSum", {mask, add.scalar(std::int64_t{1})});
  const std::string until_second = add.cast(add.node("Equal", {counted, add.scalar(1.0F)}), DType::kFloat32);
  const std::string first = add.node("Mul", {until_second, mask});
  return weighted_sum(add, add.cast(first, states.dtype), states.name);
}

std::string unit(Additions& add, const std::string& vector) {
  const std::string squares = add.sum(add.node("Mul", {vector, vector}));
  const std::string length = add.node("Max", {add.node("Sqrt", {squares}), add.scalar(1e-12F)});
  return add.node("Div", {vector, length});
}

Ort::ValueInfo pooled_info(const DeclaredTensor& states) {
  std::vector<std::int64_t> dims;
  std::vector<std::string> symbols;
  for (const std::size_t axis : {std::size_t{0}, std::size_t{2}}) {
    dims.push_back(states.axes[axis].size);
    symbols.push_back(states.axes[axis].symbol);
  }
  const Ort::TensorTypeAndShapeInfo shape(to_ort(states.dtype), dims, &symbols);
  return Ort::ValueInfo(kPooled, Ort::TypeInfo::CreateTensorInfo(shape.GetConst()).GetConst());
}

}  // namespace

Ort::Model pooling_of(const Ort::Session& session, const Pooling& pooling) {
  const DeclaredTensor states = find_states(declared_outputs(session), pooling.states);
  const bool masked = has_mask(declared_inputs(session));
  if (!masked && pooling.kind == Pooling::Kind::kMean) {
    refuse("a mean needs the model's input " + std::string(kMask) + ", and it has none: its inputs are " +
           listed(declared_inputs(session)));
  }
  const int opset = session.GetOpset("");
  if (opset < kOldestOpset) {
    refuse("the model is of ONNX opset " + std::to_string(opset) + ": export it with " +
           std::to_string(kOldestOpset) + " or newer");
  }
  Additions add(opset);
  std::string vector =
      pooling.kind == Pooling::Kind::kMean ? mean(add, states) : first_token(add, states, masked);
  if (pooling.normalize) vector = unit(add, add.cast(vector, DType::kFloat32));
  add.cast(vector, states.dtype, kPooled);  // ONNX Runtime drops casts from a type to itself
  return add.finish(pooled_info(states));
}

}  // namespace batched
