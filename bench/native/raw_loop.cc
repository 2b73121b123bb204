// The limit that `bench gpu` measures against: a lane's own runs, back to back, without an engine.
//
//   raw_loop --library libonnxruntime.so.1 --model model.onnx [--provider cpu|cuda] [--device 0]
//
// Reads plans from stdin, one a line:  <name> <seconds> <runs in flight, 0: as many as fit>
// <rows>x<length>[,...] A plan's batches are run in turn, whole rounds of them, until its time is up; one
// round before that is not counted. Prints one JSON object a line: first what was loaded, then what each plan
// gave, or its `error`.
//
// The lane, its session options, its I/O binding and its copies are those that the engine uses. Inputs are
// made up: ids below 1000, masks of ones.
#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <iostream>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "engine/batch_layout.h"
#include "engine/clock.h"
#include "engine/lane.h"
#include "engine/status.h"
#include "engine/tensor.h"
#include "ort/ort_library.h"
#include "ort/ort_model.h"

namespace batched {
namespace {

struct Arguments {
  std::string library;
  std::string model;
  std::string provider = "cpu";
  int device = 0;
};

struct Batch {
  BatchShape shape;
  std::vector<std::vector<std::byte>> inputs;
};

struct Plan {
  std::string name;
  double seconds = 0;
  std::size_t in_flight = 0;
  std::vector<Batch> batches;
};

struct Outcome {
  std::size_t runs = 0;
  std::size_t rows = 0;
  std::size_t padded_tokens = 0;
  Nanos elapsed = 0;
  std::vector<Nanos> durations;  // from the start of a run to its results
};

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      out += ' ';
    } else {
      out += c;
    }
  }
  return out + '"';
}

void print(const std::string& line) {
  std::fputs((line + "\n").c_str(), stdout);
  std::fflush(stdout);
}

// What a tokenizer would give: ids, masks of ones, token types of zero.
template <typename T>
void fill(std::vector<std::byte>* data, const std::string& name, std::uint64_t seed) {
  T* const values = reinterpret_cast<T*>(data->data());
  const std::size_t count = data->size() / sizeof(T);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint64_t value = 1;
    if (name.find("type") != std::string::npos) value = 0;
    if (name.find("ids") != std::string::npos && value == 1) {
      seed = seed * 6364136223846793005U + 1442695040888963407U;
      value = (seed >> 33) % 1000;
    }
    values[i] = static_cast<T>(value);
  }
}

// The same text in every row, laid out as the engine would.
Status make_batch(const Signature& signature, std::size_t rows, std::uint32_t length, Batch* batch) {
  std::vector<std::vector<std::byte>> data;
  std::vector<RowInput> row;
  for (const TensorSpec& spec : signature.inputs) {
    Dims dims;
    for (std::size_t axis = 0; axis < spec.axes.size(); ++axis) {
      if (static_cast<int>(axis) == spec.batch_axis) continue;
      dims.push_back(spec.axes[axis].dynamic() ? std::int64_t{length} : spec.axes[axis].size);
    }
    std::vector<std::byte>& values = data.emplace_back(dims.elements() * element_size(spec.dtype));
    switch (spec.dtype) {
      case DType::kInt64:
        fill<std::int64_t>(&values, spec.name, length);
        break;
      case DType::kInt32:
        fill<std::int32_t>(&values, spec.name, length);
        break;
      case DType::kFloat32:
        fill<float>(&values, spec.name, length);
        break;
      default:
        return {Code::kInvalidInput, "input '" + spec.name + "' is " + dtype_name(spec.dtype) +
                                         "; raw_loop makes up int64, int32 and float32"};
    }
    row.push_back({values.data(), dims});
  }
  const BatchLayout layout(signature, PaddingSide::kRight);
  const std::vector<RowInputs> all(rows, RowInputs(row));
  batch->shape.rows = rows;
  batch->shape.longest = length;
  layout.fit(all, &batch->shape);
  for (std::size_t i = 0; i < signature.inputs.size(); ++i) {
    const Dims& dims = batch->shape.inputs[i];
    batch->inputs.emplace_back(dims.elements() * element_size(signature.inputs[i].dtype));
    layout.gather(all, batch->shape, i, batch->inputs.back().data());
  }
  return {};
}

