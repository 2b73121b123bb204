// Calls as TypeScript describes them, over values that are not what the description says: arrays of the wrong
// length or class, detached ones, and arrays whose elements change between two looks, as getters do. A call
// is either refused, or every row's elements lie within the call's own memory.
//
// The few functions of Node-API that the builder calls are played by this file, over values drawn from the
// input.
#include <deque>

#include "addon/call_builder.h"
#include "engine/row_check.h"
#include "fuzz_input.h"

namespace batched {
namespace {

struct JsValue {
  enum class Kind : std::uint8_t { kOther, kNumber, kTypedArray, kArray, kThrows };

  Kind kind = Kind::kOther;
  napi_typedarray_type type = napi_uint8_array;
  std::vector<std::byte> memory;  // of exactly `length` elements, so that a sanitizer sees one too many
  std::size_t length = 0;
  std::vector<JsValue*> first;  // an array's elements at the first look at each,
  std::vector<JsValue*> later;  // and afterwards
  std::vector<bool> seen;
  double number = 0;
};

constexpr std::size_t kSizes[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};

class FixedClock final : public Clock {
 public:
  Nanos now() const override { return 0; }
  void wait_until(std::condition_variable& /*condition*/, MutexLock& /*lock*/, Nanos /*until*/) override {}
};

class World {
 public:
  explicit World(FuzzInput& input) : input_(input) {}

  JsValue* typed_array(std::size_t length) {
    JsValue& value = values_.emplace_back();
    value.kind = JsValue::Kind::kTypedArray;
    value.type = static_cast<napi_typedarray_type>(input_.between(0, 10));
    value.length = length;
    value.memory = small_numbers(length * kSizes[value.type]);
    return &value;
  }

  JsValue* any(int depth) {
    const auto kind = static_cast<JsValue::Kind>(input_.between(0, depth > 0 ? 4 : 2));
    const auto length = input_.between<std::size_t>(0, 6);
    if (kind == JsValue::Kind::kTypedArray) return typed_array(length);
    JsValue& value = values_.emplace_back();
    value.kind = kind;
    value.number = input_.flag() ? input_.between(-3, 300) : input_.number();
    value.length = length;
    if (kind != JsValue::Kind::kArray) return &value;
    value.seen.resize(length);
    for (std::size_t i = 0; i < length; ++i) {
      value.first.push_back(any(depth - 1));
      value.later.push_back(input_.between(0, 7) == 0 ? any(depth - 1) : value.first.back());
    }
    return &value;
  }

 private:
  // Mostly zeros and ones, which fit every type; sometimes anything.
  std::vector<std::byte> small_numbers(std::size_t bytes) {
    if (input_.flag()) return input_.bytes(bytes);
    return std::vector<std::byte>(bytes);
  }

