#include "environment.h"

#include <cstring>
#include <utility>

#include "js_objects.h"

namespace batched {
namespace {

// Reports that wait for the environment's thread; beyond that they are dropped.
constexpr std::size_t kMostReports = 4096;

// What an add-on keeps per environment.
struct InstanceData {
  std::shared_ptr<Environment> environment;
};

std::size_t count_numbers(const Delivery& delivery) {
  std::size_t count = 0;
  for (const CallResult& result : delivery.results) count += 3 + 2 * result.part_count;
  for (const OutputPart& part : delivery.parts) count += part.dims.rank();
  return count;
}

// A large block goes to JavaScript as it is; a small one is cheaper to copy than to track. Where the
// embedder allows no foreign memory (Electron), everything is copied.
Napi::Value array_buffer(Napi::Env env, Delivery& delivery) {
  constexpr std::size_t kCopied = 8192;
  if (delivery.bytes > kCopied) {
    napi_value value = nullptr;
    std::byte* const data = delivery.data.get();
    const auto release = [](napi_env, void* memory, void*) { delete[] static_cast<std::byte*>(memory); };
    if (napi_create_external_arraybuffer(env, data, delivery.bytes, release, nullptr, &value) == napi_ok) {
      (void)delivery.data.release();
      return {env, value};
    }
  }
  auto memory = Napi::ArrayBuffer::New(env, delivery.bytes);
  if (delivery.bytes > 0) std::memcpy(memory.Data(), delivery.data.get(), delivery.bytes);
  return memory;
}

}  // namespace

std::shared_ptr<Environment> Environment::of(Napi::Env env) {
  auto* data = env.GetInstanceData<InstanceData>();
  if (data == nullptr) {
    data = new InstanceData{std::shared_ptr<Environment>(new Environment(env))};
    env.SetInstanceData(data);
    // Added after the thread-safe function's own hook, so it runs before it: from then on no lane
    // touches the function.
    env.AddCleanupHook([environment = data->environment.get()] { environment->detach(); });
  }
  return data->environment;
}

Environment::Environment(Napi::Env env) : env_(env) {
  wake_ = Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}),
                                        "batched", 0, 1);
  wake_.Unref(env);
}

void Environment::set_receiver(Napi::Function receiver) { receiver_ = Napi::Persistent(receiver); }

void Environment::set_observer(Napi::Function observer) { observer_ = Napi::Persistent(observer); }

void Environment::detach() {
  detached_ = true;
  std::vector<std::pair<std::uint64_t, std::function<void()>>> actions;
  {
    const MutexLock lock(mutex_);
    ended_ = true;
    mailbox_.clear();
    reports_.clear();
  }
  actions.swap(on_end_);
  for (auto& [key, action] : actions) action();
  receiver_.Reset();
  observer_.Reset();
  engine_class_.Reset();
  model_class_.Reset();
  wake_.Abort();
}

void Environment::on_end(std::uint64_t key, std::function<void()> action) {
  on_end_.emplace_back(key, std::move(action));
}

void Environment::forget_end(std::uint64_t key) {
  std::erase_if(on_end_, [key](const auto& entry) { return entry.first == key; });
}

void Environment::add_pending(std::size_t calls) {
  if (pending_ == 0 && calls > 0) wake_.Ref(env_);
  pending_ += calls;
}

void Environment::remove_pending(std::size_t calls) {
  pending_ -= calls;
  if (pending_ == 0 && calls > 0) wake_.Unref(env_);
}

void Environment::deliver(Delivery delivery) noexcept {
  const MutexLock lock(mutex_);
  if (ended_) return;
  mailbox_.push_back(std::move(delivery));
  wake();
}

void Environment::batch_ran(const BatchReport& report) noexcept {
  const MutexLock lock(mutex_);
  if (ended_ || reports_.size() >= kMostReports) return;
  reports_.push_back(report);
  wake();
}

void Environment::wake() {
  if (woken_) return;
  woken_ = true;
  // Under the lock, so that detach() cannot abort the function meanwhile.
  wake_.NonBlockingCall([self = this](Napi::Env env, Napi::Function) {
    if (static_cast<napi_env>(env) != nullptr) self->drain(env);
  });
}

void Environment::drain(Napi::Env env) {
  std::vector<Delivery> deliveries;
  std::vector<BatchReport> reports;
  {
    const MutexLock lock(mutex_);
    deliveries.swap(mailbox_);
    reports.swap(reports_);
    woken_ = false;
  }
  const std::shared_ptr<Environment> alive = shared_from_this();
  for (const BatchReport& report : reports) {
    const Napi::HandleScope scope(env);
    if (!observer_.IsEmpty()) observer_.Call({report_object(env, report)});
  }
  for (Delivery& delivery : deliveries) {
    const Napi::HandleScope scope(env);
    receive(env, std::move(delivery));
  }
}

void Environment::receive(Napi::Env env, Delivery delivery) {
  remove_pending(delivery.results.size());
  if (receiver_.IsEmpty()) return;
  Napi::Value messages;
  Napi::Value numbers;
  const Napi::Value memory = encode(env, delivery, &messages, &numbers);
  receiver_.Call({numbers, memory, messages});
}

// Per result: id, code, number of parts; per part: offset, rank, dims...
Napi::Value Environment::encode(Napi::Env env, Delivery& delivery, Napi::Value* messages,
                                Napi::Value* numbers) {
  auto encoded = Napi::Float64Array::New(env, count_numbers(delivery));
  double* to = encoded.Data();
  Napi::Array texts;
  std::uint32_t text_count = 0;
  for (const CallResult& result : delivery.results) {
    *to++ = static_cast<double>(result.id);
    *to++ = static_cast<double>(result.code);
    *to++ = static_cast<double>(result.part_count);
    for (std::size_t p = 0; p < result.part_count; ++p) {
      const OutputPart& part = delivery.parts[result.first_part + p];
      *to++ = static_cast<double>(part.offset);
      *to++ = static_cast<double>(part.dims.rank());
      for (const std::int64_t dim : part.dims.span()) *to++ = static_cast<double>(dim);
    }
    if (result.code != Code::kOk) {
      if (texts.IsEmpty()) texts = Napi::Array::New(env);
      texts.Set(text_count++, Napi::String::New(env, result.message));
    }
  }
  *numbers = encoded;
  *messages = texts.IsEmpty() ? env.Undefined() : Napi::Value(texts);
  return array_buffer(env, delivery);
}

}  // namespace batched