// Runs a plan's batches over one lane, as the lane's one thread.
class Loop {
 public:
  explicit Loop(Lane& lane) : lane_(lane) {
    for (std::size_t slot = 0; slot < lane.slots(); ++slot) free_.push_back(slot);
  }

  Status run(const Plan& plan, Outcome* outcome) {
    const std::size_t most = plan.in_flight == 0 ? lane_.runs() : std::min(plan.in_flight, lane_.runs());
    Status status = round(plan, most, nullptr);
    const Nanos begin = steady_clock().now();
    const Nanos until = begin + static_cast<Nanos>(plan.seconds * 1e9);
    while (status.ok()) {
      status = round(plan, most, outcome);
      if (steady_clock().now() >= until) break;
    }
    const Status rest = drain(outcome);
    outcome->elapsed = steady_clock().now() - begin;
    return status.ok() ? rest : status;
  }

 private:
  struct Running {
    const Batch* batch;
    Nanos started;
  };
  struct Ended {
    std::size_t slot;
    Status status;
    Nanos time;
  };

  Status round(const Plan& plan, std::size_t most, Outcome* outcome) {
    for (const Batch& batch : plan.batches) {
      while (in_flight_ >= most || free_.empty()) {
        if (Status status = take_one(outcome); !status.ok()) return status;
      }
      if (Status status = start(batch); !status.ok()) return status;
    }
    // Timed rounds follow each other without a gap: what still runs at the end of one is counted with the
    // next.
    return outcome == nullptr ? drain(nullptr) : Status{};
  }

  Status start(const Batch& batch) {
    const std::size_t slot = free_.back();
    if (Status status = lane_.stage(slot, batch.shape, &memory_); !status.ok()) return status;
    for (std::size_t i = 0; i < batch.inputs.size(); ++i) {
      std::memcpy(memory_[i], batch.inputs[i].data(), batch.inputs[i].size());
    }
    free_.pop_back();
    ++in_flight_;
    if (running_.size() <= slot) running_.resize(slot + 1);
    running_[slot] = {&batch, steady_clock().now()};
    lane_.run(slot, batch.shape, true, [this, slot](Status status) {
      const Nanos now = steady_clock().now();
      const std::lock_guard<std::mutex> lock(mutex_);
      ended_.push_back({slot, std::move(status), now});
      wake_.notify_one();
    });
    return {};
  }

  Status take_one(Outcome* outcome) {
    std::unique_lock<std::mutex> lock(mutex_);
    wake_.wait(lock, [this] { return !ended_.empty(); });
    const Ended ended = std::move(ended_.front());
    ended_.pop_front();
    lock.unlock();
    --in_flight_;
    free_.push_back(ended.slot);
    if (!ended.status.ok()) return ended.status;
    if (lane_.outputs(ended.slot).empty()) return {Code::kOutputMismatch, "the lane gave no outputs"};
    if (outcome != nullptr) {
      const Running& run = running_[ended.slot];
      ++outcome->runs;
      outcome->rows += run.batch->shape.rows;
      outcome->padded_tokens += run.batch->shape.padded_tokens();
      outcome->durations.push_back(ended.time - run.started);
    }
    return {};
  }

  Status drain(Outcome* outcome) {
    Status first;
    while (in_flight_ > 0) {
      Status status = take_one(outcome);
      if (first.ok()) first = std::move(status);
    }
    return first;
  }

  Lane& lane_;
  std::vector<std::size_t> free_;
  std::size_t in_flight_ = 0;
  std::vector<Running> running_;  // by slot
  std::vector<std::byte*> memory_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Ended> ended_;
};

