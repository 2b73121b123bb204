#include "call_builder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "convert.h"

namespace batched {
namespace {

// A typed array as Node-API sees it, or `data == nullptr && bytes == 0` for an empty one.
struct Bytes {
  const std::byte* data = nullptr;
  std::size_t bytes = 0;
  DType dtype = DType::kUint8;  // by the array's class
};

bool read_typed_array(napi_env env, napi_value value, Bytes* out) {
  napi_typedarray_type type = napi_uint8_array;
  std::size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) != napi_ok) return false;
  switch (type) {
    case napi_int8_array:
      out->dtype = DType::kInt8;
      break;
    case napi_uint8_array:
    case napi_uint8_clamped_array:
      out->dtype = DType::kUint8;
      break;
    case napi_int16_array:
      out->dtype = DType::kInt16;
      break;
    case napi_uint16_array:
      out->dtype = DType::kUint16;
      break;
    case napi_int32_array:
      out->dtype = DType::kInt32;
      break;
    case napi_uint32_array:
      out->dtype = DType::kUint32;
      break;
    case napi_float32_array:
      out->dtype = DType::kFloat32;
      break;
    case napi_float64_array:
      out->dtype = DType::kFloat64;
      break;
    case napi_bigint64_array:
      out->dtype = DType::kInt64;
      break;
    case napi_biguint64_array:
      out->dtype = DType::kUint64;
      break;
    default:
      return false;
  }
  out->data = static_cast<const std::byte*>(data);
  out->bytes = data == nullptr ? 0 : length * element_size(out->dtype);
  return true;
}

Status invalid(const TensorSpec& spec, const std::string& what) {
  return {Code::kInvalidInput, "input '" + spec.name + "': " + what};
}

}  // namespace

// One input of the call while it is being read.
struct CallBuilder::Feature {
  FeatureForm form = FeatureForm::kAbsent;
  DType dtype = DType::kFloat32;
  Bytes bytes;                      // kDense
  Dims dims;                        // kDense, with the batch axis
  std::vector<std::size_t> counts;  // kRagged: elements of each row
};

// The reading of one call.
class CallBuilder::Reading {
 public:
  // `packed`: where the elements are, or null when they are in `values`.
  Reading(CallBuilder& builder, std::span<const double> numbers, std::span<const napi_value> values,
          std::optional<std::span<const std::byte>> packed, Napi::Env env, Call* call)
      : signature_(builder.signature_),
        numbers_(numbers),
        values_(values),
        packed_(packed),
        env_(env),
        call_(*call),
        max_bytes_(builder.max_bytes_),
        rows_(static_cast<std::size_t>(numbers[CallNumbers::kRows])),
        features_(builder.features_) {}

  Status build(const Clock& clock) {
    const std::size_t inputs = signature_.inputs.size();
    // Nothing is allocated by the number of rows before there is an element or an array for each of them.
    for (std::size_t i = 0; i < inputs; ++i) {
      Status status = measure(i);
      if (!status.ok()) return status;
    }
    call_.rows.reset(rows_);
    for (CallRow& row : call_.rows) row.length = 0;
    call_.inputs.reset(rows_ * inputs);
    for (std::size_t i = 0; i < inputs; ++i) {
      Status status = set_dims(i);
      if (!status.ok()) return status;
    }
    for (std::size_t i = 0; i < inputs; ++i) {
      if (features_[i].form != FeatureForm::kAbsent) continue;
      Status status = measure_absent(i);
      if (!status.ok()) return status;
    }
    Status placed = place();
    if (!placed.ok()) return placed;
    for (std::size_t i = 0; i < inputs; ++i) {
      Status status = fill(i);
      if (!status.ok()) return status;
    }
    return read_header(clock);
  }

 private:
  RowInput& row_input(std::size_t row, std::size_t input) {
    return call_.inputs[row * signature_.inputs.size() + input];
  }

