// The lane on a GPU, over a driver that is played: order of copies and runs, faults at every call, teardown.
#include "gpu/device_lane.h"

#include <algorithm>

#include "engine_fixture.h"
#include "fake_driver.h"

namespace batched {
namespace {

using testing::FakeDriver;

constexpr cuda::Result kInvalidValue = 1;
constexpr cuda::Result kIllegalAddress = 700;

// A promise between the test and a stream's thread.
class Gate {
 public:
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    if (!changed_.wait_for(lock, kHangDeadline, [this] { return open_; }))
      fail_hang("a gate is never opened");
  }
  void await_waiting(std::size_t count) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kHangDeadline, [&] { return waiting_ >= count; })) {
      fail_hang("nobody comes to the gate");
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  std::size_t waiting_ = 0;
};

// The doubling model of gated_lane.h as kernels on a stream. Its outputs are device memory of the fake
// driver.
class DoublingSession final : public DeviceSession {
 public:
  using Memory = std::vector<std::unique_ptr<cuda::DeviceBuffer>>;

  DoublingSession(FakeDriver& driver, std::shared_ptr<cuda::Device> device)
      : driver_(driver), device_(std::move(device)) {
    EXPECT_TRUE(stream_.create(device_).ok());
  }

  std::shared_ptr<Gate> gate;             // what every run waits at, if there is one
  std::function<Status()> launch_status;  // what launch() answers before it enqueues anything
  bool overwritten = false;               // every run writes to one place, as a graph does

  cuda::Stream stream() const override { return stream_.get(); }

  Status launch(std::span<const DeviceTensor> inputs, DeviceRun* run) override {
    if (launch_status) {
      if (Status status = launch_status(); !status.ok()) return status;
    }
    const Dims dims = inputs[0].dims;
    run->outputs = {{DType::kFloat32, dims, 0}, {DType::kFloat32, {dims[0]}, 0}};
    auto memory = overwritten && memory_ ? memory_ : std::make_shared<Memory>();
    if (memory->empty()) {
      for (const DeviceTensor& output : run->outputs) {
        memory->push_back(std::make_unique<cuda::DeviceBuffer>(device_, cuda::DeviceBuffer::Place::kDevice));
        if (Status status = memory->back()->reserve(output.bytes()); !status.ok()) return status;
      }
    }
    for (std::size_t o = 0; o < memory->size(); ++o) run->outputs[o].data = (*memory)[o]->device();
    if (overwritten) memory_ = memory;
    const auto* const x = reinterpret_cast<const float*>(inputs[0].data);
    auto* const twice = reinterpret_cast<float*>(run->outputs[0].data);
    auto* const sum = reinterpret_cast<float*>(run->outputs[1].data);
    driver_.enqueue(stream_.get(), [=, gate = gate] {
      if (gate) gate->pass();
      for (std::int64_t r = 0; r < dims[0]; ++r) {
        sum[r] = 0;
        for (std::int64_t i = 0; i < dims[1]; ++i) {
          twice[r * dims[1] + i] = 2 * x[r * dims[1] + i];
          sum[r] += x[r * dims[1] + i];
        }
      }
    });
    run->memory = std::move(memory);
    return {};
  }
  std::uint64_t memory() const override { return 1000; }
  std::uint64_t graphs() const override { return 7; }
  bool outputs_may_be_overwritten() const override { return overwritten; }

 private:
  FakeDriver& driver_;
  const std::shared_ptr<cuda::Device> device_;
  cuda::DeviceStream stream_;
  std::shared_ptr<Memory> memory_;
};

// What the runs of a lane ended with.
class Endings {
 public:
  Lane::Done done() {
    const std::lock_guard lock(mutex_);
    const std::size_t index = statuses_.size();
    statuses_.emplace_back();
    return [this, index](const Status& status) {
      const std::lock_guard inner(mutex_);
      EXPECT_FALSE(statuses_[index].has_value()) << "done twice";
      statuses_[index] = status;
      order_.push_back(index);
      changed_.notify_all();
    };
  }
  Status await(std::size_t index) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kHangDeadline, [&] { return statuses_[index].has_value(); })) {
      fail_hang("a run never ends");
    }
    return *statuses_[index];
  }
  std::vector<std::size_t> order() {
    const std::lock_guard lock(mutex_);
    return order_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::optional<Status>> statuses_;
  std::vector<std::size_t> order_;
};

