#include "ort_types.h"

#include <array>
#include <utility>

#include "ort_library.h"

namespace batched {
namespace {

constexpr std::array<std::pair<DType, ONNXTensorElementDataType>, 12> kTypes = {{
    {DType::kFloat32, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {DType::kFloat64, ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE},
    {DType::kFloat16, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16},
    {DType::kInt8, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8},
    {DType::kInt16, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16},
    {DType::kInt32, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32},
    {DType::kInt64, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64},
    {DType::kUint8, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
    {DType::kUint16, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16},
    {DType::kUint32, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32},
    {DType::kUint64, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64},
    {DType::kBool, ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL},
}};

const char* kind_name(ONNXType kind) {
  switch (kind) {
    case ONNX_TYPE_SEQUENCE:
      return "sequence";
    case ONNX_TYPE_MAP:
      return "map";
    case ONNX_TYPE_SPARSETENSOR:
      return "sparse tensor";
    case ONNX_TYPE_OPTIONAL:
      return "optional";
    default:
      return "unknown";
  }
}

// The function that tells a scalar from a tensor of unknown rank is new in API 24. An older library
// shows both with no dimensions.
bool has_shape(const Ort::ConstTensorTypeAndShapeInfo& info) {
  constexpr int kSince = 24;
  return ort_library()->api < kSince || Ort::GetApi().TensorTypeAndShape_HasShape(info);
}

DeclaredTensor declared(std::string name, const Ort::TypeInfo& type) {
  DeclaredTensor tensor;
  tensor.name = std::move(name);
  if (type.GetONNXType() != ONNX_TYPE_TENSOR) {
    tensor.unsupported = kind_name(type.GetONNXType());
    return tensor;
  }
  const Ort::ConstTensorTypeAndShapeInfo info = type.GetTensorTypeAndShapeInfo();
  if (!from_ort(info.GetElementType(), &tensor.dtype)) {
    tensor.unsupported = ort_type_name(info.GetElementType());
  }
  tensor.ranked = has_shape(info);
  const std::vector<std::int64_t> dims = info.GetShape();
  const std::vector<const char*> symbols = info.GetSymbolicDimensions();
  for (std::size_t i = 0; i < dims.size(); ++i) {
    Axis axis;
    if (dims[i] >= 0) axis.size = dims[i];
    if (axis.dynamic() && symbols[i] != nullptr) axis.symbol = symbols[i];
    tensor.axes.push_back(std::move(axis));
  }
  return tensor;
}

}  // namespace

ONNXTensorElementDataType to_ort(DType dtype) {
  for (const auto& [ours, theirs] : kTypes) {
    if (ours == dtype) return theirs;
  }
  return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

bool from_ort(ONNXTensorElementDataType type, DType* dtype) {
  for (const auto& [ours, theirs] : kTypes) {
    if (theirs != type) continue;
    *dtype = ours;
    return true;
  }
  return false;
}

const char* ort_type_name(ONNXTensorElementDataType type) {
  if (DType dtype{}; from_ort(type, &dtype)) return dtype_name(dtype);
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING:
      return "string";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
      return "bfloat16";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX64:
      return "complex64";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX128:
      return "complex128";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FN:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FNUZ:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2FNUZ:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E8M0:
      return "float8";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT4E2M1:
      return "float4";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT4:
      return "uint4";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT4:
      return "int4";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT2:
      return "uint2";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT2:
      return "int2";
    default:
      return "unknown";
  }
}

Status view_output(Ort::Value& value, const TensorSpec& spec, TensorView* view) {
  const auto wrong = [&](const std::string& what) {
    return Status(Code::kBackend, "output '" + spec.name + "' " + what);
  };
  if (!value.HasValue() || !value.IsTensor()) return wrong("is not a tensor");
  const Ort::TensorTypeAndShapeInfo info = value.GetTensorTypeAndShapeInfo();
  if (info.GetElementType() != to_ort(spec.dtype)) {
    return wrong(std::string("is ") + ort_type_name(info.GetElementType()) + ", not " +
                 dtype_name(spec.dtype));
  }
  const std::size_t rank = info.GetDimensionsCount();
  if (rank > Dims::kMaxRank) {
    return wrong("has " + std::to_string(rank) + " axes, more than " + std::to_string(Dims::kMaxRank));
  }
  // GetTensorRawData would call an entry that the tables of libraries before 1.23 end before.
  *view = {spec.dtype, {}, static_cast<const std::byte*>(value.GetTensorMutableRawData())};
  for (const std::int64_t dim : info.GetShape()) view->dims.push_back(dim);
  return {};
}

std::vector<DeclaredTensor> declared_inputs(const Ort::Session& session) {
  Ort::AllocatorWithDefaultOptions allocator;
  std::vector<DeclaredTensor> tensors;
  for (std::size_t i = 0; i < session.GetInputCount(); ++i) {
    tensors.push_back(
        declared(session.GetInputNameAllocated(i, allocator).get(), session.GetInputTypeInfo(i)));
  }
  return tensors;
}

std::vector<DeclaredTensor> declared_outputs(const Ort::Session& session) {
  Ort::AllocatorWithDefaultOptions allocator;
  std::vector<DeclaredTensor> tensors;
  for (std::size_t i = 0; i < session.GetOutputCount(); ++i) {
    tensors.push_back(
        declared(session.GetOutputNameAllocated(i, allocator).get(), session.GetOutputTypeInfo(i)));
  }
  return tensors;
}

}  // namespace batched