  // Reads the form of an input, and how much there is of it; no element is touched yet.
  Status measure(std::size_t i) {
    const TensorSpec& spec = signature_.inputs[i];
    const double* const n = numbers_.data() + CallNumbers::kHeader + i * CallNumbers::kNumbersPerInput;
    Feature& feature = features_[i];
    feature.form = static_cast<FeatureForm>(static_cast<int>(n[CallNumbers::kForm]));
    feature.dtype = static_cast<DType>(static_cast<int>(n[CallNumbers::kDType]));
    if (feature.form == FeatureForm::kRagged) {
      ragged_ = true;
      return measure_ragged(i);
    }
    if (feature.form != FeatureForm::kDense) return Status::okay();

    const auto rank = static_cast<std::size_t>(n[CallNumbers::kRank]);
    if (rank > Dims::kMaxRank) return invalid(spec, "has more than 8 dimensions");
    feature.dims = Dims{};
    for (std::size_t axis = 0; axis < rank; ++axis) {
      feature.dims.push_back(static_cast<std::int64_t>(n[CallNumbers::kDims + axis]));
    }
    Status status = read_dense(i);
    if (!status.ok() || spec.shared()) return status;
    const auto batch = static_cast<std::size_t>(spec.batch_axis);
    if (rank != spec.axes.size() || feature.dims[batch] != static_cast<std::int64_t>(rows_)) {
      return invalid(spec, "dims " + to_string(feature.dims.span()) + " do not have " +
                               std::to_string(rows_) + " rows on axis " + std::to_string(batch) + " of " +
                               std::to_string(spec.axes.size()));
    }
    return Status::okay();
  }

  // Where the elements of a dense feature are now, as many as its dims say.
  Status read_dense(std::size_t i) {
    const TensorSpec& spec = signature_.inputs[i];
    Feature& feature = features_[i];
    if (!packed_ && !read_typed_array(env_, values_[i], &feature.bytes))
      return invalid(spec, "its data is not a typed array");
    std::size_t elements = 0;
    const std::size_t size = element_size(feature.dtype);
    if (!checked_elements(feature.dims.span(), size, &elements)) {
      return invalid(spec, "dims " + to_string(feature.dims.span()) + " are negative or too large");
    }
    if (elements == 0)
      return invalid(spec, "dims " + to_string(feature.dims.span()) + " hold no elements: it is empty");
    if (packed_) feature.bytes = unpack(feature.dtype, elements * size);
    if (element_size(feature.bytes.dtype) != size || feature.bytes.bytes != elements * size) {
      return invalid(spec, "dims " + to_string(feature.dims.span()) + " of " + dtype_name(feature.dtype) +
                               " want " + std::to_string(elements * size) + " bytes, but its data has " +
                               std::to_string(feature.bytes.bytes));
    }
    return Status::okay();
  }

  // The next elements of a packed call: as many bytes as it has, at most.
  Bytes unpack(DType dtype, std::size_t bytes) {
    const std::size_t there = std::min(bytes, packed_->size());
    const std::span<const std::byte> part = packed_->first(there);
    packed_ = packed_->subspan(std::min(aligned(there), packed_->size()));
    return {part.data(), part.size(), dtype};
  }

  static std::size_t aligned(std::size_t bytes) {
    constexpr std::size_t kAlign = 8;
    return (bytes + kAlign - 1) / kAlign * kAlign;
  }

  // Sets the dims of every row.
  Status set_dims(std::size_t i) {
    const TensorSpec& spec = signature_.inputs[i];
    const Feature& feature = features_[i];
    if (feature.form == FeatureForm::kAbsent) return Status::okay();
    if (feature.form == FeatureForm::kRagged) {
      for (std::size_t r = 0; r < rows_; ++r) {
        Status status = ragged_dims(spec, feature.counts[r], &row_input(r, i).dims);
        if (!status.ok()) return status;
      }
      return Status::okay();
    }
    Dims row = feature.dims;
    if (!spec.shared()) row.erase(static_cast<std::size_t>(spec.batch_axis));
    for (std::size_t r = 0; r < rows_; ++r) row_input(r, i).dims = row;
    return Status::okay();
  }