BatchShape shape_of(std::int64_t rows, std::int64_t width) {
  BatchShape shape;
  shape.rows = shape.padded_rows = static_cast<std::size_t>(rows);
  shape.longest = shape.padded_length = static_cast<std::uint32_t>(width);
  shape.inputs = {{rows, width}};
  return shape;
}

// A lane by itself, without an engine.
struct LaneUnderTest {
  explicit LaneUnderTest(FakeDriver& driver) {
    EXPECT_TRUE(cuda::Device::open(driver.table(), 0, &device).ok());
    session = std::make_shared<DoublingSession>(driver, device);
    lane = std::make_unique<DeviceLane>(device, session, doubling_signature(), "batched-g0-0");
  }

  // Stages rows that all hold `number`.
  Status stage(std::size_t slot, const BatchShape& shape, float number) const {
    std::vector<std::byte*> inputs;
    Status status = lane->stage(slot, shape, &inputs);
    if (!status.ok()) return status;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(inputs[0]) % 16, 0U);
    auto* const x = reinterpret_cast<float*>(inputs[0]);
    std::fill_n(x, shape.inputs[0].elements(), number);
    return status;
  }
  Status run(std::size_t slot, const BatchShape& shape, float number) {
    if (Status status = stage(slot, shape, number); !status.ok()) return status;
    Endings endings;
    lane->run(slot, shape, false, endings.done());
    return endings.await(0);
  }
  void expect_doubled(std::size_t slot, const BatchShape& shape, float number) const {
    const std::span<const TensorView> outputs = lane->outputs(slot);
    ASSERT_EQ(outputs.size(), 2U);
    ASSERT_EQ(outputs[0].dims, shape.inputs[0]);
    const auto* const twice = reinterpret_cast<const float*>(outputs[0].data);
    const auto* const sum = reinterpret_cast<const float*>(outputs[1].data);
    for (std::size_t i = 0; i < outputs[0].dims.elements(); ++i) ASSERT_EQ(twice[i], 2 * number);
    for (std::size_t r = 0; r < outputs[1].dims.elements(); ++r) {
      ASSERT_EQ(sum[r], number * static_cast<float>(shape.inputs[0][1]));
    }
  }

  std::shared_ptr<cuda::Device> device;
  std::shared_ptr<DoublingSession> session;
  std::unique_ptr<DeviceLane> lane;
};

TEST(DeviceLaneTest, RunsBatchesOfAnyShape) {
  FakeDriver driver;
  {
    LaneUnderTest test(driver);
    EXPECT_EQ(driver.calls("stream_create"), 1U) << "a lane that nobody uses asks nothing of the device";
    for (const auto& [rows, width] : {std::pair{1, 1}, {3, 700}, {32, 5}, {1, 1}, {2, 4000}, {4, 0}}) {
      const BatchShape shape = shape_of(rows, width);
      for (std::size_t slot = 0; slot < test.lane->slots(); ++slot) {
        ASSERT_TRUE(test.run(slot, shape, 7).ok());
        test.expect_doubled(slot, shape, 7);
      }
    }
    EXPECT_LE(test.lane->name().size(), 14U) << "one is left for the waiter";
  }
  EXPECT_EQ(driver.alive(), 0U);
}

TEST(DeviceLaneTest, MemoryGrowsWithTheLargestBatchOnly) {
  FakeDriver driver;
  LaneUnderTest test(driver);
  ASSERT_TRUE(test.run(0, shape_of(32, 1000), 1).ok());
  const std::size_t allocations = driver.calls("host_allocate");
  for (int i = 1; i <= 32; ++i) ASSERT_TRUE(test.run(0, shape_of(i, 1000), 1).ok());
  EXPECT_EQ(driver.calls("host_allocate"), allocations);
}

