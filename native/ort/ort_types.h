// ONNX Runtime's element types and declarations in our terms. Private to native/ort.
#pragma once

#include <vector>

#include "engine/status.h"
#include "engine/tensor.h"
#include "ort_api.h"
#include "signature_rules.h"

namespace batched {

ONNXTensorElementDataType to_ort(DType dtype);

// False if the engine has no such type.
bool from_ort(ONNXTensorElementDataType type, DType* dtype);

// In words, such as "string" or "bfloat16".
const char* ort_type_name(ONNXTensorElementDataType type);

// A run's output as it turned out, wherever its data lies. kBackend if it is not what `spec` says.
Status view_output(Ort::Value& value, const TensorSpec& spec, TensorView* view);

// What the session's model declares. Throws Ort::Exception.
std::vector<DeclaredTensor> declared_inputs(const Ort::Session& session);
std::vector<DeclaredTensor> declared_outputs(const Ort::Session& session);

}  // namespace batched