  Status measure_ragged(std::size_t i) {
    const TensorSpec& spec = signature_.inputs[i];
    Feature& feature = features_[i];
    bool is_array = false;
    std::uint32_t length = 0;
    napi_is_array(env_, values_[i], &is_array);
    if (is_array) napi_get_array_length(env_, values_[i], &length);
    if (!is_array || length != rows_)
      return invalid(spec, "is not an array of " + std::to_string(rows_) + " rows");
    feature.counts.clear();
    for (std::uint32_t r = 0; r < length; ++r) {
      const Napi::HandleScope scope(env_);
      napi_value value = nullptr;
      if (napi_get_element(env_, values_[i], r, &value) != napi_ok) return invalid(spec, "cannot be read");
      Bytes bytes;
      std::uint32_t count = 0;
      bool row_is_array = false;
      if (read_typed_array(env_, value, &bytes)) {
        feature.counts.push_back(bytes.bytes / element_size(bytes.dtype));
      } else if (napi_is_array(env_, value, &row_is_array) == napi_ok && row_is_array) {
        napi_get_array_length(env_, value, &count);
        feature.counts.push_back(count);
      } else {
        return invalid(spec,
                       "row " + std::to_string(r) + " is neither a typed array nor an array of numbers");
      }
    }
    return Status::okay();
  }

  // The dynamic axes of a row of plain numbers: one. Fixed ones are taken from the model.
  static Status ragged_dims(const TensorSpec& spec, std::size_t count, Dims* dims) {
    std::int64_t fixed = 1;
    std::size_t dynamic = Dims::kMaxRank;
    *dims = Dims{};
    for (std::size_t axis = 0; axis < spec.axes.size(); ++axis) {
      if (static_cast<int>(axis) == spec.batch_axis) continue;
      if (spec.axes[axis].dynamic()) {
        if (dynamic != Dims::kMaxRank)
          return invalid(spec, "rows of several dynamic axes need dims: give a Tensor");
        dynamic = dims->rank();
        dims->push_back(1);
      } else {
        fixed *= spec.axes[axis].size;
        dims->push_back(spec.axes[axis].size);
      }
    }
    const auto elements = static_cast<std::int64_t>(count);
    if (dynamic == Dims::kMaxRank ? elements != fixed : fixed == 0 || elements % fixed != 0) {
      return invalid(spec, "a row of " + std::to_string(count) + " elements does not fit the model's " +
                               std::to_string(fixed) + " per step");
    }
    if (dynamic != Dims::kMaxRank) (*dims)[dynamic] = elements / fixed;
    return Status::okay();
  }

  // An attention mask or token types take the shape of the first feature that was given.
  Status measure_absent(std::size_t i) {
    const TensorSpec& spec = signature_.inputs[i];
    for (std::size_t other = 0; other < features_.size(); ++other) {
      if (features_[other].form == FeatureForm::kAbsent) continue;
      if (signature_.inputs[other].axes.size() != spec.axes.size()) continue;
      for (std::size_t r = 0; r < rows_; ++r) row_input(r, i).dims = row_input(r, other).dims;
      return Status::okay();
    }
    return invalid(spec, "is missing");
  }

  // One allocation for all rows, row by row, every part aligned to 8 bytes.
  Status place() {
    std::size_t bytes = 0;
    for (std::size_t r = 0; r < rows_; ++r) {
      for (std::size_t i = 0; i < features_.size(); ++i) bytes += part_bytes(r, i);
    }
    if (bytes > max_bytes_) {
      return {Code::kInvalidInput, "the call holds " + std::to_string(bytes) +
                                       " bytes, more than fit into the engine at all (maxQueueBytes " +
                                       std::to_string(max_bytes_) + ")"};
    }
    call_.bytes = bytes + sizeof(Call) + rows_ * (sizeof(CallRow) + features_.size() * sizeof(RowInput));
    std::byte* at = call_.slab(bytes);
    for (std::size_t r = 0; r < rows_; ++r) {
      for (std::size_t i = 0; i < features_.size(); ++i) {
        row_input(r, i).data = at;
        at += part_bytes(r, i);
      }
    }
    return Status::okay();
  }

