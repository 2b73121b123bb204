// Loading small models and running single batches of them, for the tests of native/ort.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "ort/ort_model.h"
#include "tiny_onnx.h"

namespace batched::testing {

template <typename T>
std::vector<T> values(const TensorView& view) {
  std::vector<T> copy(view.dims.elements());
  if (!copy.empty()) std::memcpy(copy.data(), view.data, copy.size() * sizeof(T));
  return copy;
}

template <typename T>
std::vector<std::byte> bytes_of(const std::vector<T>& elements) {
  std::vector<std::byte> bytes(elements.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), elements.data(), bytes.size());
  return bytes;
}

inline BatchShape shape_of(std::vector<Dims> inputs) {
  BatchShape shape;
  shape.rows = 1;
  shape.inputs = std::move(inputs);
  return shape;
}

inline Status load(const TinyOnnx& onnx, ModelOptions options, std::unique_ptr<OrtModel>* model) {
  options.bytes = onnx.build();
  return OrtModel::load(std::move(options), model);
}

// One run with the given bytes as inputs. The answer is that of run().
inline Status run(Lane& lane, std::size_t slot, const BatchShape& shape,
                  const std::vector<std::vector<std::byte>>& inputs, bool alone = false) {
  std::vector<std::byte*> memory;
  Status status = lane.stage(slot, shape, &memory);
  if (!status.ok()) return status;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory[i]) % 64, 0U);
    if (!inputs[i].empty()) std::memcpy(memory[i], inputs[i].data(), inputs[i].size());
  }
  int calls = 0;
  lane.run(slot, shape, alone, [&](Status result) {
    status = std::move(result);
    ++calls;
  });
  EXPECT_EQ(calls, 1);
  return status;
}

}  // namespace batched::testing
