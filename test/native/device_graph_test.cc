#include "gpu/device_graph.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <memory>
#include <string>

#include "fake_driver.h"

namespace batched {
namespace {

using testing::FakeDriver;

constexpr int kNodeHost = 3;

class DeviceGraphTest : public ::testing::Test {
 protected:
  DeviceGraphTest() {
    EXPECT_TRUE(cuda::Device::open(driver_.table(), 0, &device_).ok());
    EXPECT_TRUE(stream_.create(device_).ok());
  }

  Status capture(const std::function<Status()>& work) {
    return cuda::DeviceGraph::capture(device_, stream_.get(), work, &graph_);
  }
  void finish() {
    ASSERT_TRUE(device_->call("synchronize", driver_.table().stream_synchronize, stream_.get()).ok());
  }
  void count() {
    driver_.enqueue(stream_.get(), [this] { ++counted_; });
  }

  FakeDriver driver_;
  std::shared_ptr<cuda::Device> device_;
  cuda::DeviceStream stream_;
  std::unique_ptr<cuda::DeviceGraph> graph_;
  int counted_ = 0;
};

TEST_F(DeviceGraphTest, WhatIsRecordedIsDoneAtEveryLaunchAndNotBefore) {
  const auto twice = [&] {
    count();
    count();
    return Status::okay();
  };
  ASSERT_TRUE(capture(twice).ok());
  finish();
  EXPECT_EQ(counted_, 0);
  for (int launches = 1; launches <= 3; ++launches) {
    ASSERT_TRUE(graph_->launch(stream_.get()).ok());
    finish();
    EXPECT_EQ(counted_, 2 * launches);
  }
  count();
  finish();
  EXPECT_EQ(counted_, 7) << "the stream records no more";
}

TEST_F(DeviceGraphTest, CopiesFromTheDeviceOnly) {
  cuda::DeviceBuffer device(device_, cuda::DeviceBuffer::Place::kDevice);
  cuda::DeviceBuffer host(device_, cuda::DeviceBuffer::Place::kPinned);
  ASSERT_TRUE(device.reserve(64).ok());
  ASSERT_TRUE(host.reserve(64).ok());
  const cuda::Driver& driver = driver_.table();
  const Status in = capture([&] {
    return device_->call("in", driver.copy_in, device.device(), static_cast<const void*>(host.pinned()),
                         std::size_t{64}, stream_.get());
  });
  EXPECT_EQ(in.message(), "not a graph to launch again: it copies from the host");
  EXPECT_TRUE(capture([&] {
                return device_->call("out", driver.copy_out, static_cast<void*>(host.pinned()),
                                     device.device(), std::size_t{64}, stream_.get());
              }).ok());
}

TEST_F(DeviceGraphTest, IsNotMadeOfWhatWaitsOrCallsTheHostOrDoesNothing) {
  const auto wait = [&] { return device_->call("wait", driver_.table().stream_synchronize, stream_.get()); };
  const auto call_host = [&] {
    driver_.enqueue(stream_.get(), [] {}, kNodeHost);
    return Status::okay();
  };
  const auto wait_and_count = [&] {
    (void)wait();  // whoever waits need not say that it failed
    count();
    return Status::okay();
  };
  const auto fail = [&] {
    count();
    return Status(Code::kOutOfMemory, "none");
  };
  const auto do_nothing = [] { return Status::okay(); };
  const std::array<std::function<Status()>, 5> refused = {wait, wait_and_count, call_host, fail, do_nothing};
  for (const std::function<Status()>& work : refused) {
    EXPECT_FALSE(capture(work).ok());
    EXPECT_EQ(graph_, nullptr);
  }
  const int before = counted_;
  count();
  finish();
  EXPECT_EQ(counted_, before + 1) << "the stream is as before";
}

TEST(DeviceGraphFaultTest, AFaultAtAnyCallLeavesNothingBehind) {
  for (const bool sticky : {false, true}) {
    for (std::size_t call = 0;; ++call) {
      SCOPED_TRACE("call " + std::to_string(call));
      FakeDriver driver;
      std::size_t calls = 0;
      {
        std::shared_ptr<cuda::Device> device;
        cuda::DeviceStream stream;
        ASSERT_TRUE(cuda::Device::open(driver.table(), 0, &device).ok());
        ASSERT_TRUE(stream.create(device).ok());
        const std::size_t before = driver.calls();
        driver.fail_call(call, sticky ? 700 : 1, sticky);
        std::unique_ptr<cuda::DeviceGraph> graph;
        const Status status = cuda::DeviceGraph::capture(
            device, stream.get(), [&] { return driver.enqueue(stream.get(), [] {}), Status::okay(); },
            &graph);
        EXPECT_EQ(status.ok(), graph != nullptr);
        calls = driver.calls() - before;
      }
      EXPECT_EQ(driver.alive(), 0U);
      if (call >= calls) break;
    }
  }
}

}  // namespace
}  // namespace batched
