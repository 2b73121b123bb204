// Options as TypeScript hands them over, in the types of the engine.
#pragma once

#include <napi.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/batch_policy.h"
#include "engine/clock.h"

namespace batched {

// The elements of an array of strings.
inline std::vector<std::string> strings_of(const Napi::Value& value) {
  std::vector<std::string> items;
  const auto array = value.As<Napi::Array>();
  for (std::uint32_t i = 0; i < array.Length(); ++i) items.push_back(array.Get(i).ToString().Utf8Value());
  return items;
}

// TypeScript has validated the options: every one is there, with its default.
class OptionReader {
 public:
  explicit OptionReader(Napi::Object options) : options_(options) {}

  double number(const char* name) const { return options_.Get(name).ToNumber().DoubleValue(); }
  std::size_t size(const char* name) const { return static_cast<std::size_t>(number(name)); }
  Nanos nanos(const char* milliseconds) const {
    // 30 years are as good as no bound, and fit.
    return static_cast<Nanos>(std::min(number(milliseconds), 1e12) * static_cast<double>(kMillisecond));
  }
  std::string text(const char* name) const {
    const Napi::Value value = options_.Get(name);
    return value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
  }
  bool flag(const char* name) const { return options_.Get(name).ToBoolean(); }
  std::vector<std::string> list(const char* name) const { return strings_of(options_.Get(name)); }
  std::vector<int> numbers(const char* name) const {
    std::vector<int> items;
    const auto array = options_.Get(name).As<Napi::Array>();
    for (std::uint32_t i = 0; i < array.Length(); ++i) items.push_back(array.Get(i).ToNumber().Int32Value());
    return items;
  }
  template <typename T>
  std::map<std::string, T> map(const char* name) const {
    std::map<std::string, T> entries;
    const auto object = options_.Get(name).As<Napi::Object>();
    const Napi::Array keys = object.GetPropertyNames();
    for (std::uint32_t i = 0; i < keys.Length(); ++i) {
      const std::string key = keys.Get(i).ToString().Utf8Value();
      entries[key] = static_cast<T>(object.Get(key).ToNumber().DoubleValue());
    }
    return entries;
  }
  std::vector<std::byte> bytes(const char* name) const {
    const Napi::Value value = options_.Get(name);
    if (!value.IsTypedArray()) return {};
    const auto array = value.As<Napi::Uint8Array>();
    const auto* begin = reinterpret_cast<const std::byte*>(array.Data());
    return {begin, begin + array.ByteLength()};
  }

  // What both kinds of queue know: NativeQueueOptions in ts/native.ts, but for the bound on rows.
  PolicyOptions policy() const {
    PolicyOptions policy;
    policy.batch_size = size("batchSize");
    policy.max_batch_tokens = static_cast<std::uint64_t>(number("maxBatchTokens"));
    policy.timeout = number("timeoutMs") < 0 ? -1 : nanos("timeoutMs");
    policy.small_batch_threshold = size("smallBatchThreshold");
    policy.priority_strategy = static_cast<PriorityStrategy>(size("priorityStrategy"));
    return policy;
  }

 private:
  Napi::Object options_;
};

}  // namespace batched