Status read_plan(const std::string& line, const Signature& signature, Plan* plan) {
  std::istringstream words(line);
  std::string shapes;
  if (!(words >> plan->name >> plan->seconds >> plan->in_flight >> shapes)) {
    return {Code::kInvalidInput,
            "a plan is '<name> <seconds> <in flight> <rows>x<length>,...', not: " + line};
  }
  std::istringstream list(shapes);
  for (std::string shape; std::getline(list, shape, ',');) {
    unsigned long rows = 0;
    unsigned long length = 0;
    if (std::sscanf(shape.c_str(), "%lux%lu", &rows, &length) != 2 || rows == 0 || length == 0) {  // NOLINT
      return {Code::kInvalidInput, "a batch is <rows>x<length>, not: " + shape};
    }
    Status status =
        make_batch(signature, rows, static_cast<std::uint32_t>(length), &plan->batches.emplace_back());
    if (!status.ok()) return status;
  }
  return {};
}

std::string to_json(const Plan& plan, Outcome outcome) {
  std::ranges::sort(outcome.durations);
  const auto at = [&](double part) {
    const auto last = static_cast<double>(outcome.durations.size() - 1);
    return static_cast<double>(outcome.durations[static_cast<std::size_t>(part * last)]) / 1e3;
  };
  std::ostringstream json;
  json << R"({"name": )" << quoted(plan.name) << R"(, "runs": )" << outcome.runs << R"(, "rows": )"
       << outcome.rows << R"(, "paddedTokens": )" << outcome.padded_tokens << R"(, "seconds": )"
       << static_cast<double>(outcome.elapsed) / 1e9 << R"(, "p50Us": )" << at(0.5) << R"(, "p90Us": )"
       << at(0.9) << "}";
  return json.str();
}

std::string answer(const std::string& line, const Signature& signature, Lane& lane) {
  Plan plan;
  Outcome outcome;
  Status status = read_plan(line, signature, &plan);
  if (status.ok()) status = Loop(lane).run(plan, &outcome);
  if (status.ok() && outcome.runs == 0) status = {Code::kBackend, "no run has ended"};
  if (status.ok()) return to_json(plan, std::move(outcome));
  return R"({"name": )" + quoted(plan.name) + R"(, "error": )" + quoted(status.message()) + "}";
}

Status choose_provider(const Arguments& arguments, ModelOptions* options) {
  if (arguments.provider == "cuda") options->gpus = {arguments.device};
  if (arguments.provider == "cuda" || arguments.provider == "cpu") return {};
  return {Code::kInvalidInput, "the provider is cpu or cuda, not " + arguments.provider};
}

int run(const Arguments& arguments) {
  LibraryOptions library;
  library.explicit_path = arguments.library;
  Status status = load_ort_library(library);
  ModelOptions options;
  options.path = arguments.model;
  options.lanes = 1;
  if (status.ok()) status = choose_provider(arguments, &options);
  std::unique_ptr<OrtModel> model;
  if (status.ok()) status = OrtModel::load(std::move(options), &model);
  if (!status.ok()) {
    print(R"({"error": )" + quoted(status.message()) + "}");
    return 1;
  }
  const std::unique_ptr<Lane> lane = std::move(model->make_lanes().front());
  print(R"({"provider": )" + quoted(model->provider()) + R"(, "version": )" + quoted(ort_library()->version) +
        R"(, "slots": )" + std::to_string(lane->slots()) + "}");
  for (std::string line; std::getline(std::cin, line);) {
    if (!line.empty()) print(answer(line, model->signature(), *lane));
  }
  return 0;
}

bool read_arguments(int argc, char** argv, Arguments* arguments) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const std::string value = argv[i + 1];
    if (name == "--library") {
      arguments->library = value;
    } else if (name == "--model") {
      arguments->model = value;
    } else if (name == "--provider") {
      arguments->provider = value;
    } else if (name == "--device") {
      arguments->device = std::atoi(value.c_str());  // NOLINT(cert-err34-c)
    } else {
      return false;
    }
  }
  return argc % 2 == 1 && !arguments->library.empty() && !arguments->model.empty();
}

}  // namespace
}  // namespace batched

int main(int argc, char** argv) {
  batched::Arguments arguments;
  if (!batched::read_arguments(argc, argv, &arguments)) {
    std::fputs("usage: raw_loop --library FILE --model FILE [--provider cpu|cuda] [--device N]\n", stderr);
    return 2;
  }
  return batched::run(arguments);
}