  FuzzInput& input_;
  std::deque<JsValue> values_;  // they stay where they are
};

Signature draw_signature(FuzzInput& input) {
  Signature signature;
  const char* const names[] = {"input_ids", "attention_mask", "extra"};
  const auto inputs = input.between<std::size_t>(1, 3);
  for (std::size_t i = 0; i < inputs; ++i) {
    TensorSpec& spec = signature.inputs.emplace_back();
    spec.name = names[i];
    spec.dtype = input.dtype();
    const auto rank = input.between<std::size_t>(1, 4);
    for (std::size_t axis = 0; axis < rank; ++axis) {
      spec.axes.push_back({input.flag() ? Axis::kDynamic : input.between(0, 3), ""});
    }
    spec.batch_axis = input.between(-1, static_cast<int>(rank) - 1);
    if (!spec.shared()) spec.axes[static_cast<std::size_t>(spec.batch_axis)].size = Axis::kDynamic;
  }
  return signature;
}

// What TypeScript guarantees of the numbers: known forms and types, whole numbers of which none is out of
// range.
void draw_numbers(FuzzInput& input, const Signature& signature, double* numbers) {
  numbers[CallNumbers::kRows] = input.between(1, 4);
  numbers[CallNumbers::kDeadline] = input.flag() ? -1 : input.between(0, 1'000'000'000);
  numbers[CallNumbers::kPriority] = input.number();
  numbers[CallNumbers::kFlags] = input.between(0, 3);
  numbers[CallNumbers::kOffset] = 8 * input.between(0, 8);
  for (std::size_t i = 0; i < signature.inputs.size(); ++i) {
    double* const n = numbers + CallNumbers::kHeader + i * CallNumbers::kNumbersPerInput;
    n[CallNumbers::kForm] = input.between(0, 2);
    n[CallNumbers::kDType] = static_cast<double>(input.dtype());
    const auto rank = input.between<std::size_t>(0, 9);
    n[CallNumbers::kRank] = static_cast<double>(rank);
    for (std::size_t axis = 0; axis < std::min(rank, Dims::kMaxRank); ++axis) {
      const bool huge = input.between(0, 15) == 0;
      n[CallNumbers::kDims + axis] =
          huge ? static_cast<double>(input.between<std::int64_t>(-1, 1LL << 53)) : input.between(0, 4);
    }
  }
}

void check_call(const Signature& signature, const Call& call) {
  volatile std::byte sum{};
  for (const CallRow& row : call.rows) {
    const RowInputs inputs = call.inputs_of(row);
    FUZZ_CHECK(inputs.size() == signature.inputs.size());
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const std::size_t bytes = inputs[i].dims.elements() * element_size(signature.inputs[i].dtype);
      FUZZ_CHECK(bytes <= call.bytes);
      for (std::size_t b = 0; b < bytes; ++b) sum = sum ^ inputs[i].data[b];  // a sanitizer watches
    }
    if (check_row(signature, inputs).ok()) FUZZ_CHECK(length_of(signature, inputs) >= 1);
  }
}

void check(FuzzInput& input) {
  const Signature signature = draw_signature(input);
  std::vector<double> numbers(CallBuilder::stride(signature));
  draw_numbers(input, signature, numbers.data());
  CallBuilder builder(signature, numbers, 1 << 20);
  FixedClock clock;
  Call call;
  Status status;
  if (input.flag()) {
    const std::vector<std::byte> arena = input.bytes(8 * input.between<std::size_t>(0, 32));
    status = builder.build_packed(0, arena, Napi::Env(nullptr), clock, &call);
  } else {
    World world(input);
    std::vector<napi_value> values;
    const std::size_t arguments = signature.inputs.size() + input.between<std::size_t>(0, 1);
    for (std::size_t i = 0; i < arguments; ++i) values.push_back(reinterpret_cast<napi_value>(world.any(2)));
    status = builder.build(values, Napi::Env(nullptr), clock, &call);
  }
  if (status.ok()) {
    check_call(signature, call);
  } else {
    FUZZ_CHECK(!status.message().empty());
  }
}

JsValue& js(napi_value value) { return *reinterpret_cast<JsValue*>(value); }

}  // namespace
}  // namespace batched

using batched::js;
using Kind = batched::JsValue::Kind;

extern "C" {

napi_status napi_open_handle_scope(napi_env /*env*/, napi_handle_scope* scope) {
  *scope = nullptr;
  return napi_ok;
}

napi_status napi_close_handle_scope(napi_env /*env*/, napi_handle_scope /*scope*/) { return napi_ok; }

napi_status napi_is_array(napi_env /*env*/, napi_value value, bool* result) {
  *result = js(value).kind == Kind::kArray;
  return napi_ok;
}

napi_status napi_get_array_length(napi_env /*env*/, napi_value value, uint32_t* result) {
  if (js(value).kind != Kind::kArray) return napi_array_expected;
  *result = static_cast<uint32_t>(js(value).length);
  return napi_ok;
}

napi_status napi_get_element(napi_env /*env*/, napi_value object, uint32_t index, napi_value* result) {
  batched::JsValue& array = js(object);
  static batched::JsValue undefined;
  if (array.kind != Kind::kArray || index >= array.length) {
    *result = reinterpret_cast<napi_value>(&undefined);
    return napi_ok;
  }
  const auto& elements = array.seen[index] ? array.later : array.first;
  array.seen[index] = true;
  if (elements[index]->kind == Kind::kThrows) return napi_pending_exception;
  *result = reinterpret_cast<napi_value>(elements[index]);
  return napi_ok;
}

napi_status napi_get_value_double(napi_env /*env*/, napi_value value, double* result) {
  if (js(value).kind != Kind::kNumber) return napi_number_expected;
  *result = js(value).number;
  return napi_ok;
}

napi_status napi_get_typedarray_info(napi_env /*env*/, napi_value value, napi_typedarray_type* type,
                                     size_t* length, void** data, napi_value* /*buffer*/,
                                     size_t* /*offset*/) {
  batched::JsValue& array = js(value);
  if (array.kind != Kind::kTypedArray) return napi_invalid_arg;
  *type = array.type;
  *length = array.length;
  *data = array.memory.empty() ? nullptr : array.memory.data();
  return napi_ok;
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  batched::FuzzInput input(data, size);
  batched::check(input);
  return 0;
}
}
