// A loaded model as JavaScript holds it, and loading it off the JavaScript thread.
#pragma once

#include <napi.h>

#include <memory>

#include "engine/cost_model.h"
#include "engine_handle.h"
#include "ort/ort_model.h"

namespace batched {

struct LoadedModel {
  std::shared_ptr<const OrtModel> model;
  CostModel cost;  // as measured while loading
  ModelFacts facts;
};

class ModelHandle final : public Napi::ObjectWrap<ModelHandle> {
 public:
  static Napi::Function define(Napi::Env env);

  explicit ModelHandle(const Napi::CallbackInfo& info);

 private:
  // See the class OnnxModel in ts/native.ts.
  Napi::Value signature(const Napi::CallbackInfo& info);
  Napi::Value start(const Napi::CallbackInfo& info);
  void release(const Napi::CallbackInfo& info);

  const OrtModel& model(Napi::Env env) const;

  LoadedModel loaded_;  // no model once it is released
};

// loadModel(options, done); see ts/native.ts.
Napi::Value load_model(const Napi::CallbackInfo& info);

// loadLibrary({ libraryPath, preferred, candidates }): { path, version, api, how }, or { code, message }.
Napi::Value load_library(const Napi::CallbackInfo& info);

// preloadLibraries(paths): [{ path, error? }].
Napi::Value preload(const Napi::CallbackInfo& info);

}  // namespace batched
