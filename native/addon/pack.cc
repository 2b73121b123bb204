#include "pack.h"

#include <span>
#include <string>
#include <vector>

#include "engine/batch_layout.h"
#include "js_objects.h"

namespace batched {
namespace {

struct Memory {
  std::byte* data = nullptr;
  std::size_t bytes = 0;
};

bool read_memory(const Napi::Value& value, std::size_t size, Memory* memory) {
  napi_typedarray_type type = napi_uint8_array;
  std::size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(value.Env(), value, &type, &length, &data, nullptr, nullptr) != napi_ok)
    return false;
  memory->data = static_cast<std::byte*>(data);
  memory->bytes = length * size;
  return value.As<Napi::TypedArray>().ElementSize() == size;
}

Dims read_dims(std::span<const double> numbers) {
  Dims dims;
  for (const double number : numbers) dims.push_back(static_cast<std::int64_t>(number));
  return dims;
}

// Whether `memory` really has the elements that `dims` say, and the dims are sane.
bool holds(const Memory& memory, const Dims& dims, std::size_t size) {
  std::size_t elements = 0;
  return checked_elements(dims.span(), size, &elements) && elements * size <= memory.bytes;
}

bool within(const Dims& part, const Dims& whole) {
  for (std::size_t axis = 0; axis < part.rank(); ++axis) {
    if (part[axis] < 0 || part[axis] > whole[axis + 1]) return false;
  }
  return true;
}

Status refuse(const char* what) { return {Code::kInvalidInput, what}; }

// Per row: its source, its place there, the source's dims, and the row's own dims (to which it is cut).
Status pack_rows(const Napi::CallbackInfo& info) {
  const auto dtype = static_cast<DType>(info[2].As<Napi::Number>().Uint32Value());
  const auto side = static_cast<PaddingSide>(info[3].As<Napi::Number>().Uint32Value());
  const double pad = info[4].As<Napi::Number>().DoubleValue();
  const auto sources = info[5].As<Napi::Array>();
  const auto rank = static_cast<std::size_t>(info[6].As<Napi::Number>().Uint32Value());
  const std::size_t size = element_size(dtype);
  if (rank == 0 || rank > Dims::kMaxRank) return refuse("a tensor needs 1 to 8 dimensions");

  Memory out;
  Memory out_dims_memory;
  Memory rows_memory;
  if (!read_memory(info[0], size, &out)) return refuse("the stacked tensor has the wrong type");
  if (!read_memory(info[1], sizeof(double), &out_dims_memory)) return refuse("dims must be a Float64Array");
  if (!read_memory(info[7], sizeof(double), &rows_memory)) return refuse("rows must be a Float64Array");
  if (out_dims_memory.bytes < rank * sizeof(double)) return refuse("dims must have a number for each axis");
  const Dims out_dims = read_dims({reinterpret_cast<const double*>(out_dims_memory.data), rank});
  const std::size_t per_row = 2 + rank + (rank - 1);
  const auto count = static_cast<std::size_t>(out_dims[0]);
  if (count > rows_memory.bytes / (per_row * sizeof(double))) {
    return refuse("the description of the rows is too short");
  }
  if (!holds(out, out_dims, size)) return refuse("the stacked tensor is smaller than its dims");

  std::vector<Memory> memories(sources.Length());
  for (std::uint32_t i = 0; i < memories.size(); ++i) {
    if (!read_memory(sources.Get(i), size, &memories[i]))
      return refuse("the tensors of a batch differ in type");
  }
  fill_elements(dtype, pad, out.data, out_dims.elements());
  const auto* numbers = reinterpret_cast<const double*>(rows_memory.data);
  for (std::size_t r = 0; r < count; ++r, numbers += per_row) {
    const auto source = static_cast<std::size_t>(numbers[0]);
    const auto place = static_cast<std::size_t>(numbers[1]);
    const Dims whole = read_dims({numbers + 2, rank});
    const Dims own = read_dims({numbers + 2 + rank, rank - 1});
    if (source >= memories.size() || !holds(memories[source], whole, size)) {
      return refuse("the data of a tensor is shorter than its dims");
    }
    if (static_cast<std::int64_t>(place) >= whole[0] || !within(own, whole) || !within(own, out_dims)) {
      return refuse("a row lies outside of its tensor");
    }
    move_row({dtype, whole, memories[source].data}, place, own, out_dims, r, side, out.data);
  }
  return Status::okay();
}

}  // namespace

Napi::Value pack(const Napi::CallbackInfo& info) {
  const Status status = pack_rows(info);
  return status.ok() ? info.Env().Undefined() : Napi::Value(status_object(info.Env(), status));
}

}  // namespace batched
