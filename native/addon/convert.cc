#include "convert.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>

#include "engine/half.h"

namespace batched {
namespace {

struct Bool {
  std::uint8_t value;
};

// Calls `visit` with a value of the C++ type that stores the dtype.
template <typename Visit>
Status with_type(DType dtype, Visit visit) {
  switch (dtype) {
    case DType::kFloat32:
      return visit(float{});
    case DType::kFloat64:
      return visit(double{});
    case DType::kInt8:
      return visit(std::int8_t{});
    case DType::kInt16:
      return visit(std::int16_t{});
    case DType::kInt32:
      return visit(std::int32_t{});
    case DType::kInt64:
      return visit(std::int64_t{});
    case DType::kUint8:
      return visit(std::uint8_t{});
    case DType::kUint16:
      return visit(std::uint16_t{});
    case DType::kUint32:
      return visit(std::uint32_t{});
    case DType::kUint64:
      return visit(std::uint64_t{});
    case DType::kBool:
      return visit(Bool{});
    case DType::kFloat16:
      return visit(Half{});
  }
  return {Code::kInvalidInput, "its type is unknown"};
}

// What an element stands for, in a type that can be counted with.
template <typename T>
T number_of(T element) {
  return element;
}
float number_of(Half element) { return to_float(element); }

template <typename To, typename From>
bool fits(From value) {
  if constexpr (std::is_same_v<To, Half>) {
    // From here on the nearest float is 65520, and the half nearest to that is infinite.
    constexpr double kAbove = 65519.998046875;
    const auto wide = static_cast<double>(value);
    return !std::isfinite(wide) || std::abs(wide) < kAbove;
  } else if constexpr (std::is_floating_point_v<To>) {
    return true;
  } else if constexpr (std::is_floating_point_v<From>) {
    // The bounds are powers of two, so they are exact as floats; max() itself may not be.
    const double low = static_cast<double>(std::numeric_limits<To>::min());
    const double above = std::ldexp(1.0, std::numeric_limits<To>::digits);
    return value >= low && value < above && std::trunc(value) == value;
  } else {
    return std::in_range<To>(value);
  }
}

template <typename To, typename From>
To made_of(From value) {
  if constexpr (std::is_same_v<To, Half>) {
    return to_half(static_cast<float>(value));
  } else {
    return static_cast<To>(value);
  }
}

template <typename From, typename To>
Status convert(const std::byte* source, std::byte* destination, std::size_t count, DType to_type) {
  for (std::size_t i = 0; i < count; ++i) {
    From element;
    std::memcpy(&element, source + i * sizeof(From), sizeof(From));
    const auto from = number_of(element);
    if constexpr (std::is_same_v<To, Bool>) {
      if (!(from == 0 || from == 1)) {
        return {Code::kInvalidInput, "element " + std::to_string(i) + " is " + std::to_string(from) +
                                         ", which is neither 0 nor 1 (bool)"};
      }
      destination[i] = static_cast<std::byte>(from != 0);
    } else {
      if (!fits<To>(from)) {
        return {Code::kInvalidInput, "element " + std::to_string(i) + " is " + std::to_string(from) +
                                         ", which does not fit " + dtype_name(to_type)};
      }
      const To to = made_of<To>(from);
      std::memcpy(destination + i * sizeof(To), &to, sizeof(To));
    }
  }
  return Status::okay();
}

}  // namespace

Status convert_elements(DType from, const std::byte* source, DType to, std::byte* destination,
                        std::size_t count) {
  if (from == to) {
    if (count > 0) std::memcpy(destination, source, count * element_size(to));
    return Status::okay();
  }
  return with_type(from, [&](auto from_value) {
    return with_type(to, [&](auto to_value) -> Status {
      using From =
          std::conditional_t<std::is_same_v<decltype(from_value), Bool>, std::uint8_t, decltype(from_value)>;
      return convert<From, decltype(to_value)>(source, destination, count, to);
    });
  });
}

}  // namespace batched