TEST(DeviceLaneTest, CopiesOutWhatTheNextRunWillOverwriteBeforeThat) {
  FakeDriver driver;
  LaneUnderTest test(driver);
  test.session->overwritten = true;
  Endings endings;
  const BatchShape shape = shape_of(4, 1000);
  for (int round = 0; round < 50; ++round) {
    for (const std::size_t slot : {std::size_t{0}, std::size_t{1}}) {
      ASSERT_TRUE(test.stage(slot, shape, static_cast<float>(slot + 1)).ok());
      test.lane->run(slot, shape, false, endings.done());
    }
    for (const int last : {2, 1})
      ASSERT_TRUE(endings.await(static_cast<std::size_t>(2 * round + 2 - last)).ok());
    for (const std::size_t slot : {std::size_t{0}, std::size_t{1}}) {
      test.expect_doubled(slot, shape, static_cast<float>(slot + 1));
    }
  }
}

TEST(DeviceLaneTest, TellsWhatItTakesOfTheDevice) {
  FakeDriver driver;
  LaneUnderTest test(driver);
  EXPECT_EQ(test.lane->device_use()->bytes, 1000U) << "the session's";
  EXPECT_EQ(test.lane->device_use()->graphs, 7U);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(test.run(0, shape_of(4, 1024), 1).ok());
  EXPECT_EQ(test.lane->device_use()->bytes, 1000U + 4 * 1024 * sizeof(float));
  EXPECT_EQ(test.lane->device_use()->computed, 3 * FakeDriver::kComputed);
}

TEST(DeviceLaneTest, TheNextRunIsInTheStreamBeforeOneEnds) {
  FakeDriver driver;
  LaneUnderTest test(driver);
  test.session->gate = std::make_shared<Gate>();
  const BatchShape shape = shape_of(2, 3);
  Endings endings;
  ASSERT_TRUE(test.stage(0, shape, 1).ok());
  test.lane->run(0, shape, false, endings.done());
  test.session->gate->await_waiting(1);  // the first one computes
  ASSERT_TRUE(test.stage(1, shape, 2).ok());
  test.lane->run(1, shape, false, endings.done());  // and the second is behind it
  EXPECT_EQ(driver.calls("copy_out"), 4U);
  ASSERT_TRUE(test.stage(2, shape, 3).ok()) << "a third can be staged meanwhile";
  EXPECT_TRUE(endings.order().empty());
  test.session->gate->open();
  ASSERT_TRUE(endings.await(0).ok());
  ASSERT_TRUE(endings.await(1).ok());
  test.lane->run(2, shape, false, endings.done());
  ASSERT_TRUE(endings.await(2).ok());
  EXPECT_EQ(endings.order(), (std::vector<std::size_t>{0, 1, 2}));
  for (std::size_t slot = 0; slot < 3; ++slot) {
    test.expect_doubled(slot, shape, static_cast<float>(slot + 1));
  }
}

TEST(DeviceLaneTest, ARunThatCannotBeLaunchedEndsBehindTheOneBeforeIt) {
  FakeDriver driver;
  LaneUnderTest test(driver);
  test.session->gate = std::make_shared<Gate>();
  const BatchShape shape = shape_of(1, 2);
  Endings endings;
  ASSERT_TRUE(test.stage(0, shape, 1).ok());
  test.lane->run(0, shape, false, endings.done());
  test.session->launch_status = [] { return Status(Code::kBackend, "no such kernel"); };
  ASSERT_TRUE(test.stage(1, shape, 2).ok());
  test.lane->run(1, shape, false, endings.done());
  test.session->gate->open();
  EXPECT_TRUE(endings.await(0).ok());
  EXPECT_EQ(endings.await(1).message(), "no such kernel");
  EXPECT_EQ(endings.order(), (std::vector<std::size_t>{0, 1}));
  EXPECT_EQ(driver.calls("stream_synchronize"), 3U) << "what was enqueued of it has come to its end";
  test.expect_doubled(0, shape, 1);
}

