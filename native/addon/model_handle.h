// A loaded model as JavaScript holds it, and loading it off the JavaScript thread.
#pragma once

#include <napi.h>

#include <memory>
#include <string>

#include "engine/cost_model.h"
#include "engine_handle.h"
#include "ort/ort_model.h"

namespace batched {

class ModelHandle final : public Napi::ObjectWrap<ModelHandle> {
 public:
  static Napi::Function define(Napi::Env env);

  explicit ModelHandle(const Napi::CallbackInfo& info);

 private:
  // See the class OnnxModel in ts/native.ts.
  Napi::Value signature(const Napi::CallbackInfo& info);
  Napi::Value start(const Napi::CallbackInfo& info);

  std::shared_ptr<const OrtModel> model_;
  CostModel cost_;  // as measured while loading
  std::string provider_note_;
  std::string name_;
};

// loadModel(options, done); see ts/native.ts.
Napi::Value load_model(const Napi::CallbackInfo& info);

// loadLibrary({ libraryPath, preferred, candidates }): { path, version, api, how }, or { code, message }.
Napi::Value load_library(const Napi::CallbackInfo& info);

// preloadLibraries(paths): [{ path, error? }].
Napi::Value preload(const Napi::CallbackInfo& info);

}  // namespace batched
