// Kernels of ONNX Runtime's CUDA provider that go over elements: arithmetic with broadcasting, casts, sums of
// rows and columns, Gather, Slice, Concat. Each takes its arguments as that one's source declares them.
#include <cmath>

#include "kernels.h"

namespace emulator {
namespace {

std::string_view after(const Launch& launch, std::string_view part) {
  return launch.name.substr(launch.name.find(part) + part.size());
}

using Binary = double (*)(double, double);

Binary binary_of(const Launch& launch) {
  if (launch.has("OP_Add")) return [](double a, double b) { return a + b; };
  if (launch.has("OP_Mul")) return [](double a, double b) { return a * b; };
  if (launch.has("OP_Sub")) return [](double a, double b) { return a - b; };
  if (launch.has("OP_Div")) return [](double a, double b) { return a / b; };
  if (launch.has("OP_Max")) return [](double a, double b) { return std::fmax(a, b); };
  return nullptr;
}

using Unary = double (*)(double);

Unary unary_of(const Launch& launch) {
  if (launch.has("OP_Cast")) return [](double a) { return a; };
  if (launch.has("OP_Sqrt")) return [](double a) { return std::sqrt(a); };
  return nullptr;
}

// (lhs, rhs, out, operation, n): an operand that does not go along with the output is a scalar.
Work binary_simple(const Launch& launch) {
  const std::string_view flags = after(launch, "_BinaryElementWiseSimpleI");  // such as Lb1ELb0Efff
  const Binary operation = binary_of(launch);
  const bool left = flags.starts_with("Lb1E");
  const bool right = flags.substr(4).starts_with("Lb1E");
  const std::string_view types = flags.substr(8);
  const Type type = types.starts_with("fff")       ? Type::kFloat
                    : types.starts_with("lll")     ? Type::kLong
                    : types.starts_with("6__half") ? Type::kHalf
                                                   : Type::kNone;
  if (operation == nullptr || type == Type::kNone) return nullptr;
  return [=, a = launch.pointer(0), b = launch.pointer(1), to = launch.pointer(2), n = launch.get<int>(4)] {
    for (int i = 0; i < n; ++i) {
      const double value =
          operation(read(bytes_at(a), left ? i : 0, type), read(bytes_at(b), right ? i : 0, type));
      write(bytes_at(to), i, type, value);
    }
  };
}

// (lhs, rhs, h, out, operation, n): the right operand has an element for every h of the output.
Work binary_per_channel(const Launch& launch) {
  const Binary operation = binary_of(launch);
  if (operation == nullptr || !launch.has("Batch1Ifff")) return nullptr;
  return [=, a = launch.pointer(0), b = launch.pointer(1), h = launch.get<Divisor>(2).value,
          to = launch.pointer(3), n = launch.get<int>(5)] {
    for (int i = 0; i < n; ++i) {
      at<float>(to)[i] = static_cast<float>(operation(at<float>(a)[i], at<float>(b)[i / h]));
    }
  };
}

// (rank, strides of the left operand, it, strides of the right one, it, strides of the output, it, operation,
// n): an operand without strides goes along with the output.
Work binary_general(const Launch& launch) {
  const std::string_view list = after(launch, "_BinaryElementWise");
  const Binary operation = binary_of(launch);
  const Type type = type_in(list, 0);
  const std::size_t flags = list.find("ELb");
  if (operation == nullptr || type == Type::kNone || flags == std::string_view::npos) return nullptr;
  const bool left = list[flags + 3] == '1';
  const bool right = list.substr(flags + 4).starts_with("ELb1");
  return [=, rank = launch.get<int>(0), a_strides = launch.get<Array8<std::int64_t>>(1),
          a = launch.pointer(2), b_strides = launch.get<Array8<std::int64_t>>(3), b = launch.pointer(4),
          strides = launch.get<Array8<Divisor>>(5), to = launch.pointer(6), n = launch.get<int>(8)] {
    for (int i = 0; i < n; ++i) {
      std::int64_t in_a = left ? 0 : i;
      std::int64_t in_b = right ? 0 : i;
      int rest = i;
      for (std::size_t axis = 0; axis < static_cast<std::size_t>(rank); ++axis) {
        const int index = rest / strides.data[axis].value;
        rest %= strides.data[axis].value;
        if (left) in_a += a_strides.data[axis] * index;
        if (right) in_b += b_strides.data[axis] * index;
      }
      write(bytes_at(to), i, type, operation(read(bytes_at(a), in_a, type), read(bytes_at(b), in_b, type)));
    }
  };
}

// (in, out, operation, n)
Work unary(const Launch& launch) {
  const std::string_view list = after(launch, "_UnaryElementWise");
  const Unary operation = unary_of(launch);
  const Type from_type = type_in(list, 0);
  const Type to_type = type_in(list, 1);
  if (operation == nullptr || from_type == Type::kNone || to_type == Type::kNone) return nullptr;
  return [=, from = launch.pointer(0), to = launch.pointer(1), n = launch.get<std::int64_t>(3)] {
    for (std::int64_t i = 0; i < n; ++i) {
      write(bytes_at(to), i, to_type, operation(read(bytes_at(from), i, from_type)));
    }
  };
}

// By their sizes: kernels that only move elements are made for these types.
std::size_t moved_size(std::string_view list) {
  return list.starts_with("Ii") ? 4 : list.starts_with("Is") ? 2 : list.starts_with("Il") ? 8 : 0;
}

// (block of the input, number of indices, block of the output, block, indices, their size, in, out, n)
Work gather(const Launch& launch) {
  const std::size_t size = moved_size(after(launch, "_GatherKernel"));
  if (size == 0) return nullptr;
  return [=, input_block = launch.get<std::int64_t>(0), most = launch.get<std::int64_t>(1),
          output_block = launch.get<Divisor>(2).value, block = launch.get<Divisor>(3).value,
          indices = launch.pointer(4), index_size = launch.get<std::size_t>(5), from = launch.pointer(6),
          to = launch.pointer(7), n = launch.get<int>(8)] {
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

// (starts, steps, strides of the input, strides of the output, in, out, n); the last stride is 1.
Work slice(const Launch& launch) {
  const std::string_view list = after(launch, "_SliceKernelILb0ELi");  // such as 2EiEE
  const auto rank = static_cast<std::size_t>(list[0] - '0');
  const std::size_t size = list[2] == 'i' ? 4 : list[2] == 's' ? 2 : list[2] == 'l' ? 8 : 0;
  if (!launch.has("_SliceKernelILb0E") || size == 0) return nullptr;
  return [=, starts = launch.get<Array8<std::int64_t>>(0), steps = launch.get<Array8<std::int64_t>>(1),
          in_strides = launch.get<Array8<std::int64_t>>(2), strides = launch.get<Array8<Divisor>>(3),
          from = launch.pointer(4), to = launch.pointer(5), n = launch.get<int>(6)] {
    for (int i = 0; i < n; ++i) {
      std::int64_t source = 0;
      int rest = i;
      for (std::size_t axis = 0; axis < rank; ++axis) {
        const bool last = axis + 1 == rank;
        const int index = last ? rest : rest / strides.data[axis].value;
        if (!last) rest %= strides.data[axis].value;
        source += (starts.data[axis] + index * steps.data[axis]) * (last ? 1 : in_strides.data[axis]);
      }
      std::memcpy(bytes_at(to) + static_cast<std::size_t>(i) * size,
                  bytes_at(from) + static_cast<std::size_t>(source) * size, size);
    }
  };
}

// (block with the axis, block within it, sizes, where each ends, which input an index is of, out, inputs, n),
// all of them but the blocks and n in device memory.
Work concat(const Launch& launch) {
  if (!launch.has("_ConcatKernelIiE")) return nullptr;
  return [whole = launch.get<Divisor>(0).value, inside = launch.get<Divisor>(1).value,
          sizes = launch.pointer(2), ends = launch.pointer(3), inputs_at = launch.pointer(4),
          to = launch.pointer(5), inputs = launch.pointer(6), n = launch.get<int>(7)] {
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

// (rows, columns, in, out, ...): the sum of every row, or its mean.
Work sum_columns(const Launch& launch) {
  if (!launch.has("kernelIfff")) return nullptr;
  const double divide = launch.has("Lb1E") ? launch.get<int>(1) : 1;
  return [=, rows = launch.get<int>(0), columns = launch.get<int>(1), from = launch.pointer(2),
          to = launch.pointer(3)] {
    for (int row = 0; row < rows; ++row) {
      double sum = 0;
      for (int column = 0; column < columns; ++column) sum += at<float>(from)[row * columns + column];
      at<float>(to)[row] = static_cast<float>(sum / divide);
    }
  };
}

// (in, out, rows, columns): adds every column's sum to what is there.
Work sum_rows(const Launch& launch) {
  if (!launch.has("kernelIfff")) return nullptr;
  return [from = launch.pointer(0), to = launch.pointer(1), rows = launch.get<int>(2),
          columns = launch.get<int>(3)] {
    for (int column = 0; column < columns; ++column) {
      double sum = 0;
      for (int row = 0; row < rows; ++row) sum += at<float>(from)[row * columns + column];
      at<float>(to)[column] += static_cast<float>(sum);
    }
  };
}

}  // namespace

Work elementwise_kernel(const Launch& launch) {
  if (launch.has("_BinaryElementWiseSimple")) return binary_simple(launch);
  if (launch.has("_BinaryElementWiseRhsPerChannelBatch1")) return binary_per_channel(launch);
  if (launch.has("_BinaryElementWiseI")) return binary_general(launch);
  if (launch.has("_UnaryElementWise")) return unary(launch);
  if (launch.has("_GatherKernel")) return gather(launch);
  if (launch.has("_SliceKernel")) return slice(launch);
  if (launch.has("_ConcatKernel")) return concat(launch);
  if (launch.has("reduce_matrix_columns_kernel")) return sum_columns(launch);
  if (launch.has("reduce_matrix_rows_kernel")) return sum_rows(launch);
  return nullptr;
}

}  // namespace emulator
