// What the files of kernels share: arguments by their places, elements by their types.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "device.h"

namespace emulator {

struct Launch {
  std::string_view name;  // mangled
  Size grid;
  Size block;
  void** arguments;

  bool has(std::string_view part) const { return name.find(part) != std::string_view::npos; }
  template <typename T>
  T get(int at) const {
    T value;
    std::memcpy(&value, arguments[at], sizeof value);
    return value;
  }
  void* pointer(int at) const { return get<void*>(at); }
};

// onnxruntime::cuda::DivMod<int>, by which kernels divide.
struct Divisor {
  int value;
  std::uint32_t magic;
  std::uint32_t shift;
};

// onnxruntime::cuda::TArray<T, 8>.
template <typename T>
struct Array8 {
  std::int32_t size;
  std::array<T, 8> data;
};

enum class Type : std::uint8_t { kNone, kFloat, kHalf, kLong, kInt, kByte };

inline double read(const std::byte* bytes, std::int64_t index, Type type) {
  switch (type) {
    case Type::kLong:
      return static_cast<double>(reinterpret_cast<const std::int64_t*>(bytes)[index]);
    case Type::kInt:
      return reinterpret_cast<const std::int32_t*>(bytes)[index];
    case Type::kByte:
      return std::to_integer<int>(bytes[index]);
    case Type::kHalf:
      return static_cast<double>(reinterpret_cast<const _Float16*>(bytes)[index]);
    default:
      return reinterpret_cast<const float*>(bytes)[index];
  }
}

inline void write(std::byte* bytes, std::int64_t index, Type type, double value) {
  switch (type) {
    case Type::kLong:
      reinterpret_cast<std::int64_t*>(bytes)[index] = static_cast<std::int64_t>(value);
      break;
    case Type::kInt:
      reinterpret_cast<std::int32_t*>(bytes)[index] = static_cast<std::int32_t>(value);
      break;
    case Type::kByte:
      bytes[index] = static_cast<std::byte>(value);
      break;
    case Type::kHalf:
      reinterpret_cast<_Float16*>(bytes)[index] = static_cast<_Float16>(value);
      break;
    default:
      reinterpret_cast<float*>(bytes)[index] = static_cast<float>(value);
  }
}

// Of a mangled list of template arguments, such as "Ifl...": the one at `at`, where all before it are plain
// types.
Type type_in(std::string_view arguments, int at);

// Each: the work of a launch; null if it is none of theirs.
Work elementwise_kernel(const Launch& launch);
Work transformer_kernel(const Launch& launch);

}  // namespace emulator
