#include "engine_handle.h"

#include <array>
#include <condition_variable>
#include <exception>
#include <string>
#include <utility>

#include "call_builder.h"
#include "js_objects.h"

namespace batched {
namespace {

// Calls of one tick are handed over together, but no more than this many at once: lanes may start on
// them while JavaScript still makes calls.
constexpr std::size_t kMostPending = 256;

// Packed calls that JavaScript may describe before they are taken, and bytes for their elements: both stay in
// a core's own cache.
constexpr std::size_t kMostPacked = 64;
constexpr std::size_t kArenaBytes = 64 * 1024;

struct NewHandle {
  std::shared_ptr<OpenEngine> engine;
  bool owner = false;
};

Status closed_here() { return {Code::kClosed, "the model was closed in this thread"}; }

void refuse(std::uint64_t id, const Status& status, Delivery* refused) {
  CallResult& result = refused->results.emplace_back();
  result.id = id;
  result.code = status.code();
  result.message = status.message();
}

// A thread that blocks until its one call has settled.
class WaitingSink final : public CompletionSink {
 public:
  void deliver(Delivery delivery) noexcept override {
    const MutexLock lock(mutex_);
    delivery_ = std::move(delivery);
    arrived_ = true;
    arrival_.notify_one();
  }

  Delivery wait() {
    MutexLock lock(mutex_);
    while (!arrived_) arrival_.wait(lock.native());
    return std::move(delivery_);
  }

 private:
  Mutex mutex_;
  std::condition_variable arrival_;
  Delivery delivery_ BATCHED_GUARDED_BY(mutex_);
  bool arrived_ BATCHED_GUARDED_BY(mutex_) = false;
};

}  // namespace

Napi::Function EngineHandle::define(Napi::Env env) {
  return DefineClass(env, "Engine",
                     {
                         InstanceAccessor<&EngineHandle::signature>("signature"),
                         InstanceAccessor<&EngineHandle::padding_side>("paddingSide"),
                         InstanceAccessor<&EngineHandle::numbers>("numbers"),
                         InstanceAccessor<&EngineHandle::arena>("arena"),
                         InstanceAccessor<&EngineHandle::name>("name"),
                         InstanceMethod<&EngineHandle::watch>("watch"),
                         InstanceMethod<&EngineHandle::submit_packed>("submitPacked"),
                         InstanceMethod<&EngineHandle::flush>("flush"),
                         InstanceMethod<&EngineHandle::run_sync>("runSync"),
                         InstanceMethod<&EngineHandle::cancel>("cancel"),
                         InstanceMethod<&EngineHandle::close>("close"),
                         InstanceMethod<&EngineHandle::share>("share"),
                         InstanceMethod<&EngineHandle::stats>("stats"),
                         InstanceMethod<&EngineHandle::clear_stats>("clearStats"),
                     });
}

Napi::Object EngineHandle::create(Napi::Env env, std::shared_ptr<OpenEngine> engine, bool owner) {
  NewHandle made{std::move(engine), owner};
  return Environment::of(env)->engine_class().New({Napi::External<NewHandle>::New(env, &made)});
}

EngineHandle::EngineHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<EngineHandle>(info) {
  if (info.Length() != 1 || !info[0].IsExternal()) {
    throw Napi::TypeError::New(info.Env(), "an Engine is made by OnnxModel.start or attach");
  }
  const auto* made = info[0].As<Napi::External<NewHandle>>().Data();
  open_ = made->engine;
  owner_ = made->owner;
  engine_ = open_->engine;
  facts_ = open_->facts;
  environment_ = Environment::of(info.Env());
  attachment_ = std::make_shared<Attachment>(environment_);
  end_key_ = environment_->next_key();
  environment_->on_end(end_key_, [this] { end(); });

  const std::size_t count = kMostPacked * CallBuilder::stride(engine_->signature());
  auto numbers = Napi::Float64Array::New(info.Env(), count);
  number_view_ = {numbers.Data(), count};
  numbers_ = Napi::Persistent(numbers);
  auto arena = Napi::ArrayBuffer::New(info.Env(), kArenaBytes);
  arena_view_ = {static_cast<const std::byte*>(arena.Data()), kArenaBytes};
  arena_ = Napi::Persistent(arena);
  builder_ =
      std::make_unique<CallBuilder>(engine_->signature(), number_view_, engine_->options().bounds.max_bytes);

  // The one method that is called for every row: a function of its own, since looking up the native object
  // behind `this` costs as much as reading a row.
  napi_value submit = nullptr;
  NAPI_THROW_IF_FAILED_VOID(info.Env(), napi_create_function(info.Env(), "submit", NAPI_AUTO_LENGTH,
                                                             &EngineHandle::submit_callback, this, &submit));
  info.This().As<Napi::Object>().Set("submit", Napi::Value(info.Env(), submit));
}

EngineHandle::~EngineHandle() {
  environment_->forget_end(end_key_);
  end();
}

// The environment ends or the model was collected. Nothing of it may reach this environment any more.
void EngineHandle::end() {
  if (!engine_) return;
  pending_.clear();
  spare_.clear();
  attachment_->leave();
  if (watching_) engine_->unwatch(environment_.get());
  engine_->abandon(attachment_.get());
  open_.reset();
  engine_.reset();  // the last one joins
}

Napi::Value EngineHandle::signature(const Napi::CallbackInfo& info) {
  return signature_object(info.Env(), engine_->signature());
}

Napi::Value EngineHandle::padding_side(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(engine_->options().padding_side));
}