TEST(DeviceLaneTest, AnErrorOfTheDeviceOutranksTheLaunchThatHintedAtIt) {
  FakeDriver driver;
  LaneUnderTest test(driver);
  ASSERT_TRUE(test.run(0, shape_of(1, 1), 1).ok());
  test.session->launch_status = [&] {
    driver.fail_call(0, kIllegalAddress, /*sticky=*/true);
    return Status(Code::kBackend, "a message of ONNX Runtime");
  };
  const Status status = test.run(0, shape_of(1, 1), 1);
  EXPECT_EQ(status.code(), Code::kDeviceLost);
  EXPECT_NE(status.message().find("GPU 0: cuStreamSynchronize failed with CUDA_ERROR_OF_THE_TEST"),
            std::string::npos)
      << status.message();
}

TEST(DeviceLaneTest, AfterAnInterruptNothingRuns) {
  FakeDriver driver;
  LaneUnderTest test(driver);
  test.lane->interrupt();
  EXPECT_EQ(test.run(0, shape_of(1, 1), 1).code(), Code::kClosed);
  EXPECT_EQ(driver.calls("copy_in"), 0U);
}

TEST(DeviceLaneTest, DestroyedWithRunsInFlightItWaitsForThem) {
  FakeDriver driver;
  Endings endings;
  {
    LaneUnderTest test(driver);
    for (std::size_t slot = 0; slot < 2; ++slot) {
      ASSERT_TRUE(test.stage(slot, shape_of(8, 8), 1).ok());
      test.lane->run(slot, shape_of(8, 8), false, endings.done());
    }
  }
  EXPECT_EQ(endings.order().size(), 2U);
  EXPECT_EQ(driver.alive(), 0U);
}

TEST(DeviceLaneTest, RefusesAShapeThatIsTooLarge) {
  FakeDriver driver;
  LaneUnderTest test(driver);
  const std::int64_t huge = std::int64_t{1} << 40;
  EXPECT_EQ(test.run(0, shape_of(huge, huge), 1).code(), Code::kInvalidInput);
  ASSERT_TRUE(test.run(0, shape_of(1, 1), 1).ok());
}

// Every driver call of three batches fails once, in each of the ways a driver has.
TEST(DeviceLaneTest, AFaultAtAnyCallEndsEachRunOnceAndLeavesNothingBehind) {
  struct Fault {
    cuda::Result result;
    bool sticky;
    Code code;
  };
  for (const Fault fault : {Fault{kInvalidValue, false, Code::kBackend},
                            Fault{cuda::kErrorOutOfMemory, false, Code::kOutOfMemory},
                            Fault{kIllegalAddress, true, Code::kDeviceLost}}) {
    for (std::size_t call = 0;; ++call) {
      SCOPED_TRACE("result " + std::to_string(fault.result) + " at call " + std::to_string(call));
      FakeDriver driver;
      std::size_t calls = 0;
      std::size_t failed = 0;
      {
        LaneUnderTest test(driver);
        const std::size_t before = driver.calls();
        driver.fail_call(call, fault.result, fault.sticky);
        const auto batch = [&](std::size_t slot) {
          const BatchShape shape = shape_of(2, 100);
          const Status status = test.run(slot, shape, 5);
          if (status.ok()) {
            test.expect_doubled(slot, shape, 5);
          } else {
            EXPECT_EQ(status.code(), fault.code) << status.message();
            ++failed;
          }
        };
        for (std::size_t slot = 0; slot < 3; ++slot) batch(slot);
        calls = driver.calls() - before;
        // What passes by is passed by: the slot at fault works again.
        if (!fault.sticky && call < calls) {
          EXPECT_LE(failed, 1U);
          failed = 0;
          for (std::size_t slot = 0; slot < 3; ++slot) batch(slot);
          EXPECT_EQ(failed, 0U);
        }
      }
      EXPECT_EQ(driver.alive(), 0U);
      if (call >= calls) break;
    }
  }
}

// --- under an engine --------------------------------------------------------------------------------------

