// Any elements of any type to any type: either an element is named that does not fit, or every one that was
// written stands for the same number as the one it was made of.
#include <cmath>
#include <cstring>

#include "addon/convert.h"
#include "engine/half.h"
#include "fuzz_input.h"

namespace batched {
namespace {

template <typename T>
long double load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return static_cast<long double>(value);
}

// Wide enough for every integer and float that a tensor may hold.
long double number_at(DType dtype, const std::byte* data, std::size_t index) {
  const std::byte* const at = data + index * element_size(dtype);
  switch (dtype) {
    case DType::kFloat32:
      return load<float>(at);
    case DType::kFloat64:
      return load<double>(at);
    case DType::kInt8:
      return load<std::int8_t>(at);
    case DType::kInt16:
      return load<std::int16_t>(at);
    case DType::kInt32:
      return load<std::int32_t>(at);
    case DType::kInt64:
      return load<std::int64_t>(at);
    case DType::kUint8:
    case DType::kBool:
      return load<std::uint8_t>(at);
    case DType::kUint16:
      return load<std::uint16_t>(at);
    case DType::kFloat16:
      return to_float(Half{static_cast<std::uint16_t>(load<std::uint16_t>(at))});
    case DType::kUint32:
      return load<std::uint32_t>(at);
    case DType::kUint64:
      return load<std::uint64_t>(at);
  }
  return 0;
}

bool is_float(DType dtype) { return dtype == DType::kFloat32 || dtype == DType::kFloat64; }

bool same_number(DType to, long double from, long double made) {
  if (std::isnan(from)) return std::isnan(made);
  if (to == DType::kFloat32) return made == static_cast<long double>(static_cast<float>(from));
  if (to == DType::kFloat64) return made == static_cast<long double>(static_cast<double>(from));
  if (to == DType::kFloat16)
    return made == static_cast<long double>(to_float(to_half(static_cast<float>(from))));
  return made == from;
}

void check(FuzzInput& input) {
  const DType from = input.dtype();
  const DType to = input.dtype();
  const auto count = input.between<std::size_t>(0, 16);
  const std::vector<std::byte> source = input.bytes(count * element_size(from));
  std::vector<std::byte> made(count * element_size(to), std::byte{0x5a});
  const Status status = convert_elements(from, source.data(), to, made.data(), count);
  if (!status.ok()) {
    FUZZ_CHECK(status.code() == Code::kInvalidInput && !status.message().empty());
    FUZZ_CHECK(from != to);
    FUZZ_CHECK(!is_float(to));  // every number is some float; float16 ends early
    return;
  }
  for (std::size_t i = 0; i < count; ++i) {
    FUZZ_CHECK(same_number(to, number_at(from, source.data(), i), number_at(to, made.data(), i)));
  }
}

}  // namespace
}  // namespace batched

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  batched::FuzzInput input(data, size);
  batched::check(input);
  return 0;
}