  std::size_t part_bytes(std::size_t row, std::size_t input) {
    return aligned(row_input(row, input).dims.elements() * element_size(signature_.inputs[input].dtype));
  }

  std::byte* slab_of(std::size_t row, std::size_t input) {
    return const_cast<std::byte*>(row_input(row, input).data);
  }

  Status fill(std::size_t i) {
    switch (features_[i].form) {
      case FeatureForm::kAbsent:
        return fill_absent(i);
      case FeatureForm::kDense:
        return fill_dense(i);
      case FeatureForm::kRagged:
        return fill_ragged(i);
    }
    return Status::okay();
  }

  Status fill_absent(std::size_t i) {
    const TensorSpec& spec = signature_.inputs[i];
    const double value = spec.name == "attention_mask" ? 1 : 0;
    for (std::size_t r = 0; r < rows_; ++r) {
      fill_elements(spec.dtype, value, slab_of(r, i), row_input(r, i).dims.elements());
    }
    return Status::okay();
  }

  Status fill_dense(std::size_t i) {
    const TensorSpec& spec = signature_.inputs[i];
    Status status;
    if (ragged_) status = read_dense(i);
    if (!status.ok()) return status;
    const Feature& feature = features_[i];
    const std::size_t size = element_size(feature.dtype);
    std::vector<std::byte> strided;
    for (std::size_t r = 0; r < rows_; ++r) {
      const std::size_t count = row_input(r, i).dims.elements();
      const std::byte* from = feature.bytes.data;
      if (!spec.shared() && spec.batch_axis != 0 && rows_ > 1) {
        strided.resize(count * size);
        copy_row({feature.dtype, feature.dims, from}, static_cast<std::size_t>(spec.batch_axis), r,
                 row_input(r, i).dims, PaddingSide::kRight, strided.data());
        from = strided.data();
      } else if (!spec.shared()) {
        from += r * count * size;
      }
      status = convert_elements(feature.dtype, from, spec.dtype, slab_of(r, i), count);
      if (!status.ok()) return invalid(spec, status.message());
    }
    return Status::okay();
  }

  Status fill_ragged(std::size_t i) {
    const TensorSpec& spec = signature_.inputs[i];
    std::vector<double> values;
    for (std::uint32_t r = 0; r < rows_; ++r) {
      const Napi::HandleScope scope(env_);
      const std::size_t count = features_[i].counts[r];
      napi_value value = nullptr;
      if (napi_get_element(env_, values_[i], r, &value) != napi_ok) return invalid(spec, "cannot be read");
      Bytes bytes;
      Status status;
      if (read_typed_array(env_, value, &bytes)) {
        // Read again: a getter may have answered differently the second time.
        if (bytes.bytes != count * element_size(bytes.dtype))
          return invalid(spec, "changed while it was read");
        if (is_float(bytes.dtype) && !is_float(spec.dtype)) {
          return invalid(spec, "row " + std::to_string(r) + " is " + dtype_name(bytes.dtype) +
                                   "; the model wants " + dtype_name(spec.dtype));
        }
        status = convert_elements(stored_as(bytes.dtype, spec.dtype), bytes.data, spec.dtype, slab_of(r, i),
                                  count);
      } else {
        bool is_array = false;
        napi_is_array(env_, value, &is_array);
        if (!is_array) return invalid(spec, "changed while it was read");
        values.resize(count);
        for (std::uint32_t e = 0; e < count; ++e) {
          if (!read_number(value, e, &values[e])) {
            return invalid(
                spec, "row " + std::to_string(r) + ", element " + std::to_string(e) + " is not a number");
          }
        }
        status = convert_elements(DType::kFloat64, reinterpret_cast<const std::byte*>(values.data()),
                                  spec.dtype, slab_of(r, i), count);
      }
      if (!status.ok()) return invalid(spec, "row " + std::to_string(r) + ", " + status.message());
    }
    return Status::okay();
  }