class DeviceEngineTest : public EngineTest {
 protected:
  explicit DeviceEngineTest(int devices = 1) : driver_(devices) {}
  ~DeviceEngineTest() override {
    engine_.reset();
    sessions_.clear();
    devices_.clear();
    EXPECT_EQ(driver_.alive(), 0U);
  }

  void start_on_devices(std::size_t lanes, int devices = 1) {
    std::vector<std::unique_ptr<Lane>> made;
    for (int d = 0; d < devices; ++d) {
      devices_.emplace_back();
      ASSERT_TRUE(cuda::Device::open(driver_.table(), d, &devices_.back()).ok());
      for (std::size_t i = 0; i < lanes; ++i) {
        sessions_.push_back(std::make_shared<DoublingSession>(driver_, devices_.back()));
        made.push_back(
            std::make_unique<DeviceLane>(devices_.back(), sessions_.back(), doubling_signature(),
                                         "batched-g" + std::to_string(d) + "-" + std::to_string(i)));
      }
    }
    engine_ = std::make_unique<Engine>(options_, doubling_signature(), std::move(made), clock_);
  }

  FakeDriver driver_;
  std::vector<std::shared_ptr<cuda::Device>> devices_;
  std::vector<std::shared_ptr<DoublingSession>> sessions_;
};

class TwoDevicesTest : public DeviceEngineTest {
 protected:
  TwoDevicesTest() : DeviceEngineTest(2) {}
};

TEST_F(DeviceEngineTest, EveryRowGetsItsOwnResultUnderLoad) {
  options_.policy.batch_size = 16;
  options_.ladder = {true, true, 0, 0};
  start_on_devices(2);
  constexpr std::size_t kRows = 3000;
  for (std::size_t id = 1; id <= kRows; ++id) submit_row(id, 1 + id * 37 % 90);
  sink_->await(kRows);
  for (std::size_t id = 1; id <= kRows; ++id) expect_row_result(id, static_cast<float>(id), 1 + id * 37 % 90);
  EXPECT_GT(engine_->stats().lanes[0].device->computed, 0);
  engine_->clear_stats();
  EXPECT_EQ(engine_->stats().lanes[0].device->computed, 0);
  close();
  expect_balance();
  EXPECT_FALSE(engine_->stats().lanes[0].device) << "a closed engine has none of its memory";
}

TEST_F(TwoDevicesTest, OneQueueFeedsLanesOnTwoDevices) {
  options_.policy.batch_size = 4;
  start_on_devices(1, 2);
  for (const auto& session : sessions_) session->gate = std::make_shared<Gate>();
  submit_rows(1, 16);
  for (const auto& session : sessions_) session->gate->await_waiting(1);
  for (const auto& session : sessions_) session->gate->open();
  sink_->await(16);
  close();
  expect_balance();
}

TEST_F(DeviceEngineTest, ALargeBatchThatFindsNoMemoryRunsInParts) {
  options_.policy.batch_size = 64;
  driver_.limit_memory(std::size_t{200} << 10);
  start_on_devices(1);
  sessions_[0]->gate = std::make_shared<Gate>();
  submit_row(100);
  sessions_[0]->gate->await_waiting(1);
  submit_rows(1, 64, 1000);  // 256 kB of inputs
  sessions_[0]->gate->open();
  sink_->await(65);
  for (std::size_t id = 1; id <= 64; ++id) expect_row_result(id, static_cast<float>(id), 1000);
  EXPECT_GT(engine_->stats().counters.retries, 0U);
  close();
  expect_balance();
}

TEST_F(DeviceEngineTest, ALostDeviceEndsEveryCallWithTheReason) {
  options_.policy.batch_size =
      4;  // more rows than the slots hold: the last to hear are told when the lane is gone
  start_on_devices(1);
  submit_row(1);
  sink_->await(1);
  driver_.fail_call(0, kIllegalAddress, /*sticky=*/true);
  submit_rows(2, 50);
  sink_->await(51);
  for (std::uint64_t id = 2; id <= 51; ++id) EXPECT_EQ(sink_->code(id), Code::kDeviceLost);
  EXPECT_FALSE(engine_->healthy());
  auto late = call(99, {{1, 1}});
  EXPECT_EQ(submit(std::move(late)).code(), Code::kDeviceLost);
  close();
  expect_balance();
}