Napi::Value EngineHandle::name(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), facts_.name);
}

// watch(on): whether the observer of this environment is told of every batch.
void EngineHandle::watch(const Napi::CallbackInfo& info) {
  const bool on = info[0].As<Napi::Boolean>();
  if (on == watching_) return;
  watching_ = on;
  if (on) {
    engine_->watch(environment_, facts_.name);
  } else {
    engine_->unwatch(environment_.get());
  }
}

Napi::Value EngineHandle::numbers(const Napi::CallbackInfo& /*info*/) { return numbers_.Value(); }

Napi::Value EngineHandle::arena(const Napi::CallbackInfo& /*info*/) { return arena_.Value(); }

Status EngineHandle::build(Napi::Env env, std::span<const napi_value> data, Call* call) {
  // TypeScript sees to it; here it would be memory that is written while it is read.
  if (closed()) return closed_here();
  if (building_) return {Code::kInvalidInput, "a call was made while another call was being read"};
  building_ = true;
  const auto done = [](bool* building) { *building = false; };
  const std::unique_ptr<bool, decltype(done)> guard(&building_, done);
  const std::size_t inputs = engine_->signature().inputs.size();
  if (data.size() < inputs) {
    return {Code::kInvalidInput,
            std::to_string(data.size()) + " arguments for " + std::to_string(inputs) + " inputs"};
  }
  Status status = builder_->build(data, env, engine_->clock(), call);
  return status.ok() ? engine_->prepare(call) : status;
}

std::unique_ptr<Call> EngineHandle::new_call() {
  if (spare_.empty()) engine_->spare_calls(&spare_);
  if (spare_.empty()) return std::make_unique<Call>();
  std::unique_ptr<Call> call = std::move(spare_.back());
  spare_.pop_back();
  return call;
}

// Called by Node-API itself, so what node-addon-api does for other methods is done here: an exception (of a
// getter among the rows, say) goes to JavaScript.
napi_value EngineHandle::submit_callback(napi_env env, napi_callback_info info) {
  constexpr std::size_t kMostInPlace = 8;
  std::array<napi_value, kMostInPlace> in_place{};
  std::size_t count = kMostInPlace;
  void* self = nullptr;
  if (napi_get_cb_info(env, info, &count, in_place.data(), nullptr, &self) != napi_ok) return nullptr;
  auto* const handle = static_cast<EngineHandle*>(self);
  try {
    if (count <= kMostInPlace) return handle->submit(env, std::span(in_place).first(count));
    std::vector<napi_value> all(count);
    if (napi_get_cb_info(env, info, &count, all.data(), nullptr, nullptr) != napi_ok) return nullptr;
    return handle->submit(env, all);
  } catch (const Napi::Error& error) {
    error.ThrowAsJavaScriptException();
  } catch (const std::exception& error) {
    napi_throw_error(env, nullptr, error.what());
  }
  return nullptr;
}

// submit(slot, ...data): undefined, or why the call was refused. It is handed over by flush().
napi_value EngineHandle::submit(Napi::Env env, std::span<const napi_value> arguments) {
  std::int64_t slot = 0;
  if (arguments.empty() || napi_get_value_int64(env, arguments[0], &slot) != napi_ok) return nullptr;
  std::unique_ptr<Call> call = new_call();
  call->id = static_cast<std::uint64_t>(slot);
  if (call->sink != attachment_) call->sink = attachment_;
  const Status status = build(env, arguments.subspan(1), call.get());
  if (!status.ok()) return status_object(env, status);
  pending_.push_back(std::move(call));
  if (pending_.size() >= kMostPending) flush_pending();
  return nullptr;
}

// submitPacked(count): takes the calls that JavaScript has described and packed.
void EngineHandle::submit_packed(const Napi::CallbackInfo& info) {
  const auto count = std::min<std::size_t>(info[0].As<Napi::Number>().Uint32Value(), kMostPacked);
  const std::size_t stride = CallBuilder::stride(engine_->signature());
  Delivery refused;
  for (std::size_t i = 0; i < count; ++i) {
    std::unique_ptr<Call> call = new_call();
    call->id = static_cast<std::uint64_t>(number_view_[i * stride + CallNumbers::kSlot]);
    if (call->sink != attachment_) call->sink = attachment_;
    Status status = closed()
                        ? closed_here()
                        : builder_->build_packed(i, arena_view_, info.Env(), engine_->clock(), call.get());
    if (status.ok()) status = engine_->prepare(call.get());
    if (status.ok()) {
      pending_.push_back(std::move(call));
    } else {
      refuse(call->id, status, &refused);
    }
  }
  if (!refused.results.empty()) {
    environment_->add_pending(refused.results.size());
    environment_->deliver(std::move(refused));
  }
  if (pending_.size() >= kMostPending) flush_pending();
}

