// Whatever a model declares and whatever the options say: the rules either refuse it in words, or make a
// signature that the rest of the engine can rely on.
#include "engine/row_check.h"
#include "fuzz_input.h"
#include "ort/signature_rules.h"

namespace batched {
namespace {

const char* const kNames[] = {"x", "y", "z", "attention_mask", ""};
const char* const kSymbols[] = {"", "batch", "length", "N"};
// Real sizes, the edges of what is allowed, and what a hostile file may say.
constexpr std::int64_t kSizes[] = {-1, -1, -1, 1, 2, 3, 8, 0, 1LL << 31, 1LL << 40, INT64_MAX, -7, INT64_MIN};

template <typename T, std::size_t N>
const T& one_of(FuzzInput& input, const T (&values)[N]) {
  return values[input.between<std::size_t>(0, N - 1)];
}

std::vector<DeclaredTensor> tensors(FuzzInput& input) {
  std::vector<DeclaredTensor> tensors(input.between<std::size_t>(0, 4));
  for (DeclaredTensor& tensor : tensors) {
    tensor.name = one_of(input, kNames);
    tensor.dtype = input.dtype();
    if (input.between(0, 20) == 0) tensor.unsupported = "sequence";
    tensor.ranked = input.between(0, 10) != 0;
    tensor.axes.resize(tensor.ranked ? input.between<std::size_t>(0, 9) : 0);
    for (Axis& axis : tensor.axes) {
      axis.size = one_of(input, kSizes);
      if (axis.dynamic()) axis.symbol = one_of(input, kSymbols);
    }
  }
  return tensors;
}

void check_tensor(const TensorSpec& spec, bool ranked) {
  FUZZ_CHECK(spec.axes.size() <= Dims::kMaxRank);
  if (!ranked || spec.shared()) return;
  FUZZ_CHECK(spec.batch_axis >= 0 && static_cast<std::size_t>(spec.batch_axis) < spec.axes.size());
}

bool ranked(const std::vector<DeclaredTensor>& tensors, const std::string& name) {
  for (const DeclaredTensor& tensor : tensors) {
    if (tensor.name == name) return tensor.ranked;
  }
  return false;
}

void check(FuzzInput& input) {
  const std::vector<DeclaredTensor> inputs = tensors(input);
  const std::vector<DeclaredTensor> outputs = tensors(input);
  ModelOptions options;
  for (auto n = input.between(0, 2); n > 0; --n) options.outputs.emplace_back(one_of(input, kNames));
  for (auto n = input.between(0, 2); n > 0; --n)
    options.batch_axis[one_of(input, kNames)] = input.between(-9, 9);
  for (auto n = input.between(0, 2); n > 0; --n) options.shared.insert(one_of(input, kNames));
  for (auto n = input.between(0, 2); n > 0; --n) options.pad_values[one_of(input, kNames)] = input.number();

  Signature signature;
  const Status status = make_signature(inputs, outputs, options, &signature);
  if (!status.ok()) {
    FUZZ_CHECK(status.code() == Code::kInvalidInput && !status.message().empty());
    FUZZ_CHECK(signature.inputs.empty() && signature.outputs.empty());
    return;
  }
  FUZZ_CHECK(signature.inputs.size() == inputs.size() && !signature.outputs.empty());
  FUZZ_CHECK(signature.fixed_batch >= 0);
  bool batched = false;
  for (const TensorSpec& spec : signature.inputs) {
    check_tensor(spec, true);
    if (spec.shared()) continue;
    batched = true;
    const Axis& axis = spec.axes[static_cast<std::size_t>(spec.batch_axis)];
    FUZZ_CHECK(signature.fixed_batch > 0 ? axis.size == signature.fixed_batch : axis.dynamic());
  }
  FUZZ_CHECK(batched);
  for (const TensorSpec& spec : signature.outputs) {
    FUZZ_CHECK(!spec.shared());
    check_tensor(spec, ranked(outputs, spec.name));
  }
  const BatchLayout layout(signature, PaddingSide::kRight);

  // A row of whatever dimensions is refused or not; it is never read past its rank.
  std::vector<RowInput> row(signature.inputs.size());
  for (RowInput& part : row) {
    for (auto n = input.between<std::size_t>(0, Dims::kMaxRank); n > 0; --n)
      part.dims.push_back(input.between(0, 3));
  }
  if (check_row(signature, row).ok()) FUZZ_CHECK(length_of(signature, row) >= 1);
}

}  // namespace
}  // namespace batched

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  batched::FuzzInput input(data, size);
  batched::check(input);
  return 0;
}
