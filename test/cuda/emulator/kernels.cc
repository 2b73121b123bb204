// The kernels that the emulated GPU knows: those of ONNX Runtime's CUDA provider that tests need. Each takes
// its arguments as that one's source declares them. The others do nothing, and the log names them.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "device.h"

namespace emulator {
namespace {

template <typename T>
T argument(void** arguments, int at) {
  T value;
  std::memcpy(&value, arguments[at], sizeof value);
  return value;
}

// onnxruntime::cuda::DivMod<int>: the divisor comes first.
int divisor(void** arguments, int at) { return argument<int>(arguments, at); }

bool has(std::string_view name, std::string_view part) { return name.find(part) != std::string_view::npos; }

// Element types as they are mangled in template arguments.
enum class Type : std::uint8_t { kNone, kFloat, kHalf, kLong, kInt, kByte };

// The `at`-th template argument of a kernel whose first ones are plain types, behind "<kernel>I".
Type type_at(std::string_view name, std::string_view kernel, int at) {
  std::size_t i = name.find(kernel);
  if (i == std::string_view::npos) return Type::kNone;
  i += kernel.size() + 1;
  for (;; --at) {
    const std::string_view rest = name.substr(i);
    // Later ones may refer back to __half.
    const bool half = rest.starts_with("6__half");
    if (at == 0) {
      if (half || rest.starts_with("S")) return Type::kHalf;
      return rest[0] == 'f'   ? Type::kFloat
             : rest[0] == 'l' ? Type::kLong
             : rest[0] == 'i' ? Type::kInt
             : rest[0] == 'h' ? Type::kByte
                              : Type::kNone;
    }
    i += half ? 7 : rest.starts_with("S") ? rest.find('_') + 1 : 1;
  }
}

double read(const std::byte* bytes, std::int64_t index, Type type) {
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

void write(std::byte* bytes, std::int64_t index, Type type, double value) {
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

using Binary = double (*)(double, double);

Binary binary_of(std::string_view name) {
  if (has(name, "OP_Add")) return [](double a, double b) { return a + b; };
  if (has(name, "OP_Mul")) return [](double a, double b) { return a * b; };
  if (has(name, "OP_Sub")) return [](double a, double b) { return a - b; };
  if (has(name, "OP_Div")) return [](double a, double b) { return a / b; };
  if (has(name, "OP_Max")) return [](double a, double b) { return std::fmax(a, b); };
  return nullptr;
}

using Unary = double (*)(double);

Unary unary_of(std::string_view name) {
  if (has(name, "OP_Cast")) return [](double a) { return a; };
  if (has(name, "OP_Sqrt")) return [](double a) { return std::sqrt(a); };
  return nullptr;
}

// (lhs, rhs, out, operation, n): an operand that does not go along with the output is a scalar.
Work binary_simple(std::string_view name, void** arguments) {
  constexpr std::string_view kKernel = "_BinaryElementWiseSimple";
  const Binary operation = binary_of(name);
  const std::string_view flags =
      name.substr(name.find(kKernel) + kKernel.size() + 1);  // such as Lb1ELb0Efff...
  const bool left = flags.starts_with("Lb1E");
  const bool right = flags.substr(4).starts_with("Lb1E");
  const std::string_view types = flags.substr(8);
  const Type type = types.starts_with("fff")   ? Type::kFloat
                    : types.starts_with("lll") ? Type::kLong
                                               : Type::kNone;
  if (operation == nullptr || type == Type::kNone) return nullptr;
  return [=, a = argument<void*>(arguments, 0), b = argument<void*>(arguments, 1),
          to = argument<void*>(arguments, 2), n = argument<int>(arguments, 4)] {
    for (int i = 0; i < n; ++i) {
      const double value =
          operation(read(bytes_at(a), left ? i : 0, type), read(bytes_at(b), right ? i : 0, type));
      write(bytes_at(to), i, type, value);
    }
  };
}

// (lhs, rhs, h, out, operation, n): the right operand has an element for every h of the output.
Work binary_per_channel(std::string_view name, void** arguments) {
  const Binary operation = binary_of(name);
  if (operation == nullptr || !has(name, "Batch1Ifff")) return nullptr;
  return [=, a = argument<void*>(arguments, 0), b = argument<void*>(arguments, 1), h = divisor(arguments, 2),
          to = argument<void*>(arguments, 3), n = argument<int>(arguments, 5)] {
    for (int i = 0; i < n; ++i)
      at<float>(to)[i] = static_cast<float>(operation(at<float>(a)[i], at<float>(b)[i / h]));
  };
}

// (in, out, operation, n)
Work unary(std::string_view name, void** arguments) {
  const Unary operation = unary_of(name);
  const Type from_type = type_at(name, "_UnaryElementWise", 0);
  const Type to_type = type_at(name, "_UnaryElementWise", 1);
  if (operation == nullptr || from_type == Type::kNone || to_type == Type::kNone) return nullptr;
  return [=, from = argument<void*>(arguments, 0), to = argument<void*>(arguments, 1),
          n = argument<std::int64_t>(arguments, 3)] {
    for (std::int64_t i = 0; i < n; ++i)
      write(bytes_at(to), i, to_type, operation(read(bytes_at(from), i, from_type)));
  };
}

// (block of the input, number of indices, block of the output, block, indices, their size, in, out, n)
Work gather(std::string_view name, void** arguments) {
  const std::size_t size = has(name, "_GatherKernelIi")   ? 4
                           : has(name, "_GatherKernelIs") ? 2
                           : has(name, "_GatherKernelIl") ? 8
                                                          : 0;
  if (size == 0) return nullptr;
  return [=, input_block = argument<std::int64_t>(arguments, 0), most = argument<std::int64_t>(arguments, 1),
          output_block = divisor(arguments, 2), block = divisor(arguments, 3),
          indices = argument<void*>(arguments, 4), index_size = argument<std::size_t>(arguments, 5),
          from = argument<void*>(arguments, 6), to = argument<void*>(arguments, 7),
          n = argument<int>(arguments, 8)] {
    for (int i = 0; i < n; ++i) {
      const int in_block = i % output_block;
      const int which = in_block / block;
      std::int64_t index =
          index_size == 8 ? at<std::int64_t>(indices)[which] : at<std::int32_t>(indices)[which];
      if (index < 0) index += most;
      std::byte* const place = bytes_at(to) + static_cast<std::size_t>(i) * size;
      if (index < 0 || index >= most) {
        std::memset(place, 0, size);
      } else {
        const std::int64_t source = i / output_block * input_block + index * block + in_block % block;
        std::memcpy(place, bytes_at(from) + static_cast<std::size_t>(source) * size, size);
      }
    }
  };
}

// (block with the axis, block within it, sizes, where each ends, which input an index is of, out, inputs, n),
// all of them but the blocks and n in device memory.
Work concat(std::string_view name, void** arguments) {
  if (!has(name, "_ConcatKernelIiE")) return nullptr;
  return [whole = divisor(arguments, 0), inside = divisor(arguments, 1),
          sizes = argument<void*>(arguments, 2), ends = argument<void*>(arguments, 3),
          inputs_at = argument<void*>(arguments, 4), to = argument<void*>(arguments, 5),
          inputs = argument<void*>(arguments, 6), n = argument<int>(arguments, 7)] {
    for (int i = 0; i < n; ++i) {
      const int along = i % whole / inside;
      const auto input = at<std::int64_t>(inputs_at)[along];
      const std::int64_t begin = input == 0 ? 0 : at<std::int64_t>(ends)[input - 1];
      const std::int64_t block = inside * at<std::int64_t>(sizes)[input];
      const std::int64_t from = i / whole * block + (along - begin) * inside + i % inside;
      at<std::int32_t>(to)[i] = at<std::int32_t>(at<void*>(inputs)[input])[from];
    }
  };
}

// (rows, columns, in, out, ...): the sum of every row.
Work sum_columns(std::string_view name, void** arguments) {
  if (!has(name, "kernelIfff")) return nullptr;
  const double divide = has(name, "Lb1E") ? argument<int>(arguments, 1) : 1;
  return [=, rows = argument<int>(arguments, 0), columns = argument<int>(arguments, 1),
          from = argument<void*>(arguments, 2), to = argument<void*>(arguments, 3)] {
    for (int row = 0; row < rows; ++row) {
      double sum = 0;
      for (int column = 0; column < columns; ++column) sum += at<float>(from)[row * columns + column];
      at<float>(to)[row] = static_cast<float>(sum / divide);
    }
  };
}

// (in, out, rows, columns): adds every column's sum to what is there.
Work sum_rows(std::string_view name, void** arguments) {
  if (!has(name, "kernelIfff")) return nullptr;
  return [from = argument<void*>(arguments, 0), to = argument<void*>(arguments, 1),
          rows = argument<int>(arguments, 2), columns = argument<int>(arguments, 3)] {
    for (int column = 0; column < columns; ++column) {
      double sum = 0;
      for (int row = 0; row < rows; ++row) sum += at<float>(from)[row * columns + column];
      at<float>(to)[column] += static_cast<float>(sum);
    }
  };
}

Work kernel_of(std::string_view name, void** arguments) {
  if (has(name, "_BinaryElementWiseSimple")) return binary_simple(name, arguments);
  if (has(name, "_BinaryElementWiseRhsPerChannelBatch1")) return binary_per_channel(name, arguments);
  if (has(name, "_UnaryElementWise")) return unary(name, arguments);
  if (has(name, "_GatherKernel")) return gather(name, arguments);
  if (has(name, "_ConcatKernel")) return concat(name, arguments);
  if (has(name, "reduce_matrix_columns_kernel")) return sum_columns(name, arguments);
  if (has(name, "reduce_matrix_rows_kernel")) return sum_rows(name, arguments);
  return nullptr;
}

}  // namespace

Error launch_kernel(const char* name, void** arguments, Stream& stream) {
  Work work = kernel_of(name, arguments);
  if (work == nullptr) {
    (void)enter((std::string("unknown kernel ") + name).c_str());
    work = [] {};
  }
  return stream.enqueue("kernel", std::move(work));
}

}  // namespace emulator