TEST_F(DeviceEngineTest, ClosedWithRunsInFlightEveryCallIsAccountedFor) {
  for (const bool drain : {true, false}) {
    start_on_devices(2);
    submit_rows(1, 200, 3);
    close(drain);
    sink_->await(200);
    if (drain) expect_row_result(200, 200, 3);
    expect_balance();
    engine_.reset();
    sink_ = std::make_shared<RecordingSink>();
  }
}

TEST(DeviceEngineFaultTest, AFaultAtAnyCallLosesNoRow) {
  struct Fault : public DeviceEngineTest {
    void TestBody() override {}
    // Calls of the driver that the run made; 0: the fault was not reached.
    std::size_t run(std::size_t call, cuda::Result result, bool sticky) {
      options_.policy.batch_size = 4;
      start_on_devices(1);
      const std::size_t before = driver_.calls();
      driver_.fail_call(call, result, sticky);
      submit_rows(1, 10, 3);
      sink_->await(10);
      const std::size_t calls = driver_.calls() - before;
      for (std::uint64_t id = 1; id <= 10; ++id) {
        const Code code = sink_->code(id);
        if (code == Code::kOk) {
          expect_row_result(id, static_cast<float>(id), 3);
        } else {
          // Only a lost device takes rows with it: what passes by is tried again.
          EXPECT_EQ(code, sticky ? Code::kDeviceLost : Code::kOk) << sink_->result(id).message;
        }
      }
      close();
      expect_balance();
      return call < calls ? calls : 0;
    }
  };
  for (const bool sticky : {false, true}) {
    for (const cuda::Result result : {kInvalidValue, cuda::kErrorOutOfMemory}) {
      for (std::size_t call = 0;; ++call) {
        SCOPED_TRACE("call " + std::to_string(call) + (sticky ? ", sticky" : ""));
        Fault fault;
        if (fault.run(call, sticky ? kIllegalAddress : result, sticky) == 0) break;
      }
      if (sticky) break;
    }
  }
}

// --- the driver and its devices ---------------------------------------------------------------------------

TEST(CudaDeviceTest, NamesTheDevicesThereAre) {
  FakeDriver driver(2);
  std::shared_ptr<cuda::Device> device;
  ASSERT_TRUE(cuda::Device::open(driver.table(), 1, &device).ok());
  EXPECT_EQ(device->name(), "fake");
  std::size_t free = 0;
  std::size_t total = 0;
  EXPECT_TRUE(device->memory(&free, &total).ok());
  EXPECT_GT(total, 0U);
  const Status status = cuda::Device::open(driver.table(), 2, &device);
  EXPECT_EQ(status.code(), Code::kProviderUnavailable);
  EXPECT_EQ(status.message(), "there is no GPU 2: there are 2, counted from 0");
}

TEST(CudaDeviceTest, SaysWhenThereIsNone) {
  FakeDriver driver(0);
  std::shared_ptr<cuda::Device> device;
  EXPECT_EQ(cuda::Device::open(driver.table(), 0, &device).message(), "there is no GPU 0: there is none");
}

TEST(CudaDriverTest, SaysWhyThereIsNone) {
  cuda::Driver driver;
  const Status nowhere = cuda::load_driver_from("/nowhere/libcuda.so.1", &driver);
  EXPECT_EQ(nowhere.code(), Code::kProviderUnavailable);
  EXPECT_NE(nowhere.message().find("/nowhere/libcuda.so.1"), std::string::npos) << nowhere.message();
  const Status other = cuda::load_driver_from("libm.so.6", &driver);
  EXPECT_EQ(other.code(), Code::kProviderUnavailable);
  EXPECT_NE(other.message().find("it lacks cuInit, "), std::string::npos) << other.message();
}

}  // namespace
}  // namespace batched