void EngineHandle::flush(const Napi::CallbackInfo& /*info*/) { flush_pending(); }

// Refused calls settle through the mailbox, like all others: their callers' code never runs in here, and not
// where the JavaScript stack is about to end.
void EngineHandle::flush_pending() {
  if (pending_.empty()) return;
  statuses_.assign(pending_.size(), Status::okay());
  environment_->add_pending(pending_.size());
  attachment_->submitting(pending_.size());
  engine_->submit(pending_, statuses_);
  Delivery refused;
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    if (!statuses_[i].ok()) refuse(pending_[i]->id, statuses_[i], &refused);
  }
  pending_.clear();
  if (!refused.results.empty()) attachment_->deliver(std::move(refused));
}

// runSync(0, ...data): [numbers, memory, messages] of the one result, as the receiver gets them. Blocks
// this thread only.
Napi::Value EngineHandle::run_sync(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  flush_pending();
  const auto sink = std::make_shared<WaitingSink>();
  std::unique_ptr<Call> call = new_call();
  call->sink = sink;
  std::vector<napi_value> data;
  for (std::size_t i = 1; i < info.Length(); ++i) data.push_back(info[i]);
  Status status = build(env, data, call.get());
  if (status.ok()) status = engine_->submit(call);
  Delivery delivery;
  if (status.ok()) {
    delivery = sink->wait();
  } else {
    refuse(0, status, &delivery);
  }
  Napi::Value numbers;
  Napi::Value messages;
  const Napi::Value memory = Environment::encode(env, delivery, &messages, &numbers);
  auto triple = Napi::Array::New(env, 3);
  triple.Set(0U, numbers);
  triple.Set(1U, memory);
  triple.Set(2U, messages);
  return triple;
}

// cancel(slot): whether the call was still to be settled.
Napi::Value EngineHandle::cancel(const Napi::CallbackInfo& info) {
  flush_pending();
  const auto id = static_cast<std::uint64_t>(info[0].As<Napi::Number>().Int64Value());
  return Napi::Boolean::New(info.Env(), engine_->cancel(attachment_.get(), id));
}

// close(drain, slot): the slot's call settles with no outputs once the last lane has stopped, or for a handle
// that is not the owner's, once its own calls have settled.
void EngineHandle::close(const Napi::CallbackInfo& info) {
  flush_pending();
  const auto id = static_cast<std::uint64_t>(info[1].As<Napi::Number>().Int64Value());
  const bool drain = info[0].As<Napi::Boolean>();
  environment_->add_pending(1);
  auto closed = [environment = environment_, id] {
    Delivery delivery;
    delivery.results.emplace_back().id = id;
    environment->deliver(std::move(delivery));
  };
  if (owner_) {
    engine_->close(drain, std::move(closed));
    return;
  }
  if (!drain) engine_->withdraw(attachment_.get());
  open_.reset();  // the last one closes the engine
  attachment_->when_settled(std::move(closed));
}

// share(fresh): the id to attach by, `fresh` the first time; undefined if this handle or the engine is
// closed.
Napi::Value EngineHandle::share(const Napi::CallbackInfo& info) {
  if (closed() || engine_->closing()) return info.Env().Undefined();
  std::string fresh = info[0].As<Napi::String>().Utf8Value();
  return Napi::String::New(info.Env(), EngineRegistry::of_process().share(open_, std::move(fresh)));
}

Napi::Value EngineHandle::stats(const Napi::CallbackInfo& info) {
  Napi::Object object = stats_object(info.Env(), engine_->stats());
  object.Set("healthy", !closed() && engine_->healthy());
  object.Set("provider", facts_.provider);
  object.Set("providerNote", facts_.provider_note);
  object.Set("laneThreads", static_cast<double>(facts_.lane_threads));
  object.Set("wideThreads", static_cast<double>(facts_.wide_threads));
  const CostModel cost = engine_->cost();
  auto predicted = Napi::Object::New(info.Env());
  predicted.Set("perToken", cost.per_token());
  predicted.Set("perRow", cost.per_row());
  predicted.Set("perBatch", cost.per_batch());
  object.Set("cost", predicted);
  return object;
}

void EngineHandle::clear_stats(const Napi::CallbackInfo& /*info*/) { engine_->clear_stats(); }

Napi::Value attach(const Napi::CallbackInfo& info) {
  const std::string id = info[0].As<Napi::String>().Utf8Value();
  std::shared_ptr<OpenEngine> engine = EngineRegistry::of_process().find(id);
  if (!engine || engine->engine->closing()) return info.Env().Undefined();
  return EngineHandle::create(info.Env(), std::move(engine), /*owner=*/false);
}

}  // namespace batched
