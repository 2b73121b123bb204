#include "model_handle.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "engine/warm_up.h"
#include "environment.h"
#include "js_objects.h"
#include "ort/ort_library.h"

namespace batched {
namespace {

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
  std::vector<std::string> list(const char* name) const {
    std::vector<std::string> items;
    const auto array = options_.Get(name).As<Napi::Array>();
    for (std::uint32_t i = 0; i < array.Length(); ++i) items.push_back(array.Get(i).ToString().Utf8Value());
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

 private:
  Napi::Object options_;
};

EngineOptions engine_options(const OptionReader& options) {
  EngineOptions engine;
  engine.policy.batch_size = options.size("batchSize");
  engine.policy.max_batch_tokens = static_cast<std::uint64_t>(options.number("maxBatchTokens"));
  engine.policy.timeout = options.number("timeoutMs") < 0 ? -1 : options.nanos("timeoutMs");
  engine.policy.small_batch_threshold = options.size("smallBatchThreshold");
  engine.policy.priority_strategy = static_cast<PriorityStrategy>(options.size("priorityStrategy"));
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
  model.outputs = options.list("outputs");
  model.batch_axis = options.map<int>("batchAxis");
  for (std::string& name : options.list("shared")) model.shared.insert(std::move(name));
  model.pad_values = options.map<double>("padTokens");
  model.lanes = options.size("lanes");
  model.intra_op_threads = static_cast<int>(options.number("intraOpThreads"));
  return model;
}

struct NewModel {
  std::shared_ptr<const OrtModel> model;
  CostModel cost;
};

class LoadWorker final : public Napi::AsyncWorker {
 public:
  LoadWorker(Napi::Function done, ModelOptions options, bool warm_up)
      : Napi::AsyncWorker(done, "batched.load"), options_(std::move(options)), warm_up_(warm_up) {}

  void Execute() override {
    std::unique_ptr<OrtModel> model;
    status_ = OrtModel::load(std::move(options_), &model);
    if (!status_.ok()) return;
    if (warm_up_) made_.cost = warm_up(*model->make_lanes().front(), model->signature(), steady_clock());
    made_.model = std::move(model);
  }

  std::vector<napi_value> GetResult(Napi::Env env) override {
    if (!status_.ok()) return {status_object(env, status_), env.Undefined()};
    const Napi::Function model_class = Environment::of(env)->model_class();
    return {env.Undefined(), model_class.New({Napi::External<NewModel>::New(env, &made_)})};
  }

 private:
  ModelOptions options_;
  const bool warm_up_;
  Status status_;
  NewModel made_;
};

}  // namespace

Napi::Function ModelHandle::define(Napi::Env env) {
  return DefineClass(env, "OnnxModel",
                     {
                         InstanceAccessor<&ModelHandle::signature>("signature"),
                         InstanceMethod<&ModelHandle::start>("start"),
                     });
}

ModelHandle::ModelHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ModelHandle>(info) {
  if (info.Length() != 1 || !info[0].IsExternal()) {
    throw Napi::TypeError::New(info.Env(), "an OnnxModel is made by loadModel");
  }
  const auto* made = info[0].As<Napi::External<NewModel>>().Data();
  model_ = made->model;
  cost_ = made->cost;
}

Napi::Value ModelHandle::signature(const Napi::CallbackInfo& info) {
  return signature_object(info.Env(), model_->signature());
}

// start(options): an Engine with lanes of its own over the model's sessions.
Napi::Value ModelHandle::start(const Napi::CallbackInfo& info) {
  EngineOptions options = engine_options(OptionReader(info[0].As<Napi::Object>()));
  options.cost = cost_;
  ModelFacts facts;
  facts.provider = model_->provider();
  facts.lane_threads = static_cast<std::size_t>(model_->lane_threads());
  facts.wide_threads = static_cast<std::size_t>(model_->wide_threads());
  auto engine = std::make_shared<Engine>(options, model_->signature(), model_->make_lanes(), steady_clock());
  return EngineHandle::create(info.Env(), std::move(engine), facts);
}

// loadModel(options, done): done(refusal, undefined) or done(undefined, model).
Napi::Value load_model(const Napi::CallbackInfo& info) {
  const OptionReader options(info[0].As<Napi::Object>());
  auto* worker = new LoadWorker(info[1].As<Napi::Function>(), model_options(options), options.flag("warmup"));
  worker->Queue();  // frees itself
  return info.Env().Undefined();
}

Napi::Value load_library(const Napi::CallbackInfo& info) {
  const OptionReader options(info[0].As<Napi::Object>());
  LibraryOptions library;
  library.explicit_path = options.text("libraryPath");
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

}  // namespace batched
