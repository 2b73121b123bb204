#include "model_handle.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/warm_up.h"
#include "environment.h"
#include "js_objects.h"
#include "option_reader.h"
#include "ort/ort_library.h"
#include "ort/preload.h"

namespace batched {
namespace {

EngineOptions engine_options(const OptionReader& options) {
  EngineOptions engine;
  engine.policy = options.policy();
  engine.bounds.max_rows = options.size("maxQueueRows");
  engine.bounds.max_bytes = static_cast<std::uint64_t>(options.number("maxQueueBytes"));
  engine.max_item_length = static_cast<std::uint32_t>(options.number("maxItemLength"));
  engine.padding_side = static_cast<PaddingSide>(static_cast<int>(options.number("paddingSide")));
  return engine;
}

ModelOptions model_options(const OptionReader& options) {
  ModelOptions model;
  model.path = options.text("path");
  model.bytes = options.bytes("bytes");
  model.pooling.kind = static_cast<Pooling::Kind>(static_cast<int>(options.number("pooling")));
  model.pooling.normalize = options.flag("normalize");
  model.pooling.states = options.text("hiddenStates");
  model.outputs = options.list("outputs");
  model.batch_axis = options.map<int>("batchAxis");
  for (std::string& name : options.list("shared")) model.shared.insert(std::move(name));
  model.pad_values = options.map<double>("padTokens");
  model.lanes = options.size("lanes");
  model.intra_op_threads = static_cast<int>(options.number("intraOpThreads"));
  model.gpus = options.numbers("gpus");
  model.gpu_mem_limit = static_cast<std::uint64_t>(options.number("gpuMemLimit"));
  model.cuda_graphs = options.flag("cudaGraphs");
  return model;
}

class LoadWorker final : public Napi::AsyncWorker {
 public:
  LoadWorker(Napi::Function done, const OptionReader& options)
      : Napi::AsyncWorker(done, "batched.load"),
        options_(model_options(options)),
        preload_(options.list("preload")),
        warms_up_(options.flag("warmup")),
        warm_up_{false, options.size("mostRows"), static_cast<std::uint64_t>(options.number("mostTokens"))} {
    made_.facts.provider_note = options.text("providerNote");
    made_.facts.name =
        options_.path.empty() ? "model" : std::filesystem::path(options_.path).filename().string();
  }

  void Execute() override {
    const std::string failures = failures_of(preload_libraries(preload_));
    std::unique_ptr<OrtModel> model;
    status_ = OrtModel::load(std::move(options_), &model);
    if (status_.code() == Code::kProviderUnavailable) {
      status_ = {status_.code(), status_.message() + failures};
    }
    if (!status_.ok()) return;
    if (warms_up_) {
      const bool gpu = model->provider() == "cuda";
      // One lane learns for all; on GPUs each has memory of its own to take.
      std::vector<std::unique_ptr<Lane>> lanes = model->make_lanes();
      if (!gpu) lanes.resize(1);
      warm_up_.large = gpu;
      for (const std::unique_ptr<Lane>& lane : lanes) {
        made_.cost = warm_up(*lane, model->signature(), steady_clock(), warm_up_);
      }
    }
    made_.facts.provider = model->provider();
    made_.facts.lane_threads = static_cast<std::size_t>(model->lane_threads());
    made_.facts.wide_threads = static_cast<std::size_t>(model->wide_threads());
    made_.model = std::move(model);
  }

  std::vector<napi_value> GetResult(Napi::Env env) override {
    if (!status_.ok()) return {status_object(env, status_), env.Undefined()};
    const Napi::Function model_class = Environment::of(env)->model_class();
    return {env.Undefined(), model_class.New({Napi::External<LoadedModel>::New(env, &made_)})};
  }

