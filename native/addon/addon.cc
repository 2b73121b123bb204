// The add-on's exports. ts/native.ts declares each of them; a check keeps the two equal.
#include <napi.h>

#include "engine_handle.h"
#include "environment.h"
#include "function_queue.h"
#include "model_handle.h"
#include "pack.h"

namespace batched {
namespace {

void set_receiver(const Napi::CallbackInfo& info) {
  Environment::of(info.Env())->set_receiver(info[0].As<Napi::Function>());
}

void set_observer(const Napi::CallbackInfo& info) {
  Environment::of(info.Env())->set_observer(info[0].As<Napi::Function>());
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  const Napi::Function engine = EngineHandle::define(env);
  const Napi::Function model = ModelHandle::define(env);
  Environment::of(env)->set_classes(engine, model);
  exports.Set("Engine", engine);
  exports.Set("OnnxModel", model);
  exports.Set("FunctionQueue", FunctionQueue::define(env));
  exports.Set("setReceiver", Napi::Function::New(env, set_receiver));
  exports.Set("setObserver", Napi::Function::New(env, set_observer));
  exports.Set("attach", Napi::Function::New(env, attach));
  exports.Set("loadLibrary", Napi::Function::New(env, load_library));
  exports.Set("loadModel", Napi::Function::New(env, load_model));
  exports.Set("preloadLibraries", Napi::Function::New(env, preload));
  exports.Set("pack", Napi::Function::New(env, pack));
  return exports;
}

}  // namespace
}  // namespace batched

static Napi::Object InitBatched(Napi::Env env, Napi::Object exports) { return batched::init(env, exports); }

NODE_API_MODULE(batched, InitBatched)
