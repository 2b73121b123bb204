// An engine as JavaScript holds it, and the calls of this tick that were not handed over to it yet.
//
// The handle that OnnxModel.start makes is the owner's: closing it closes the engine. Those that attach
// makes, in any environment, close for themselves; the last to go closes the engine.
//
// Threads: the environment's own. The engine is shared with the other handles.
#pragma once

#include <napi.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "call_builder.h"
#include "engine/attachment.h"
#include "engine/engine.h"
#include "engine_registry.h"
#include "environment.h"

namespace batched {

class EngineHandle final : public Napi::ObjectWrap<EngineHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object create(Napi::Env env, std::shared_ptr<OpenEngine> engine, bool owner);

  explicit EngineHandle(const Napi::CallbackInfo& info);
  ~EngineHandle() override;

 private:
  // See the class of the same name in ts/native.ts for what each takes and gives.
  Napi::Value signature(const Napi::CallbackInfo& info);
  Napi::Value padding_side(const Napi::CallbackInfo& info);
  Napi::Value numbers(const Napi::CallbackInfo& info);
  Napi::Value arena(const Napi::CallbackInfo& info);
  napi_value submit(Napi::Env env, std::span<const napi_value> arguments);
  void submit_packed(const Napi::CallbackInfo& info);
  void flush(const Napi::CallbackInfo& info);
  Napi::Value run_sync(const Napi::CallbackInfo& info);
  Napi::Value cancel(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);
  Napi::Value share(const Napi::CallbackInfo& info);
  Napi::Value name(const Napi::CallbackInfo& info);
  void watch(const Napi::CallbackInfo& info);
  Napi::Value stats(const Napi::CallbackInfo& info);
  void clear_stats(const Napi::CallbackInfo& info);

  bool closed() const { return open_ == nullptr; }
  std::unique_ptr<Call> new_call();
  // The call that the arguments after the first describe.
  Status build(Napi::Env env, std::span<const napi_value> data, Call* call);
  static napi_value submit_callback(napi_env env, napi_callback_info info);
  void flush_pending();
  void end();

  std::shared_ptr<Engine> engine_;
  std::shared_ptr<OpenEngine> open_;  // null once this handle, not the owner's, is closed
  bool owner_ = false;
  ModelFacts facts_;
  std::shared_ptr<Environment> environment_;
  std::shared_ptr<Attachment> attachment_;  // the sink of this handle's calls
  std::uint64_t end_key_ = 0;
  // Shared with JavaScript, which describes calls in there and packs their elements.
  Napi::Reference<Napi::Float64Array> numbers_;
  Napi::Reference<Napi::ArrayBuffer> arena_;
  std::span<const std::byte> arena_view_;
  std::span<const double> number_view_;
  bool building_ = false;
  bool watching_ = false;  // this environment hears of the engine's batches

  std::unique_ptr<CallBuilder> builder_;
  std::vector<std::unique_ptr<Call>> spare_;
  std::vector<std::unique_ptr<Call>> pending_;
  std::vector<Status> statuses_;
};

// attach(id): the engine's handle in this environment, or undefined if it has no users any more.
Napi::Value attach(const Napi::CallbackInfo& info);

}  // namespace batched