 private:
  ModelOptions options_;
  const std::vector<std::string> preload_;
  const bool warms_up_;
  WarmUp warm_up_;
  Status status_;
  LoadedModel made_;
};

// Frees a model off the JavaScript thread: that is as much memory as its weights take.
class ReleaseWorker final : public Napi::AsyncWorker {
 public:
  ReleaseWorker(Napi::Function done, std::shared_ptr<const OrtModel> model)
      : Napi::AsyncWorker(done, "batched.release"), model_(std::move(model)) {}

  void Execute() override { model_.reset(); }

 private:
  std::shared_ptr<const OrtModel> model_;
};

}  // namespace

Napi::Function ModelHandle::define(Napi::Env env) {
  return DefineClass(env, "OnnxModel",
                     {
                         InstanceAccessor<&ModelHandle::signature>("signature"),
                         InstanceMethod<&ModelHandle::start>("start"),
                         InstanceMethod<&ModelHandle::release>("release"),
                     });
}

ModelHandle::ModelHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ModelHandle>(info) {
  if (info.Length() != 1 || !info[0].IsExternal()) {
    throw Napi::TypeError::New(info.Env(), "an OnnxModel is made by loadModel");
  }
  loaded_ = *info[0].As<Napi::External<LoadedModel>>().Data();
}

Napi::Value ModelHandle::signature(const Napi::CallbackInfo& info) {
  return signature_object(info.Env(), model(info.Env()).signature());
}

// start(options): an Engine with lanes of its own over the model's sessions.
Napi::Value ModelHandle::start(const Napi::CallbackInfo& info) {
  EngineOptions options = engine_options(OptionReader(info[0].As<Napi::Object>()));
  const OrtModel& model = this->model(info.Env());
  options.cost = loaded_.cost;
  options.ladder = model.ladder();
  auto engine = std::make_shared<Engine>(options, model.signature(), model.make_lanes(), steady_clock());
  auto open = std::make_shared<OpenEngine>(std::move(engine), loaded_.facts);
  return EngineHandle::create(info.Env(), std::move(open), /*owner=*/true);
}

// release(done): drops the sessions; done() once nothing of them is left that no engine uses.
void ModelHandle::release(const Napi::CallbackInfo& info) {
  auto* worker = new ReleaseWorker(info[0].As<Napi::Function>(), std::move(loaded_.model));
  worker->Queue();  // frees itself
}

const OrtModel& ModelHandle::model(Napi::Env env) const {
  if (loaded_.model == nullptr) throw Napi::Error::New(env, "the model was released");
  return *loaded_.model;
}

// loadModel(options, done): done(refusal, undefined) or done(undefined, model).
Napi::Value load_model(const Napi::CallbackInfo& info) {
  const OptionReader options(info[0].As<Napi::Object>());
  auto* worker = new LoadWorker(info[1].As<Napi::Function>(), options);
  worker->Queue();  // frees itself
  return info.Env().Undefined();
}

Napi::Value load_library(const Napi::CallbackInfo& info) {
  const OptionReader options(info[0].As<Napi::Object>());
  LibraryOptions library;
  library.explicit_path = options.text("libraryPath");
  library.preferred = options.list("preferred");
  library.candidates = options.list("candidates");
  const Status status = load_ort_library(library);
  if (!status.ok()) return status_object(info.Env(), status);
  const LibraryInfo* const loaded = ort_library();
  auto object = Napi::Object::New(info.Env());
  object.Set("path", loaded->path);
  object.Set("version", loaded->version);
  object.Set("api", loaded->api);
  object.Set("how", loaded->how);
  return object;
}

Napi::Value preload(const Napi::CallbackInfo& info) {
  auto results = Napi::Array::New(info.Env());
  for (const auto& [path, error] : preload_libraries(strings_of(info[0]))) {
    auto result = Napi::Object::New(info.Env());
    result.Set("path", path);
    if (!error.empty()) result.Set("error", error);
    results.Set(results.Length(), result);
  }
  return results;
}

}  // namespace batched