  static bool is_float(DType dtype) { return dtype <= DType::kFloat16; }

  // JavaScript keeps float16 in a Uint16Array and bool in a Uint8Array.
  static DType stored_as(DType array, DType wanted) {
    if (array == DType::kUint16 && wanted == DType::kFloat16) return wanted;
    if (array == DType::kUint8 && wanted == DType::kBool) return wanted;
    return array;
  }

  bool read_number(napi_value array, std::uint32_t index, double* out) {
    const Napi::HandleScope scope(env_);
    napi_value value = nullptr;
    return napi_get_element(env_, array, index, &value) == napi_ok &&
           napi_get_value_double(env_, value, out) == napi_ok;
  }

  Status read_header(const Clock& clock) {
    const double deadline = numbers_[CallNumbers::kDeadline];
    if (deadline >= 0) {
      call_.deadline = later(
          clock.now(), static_cast<Nanos>(std::min(deadline, 1e12) * static_cast<double>(kMillisecond)));
    }
    call_.priority = numbers_[CallNumbers::kPriority];
    const auto flags = static_cast<int>(numbers_[CallNumbers::kFlags]);
    call_.stack = (flags & CallNumbers::kUnstacked) == 0;
    call_.cancellable = (flags & CallNumbers::kCancellable) != 0;
    if (values_.size() <= features_.size()) return Status::okay();
    Bytes lengths;
    if (!read_typed_array(env_, values_[features_.size()], &lengths) || lengths.dtype != DType::kFloat64 ||
        lengths.bytes != rows_ * sizeof(double)) {
      return {Code::kInvalidInput, "lengthOf did not give one number for each row"};
    }
    for (std::size_t r = 0; r < rows_; ++r) {
      double length = 0;
      std::memcpy(&length, lengths.data + r * sizeof(double), sizeof(double));
      call_.rows[r].length = static_cast<std::uint32_t>(std::clamp(length, 1.0, 4294967295.0));
    }
    return Status::okay();
  }

  const Signature& signature_;
  const std::span<const double> numbers_;
  const std::span<const napi_value> values_;
  std::optional<std::span<const std::byte>> packed_;  // what is left of it
  const Napi::Env env_;
  Call& call_;
  const std::uint64_t max_bytes_;
  const std::size_t rows_;
  std::vector<Feature>& features_;
  // A getter among ragged rows may detach or shrink the memory of dense features: they are looked up again.
  bool ragged_ = false;
};

CallBuilder::CallBuilder(const Signature& signature, std::span<const double> numbers, std::uint64_t max_bytes)
    : signature_(signature), numbers_(numbers), max_bytes_(max_bytes), features_(signature.inputs.size()) {}

CallBuilder::~CallBuilder() = default;

Status CallBuilder::read(Reading reading, const Clock& clock) {
  try {
    return reading.build(clock);
  } catch (const std::bad_alloc&) {
    return {Code::kOutOfMemory, "there is no memory for a copy of the call's inputs"};
  }
}

Status CallBuilder::build(std::span<const napi_value> values, Napi::Env env, const Clock& clock, Call* call) {
  return read(Reading(*this, numbers_, values, std::nullopt, env, call), clock);
}

Status CallBuilder::build_packed(std::size_t index, std::span<const std::byte> arena, Napi::Env env,
                                 const Clock& clock, Call* call) {
  const auto numbers = numbers_.subspan(index * stride(signature_));
  const auto offset = static_cast<std::size_t>(numbers[CallNumbers::kOffset]);
  return read(Reading(*this, numbers, {}, arena.subspan(std::min(offset, arena.size())), env, call), clock);
}

}  // namespace batched
