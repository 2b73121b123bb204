// Writes small ONNX models for tests, in memory. ONNX is protobuf; only what the tests need is here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

namespace batched::testing {

// The element types of TensorProto.
enum class OnnxType : std::uint8_t {
  kFloat = 1,
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kInt32,
  kInt64,
  kString,
  kBool,
  kFloat16,
  kDouble,
  kUint32,
  kUint64,
  kComplex64,
  kComplex128,
  kBfloat16,
};

// A size, or a symbol ("" for a dimension that is neither).
struct OnnxDim {
  OnnxDim(int value) : size(value) {}          // NOLINT: reads as the dimension it is
  OnnxDim(const char* name) : symbol(name) {}  // NOLINT
  std::int64_t size = -1;
  std::string symbol;
};
using OnnxDims = std::vector<OnnxDim>;

// A model of one graph, opset 17 unless told otherwise.
class TinyOnnx {
 public:
  TinyOnnx& input(const std::string& name, OnnxType type, const OnnxDims& dims) {
    graph_ += bytes(11, value_info(name, bytes(1, tensor_type(type, dims))));
    return *this;
  }
  TinyOnnx& output(const std::string& name, OnnxType type, const OnnxDims& dims) {
    graph_ += bytes(12, value_info(name, bytes(1, tensor_type(type, dims))));
    return *this;
  }
  TinyOnnx& unranked_output(const std::string& name, OnnxType type) {
    graph_ += bytes(12, value_info(name, bytes(1, number(1, static_cast<std::uint64_t>(type)))));
    return *this;
  }
  TinyOnnx& sequence_output(const std::string& name, OnnxType type) {
    const std::string element = bytes(1, number(1, static_cast<std::uint64_t>(type)));
    graph_ += bytes(12, value_info(name, bytes(4, bytes(1, element))));
    return *this;
  }

  struct Attribute {
    std::string name;
    std::int64_t value;
  };
  TinyOnnx& node(const std::string& type, const std::vector<std::string>& inputs,
                 const std::vector<std::string>& outputs, std::initializer_list<Attribute> attributes = {}) {
    constexpr std::uint64_t kInt = 2;
    std::string node;
    for (const std::string& name : inputs) node += bytes(1, name);
    for (const std::string& name : outputs) node += bytes(2, name);
    node += bytes(4, type);
    for (const Attribute& attribute : attributes) {
      node += bytes(5, bytes(1, attribute.name) + number(3, static_cast<std::uint64_t>(attribute.value)) +
                           number(20, kInt));
    }
    graph_ += bytes(1, node);
    return *this;
  }

  TinyOnnx& ints(const std::string& name, const std::vector<std::int64_t>& values) {
    return initializer(name, OnnxType::kInt64, {static_cast<std::int64_t>(values.size())},
                       bytes(9, raw(values)));
  }
  TinyOnnx& floats(const std::string& name, const std::vector<std::int64_t>& dims,
                   const std::vector<float>& values) {
    return initializer(name, OnnxType::kFloat, dims, bytes(9, raw(values)));
  }
  // Floats that lie in a file beside the model's.
  TinyOnnx& floats_in_file(const std::string& name, const std::vector<std::int64_t>& dims,
                           const std::string& file) {
    constexpr std::uint64_t kExternal = 1;
    return initializer(name, OnnxType::kFloat, dims,
                       bytes(13, bytes(1, "location") + bytes(2, file)) + number(14, kExternal));
  }

  TinyOnnx& opset(std::uint64_t version) {
    opset_ = version;
    return *this;
  }

  std::vector<std::byte> build() const {
    const std::string model =
        number(1, 8) + bytes(7, bytes(2, "tiny") + graph_) + bytes(8, bytes(1, "") + number(2, opset_));
    std::vector<std::byte> built(model.size());
    std::memcpy(built.data(), model.data(), model.size());
    return built;
  }

 private:
  static std::string varint(std::uint64_t value) {
    std::string text;
    for (; value >= 0x80; value >>= 7) text += static_cast<char>(value | 0x80);
    return text + static_cast<char>(value);
  }
  static std::string number(std::uint64_t field, std::uint64_t value) {
    return varint(field << 3) + varint(value);
  }
  static std::string bytes(std::uint64_t field, const std::string& content) {
    return varint(field << 3 | 2) + varint(content.size()) + content;
  }
  template <typename T>
  static std::string raw(const std::vector<T>& values) {
    return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
  }
  static std::string tensor_type(OnnxType type, const OnnxDims& dims) {
    std::string shape;
    for (const OnnxDim& dim : dims) {
      std::string one;
      if (dim.size >= 0) one = number(1, static_cast<std::uint64_t>(dim.size));
      if (!dim.symbol.empty()) one = bytes(2, dim.symbol);
      shape += bytes(1, one);
    }
    return number(1, static_cast<std::uint64_t>(type)) + bytes(2, shape);
  }
  static std::string value_info(const std::string& name, const std::string& type) {
    return bytes(1, name) + bytes(2, type);
  }
  TinyOnnx& initializer(const std::string& name, OnnxType type, const std::vector<std::int64_t>& dims,
                        const std::string& data) {
    std::string tensor;
    for (const std::int64_t dim : dims) tensor += number(1, static_cast<std::uint64_t>(dim));
    graph_ += bytes(5, tensor + number(2, static_cast<std::uint64_t>(type)) + bytes(8, name) + data);
    return *this;
  }

  std::string graph_;
  std::uint64_t opset_ = 17;
};

}  // namespace batched::testing
