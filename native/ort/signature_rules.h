// From what a model declares to the engine's Signature: which axis is the batch, and what can't be
// batched. Pure, and free of ONNX Runtime. Private to native/ort.
#pragma once

#include <string>
#include <vector>

#include "engine/status.h"
#include "engine/tensor.h"
#include "ort_model.h"

namespace batched {

// One input or output as the model declares it.
struct DeclaredTensor {
  std::string name;
  std::string unsupported;  // the type in words, if it isn't a tensor of one of our element types
  DType dtype = DType::kFloat32;
  bool ranked = true;  // false: the model doesn't say how many axes there are
  std::vector<Axis> axes;
};

// Applies `options` to what the model declares. kInvalidInput names the tensor, its dimensions and the
// option that may help, or the option with the unknown name and the names there are.
//
// An input's batch axis is the one given, else 0. An output's is the one given, else the first axis with
// the symbol of an input's batch axis, else the one whose size tells. Where that leaves several, axis 0 is
// taken only if every input has its batch there.
Status make_signature(const std::vector<DeclaredTensor>& inputs, const std::vector<DeclaredTensor>& outputs,
                      const ModelOptions& options, Signature* signature);

}  // namespace batched
