// IEEE half precision, which C++20 has no type for: its bits and the numbers they stand for.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace batched {

struct Half {
  std::uint16_t bits;
};

// The half nearest to `value`, ties to even. From 65520 on it is an infinity.
inline Half to_half(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000;
  const std::uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return {static_cast<std::uint16_t>(sign | 0x7e00)};
  if (magnitude >= 0x477ff000) return {static_cast<std::uint16_t>(sign | 0x7c00)};
  if (magnitude < 0x38800000) {
    const float scaled = std::bit_cast<float>(magnitude) * 16777216.0F;  // in units of 2^-24
    return {static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(std::nearbyint(scaled)))};
  }
  const std::uint32_t rounded = magnitude - 0x38000000 + 0x0fff + ((magnitude >> 13) & 1);
  return {static_cast<std::uint16_t>(sign | (rounded >> 13))};
}

// Exact.
inline float to_float(Half half) {
  const std::uint32_t sign = std::uint32_t{half.bits & 0x8000U} << 16;
  const std::uint32_t magnitude = half.bits & 0x7fffU;
  if (magnitude < 0x0400) {  // in units of 2^-24
    return std::bit_cast<float>(sign |
                                std::bit_cast<std::uint32_t>(static_cast<float>(magnitude) / 16777216.0F));
  }
  // Infinities and NaNs have all exponent bits, in a float too.
  const std::uint32_t rebias = magnitude >= 0x7c00 ? 0x70000000 : 0x38000000;
  return std::bit_cast<float>(sign | ((magnitude << 13) + rebias));
}

}  // namespace batched
