// Several users of one engine: each closes for itself.
#include "engine/attachment.h"

#include <atomic>
#include <thread>

#include "engine_fixture.h"
#include "random.h"

namespace batched {
namespace {

class AttachmentTest : public EngineTest {
 protected:
  struct User {
    std::shared_ptr<RecordingSink> sink = std::make_shared<RecordingSink>();
    std::shared_ptr<Attachment> attachment = std::make_shared<Attachment>(sink);
    std::atomic<int> settled = 0;

    void watch() {
      attachment->when_settled([this] { ++settled; });
    }
  };

  Status submit_for(User& user, std::uint64_t id, std::size_t rows = 1) {
    user.attachment->submitting(1);
    Status status =
        submit(make_call(user.attachment, id, std::vector<RowSpec>(rows, {static_cast<float>(id), 1})));
    if (!status.ok()) user.attachment->settled(1);
    return status;
  }

  User a_;
  User b_;
};

TEST_F(AttachmentTest, WithNothingInFlightItIsSettledAtOnce) {
  a_.watch();
  EXPECT_EQ(a_.settled, 1);
  a_.watch();
  EXPECT_EQ(a_.settled, 2);
}

TEST_F(AttachmentTest, ResultsGoToWhoeverMadeTheCallAndEachIsSettledByItself) {
  LaneControl& lane = add_lane();
  options_.policy.batch_size = 1;
  start();
  ASSERT_TRUE(submit_for(a_, 1).ok());
  lane.await_started(1);
  ASSERT_TRUE(submit_for(b_, 1).ok());
  a_.watch();
  b_.watch();
  EXPECT_EQ(a_.settled, 0);
  lane.open();
  a_.sink->await(1);
  lane.await_started(2);  // after the delivery of the first
  EXPECT_EQ(a_.settled, 1);
  EXPECT_EQ(b_.settled, 0);
  lane.open();
  close();
  EXPECT_EQ(b_.settled, 1);
  EXPECT_EQ(b_.sink->code(1), Code::kOk);
  expect_balance();
}

TEST_F(AttachmentTest, ARefusedCallIsNotWaitedFor) {
  add_lane();
  start();
  close();
  EXPECT_EQ(submit_for(a_, 1).code(), Code::kClosed);
  a_.watch();
  EXPECT_EQ(a_.settled, 1);
}

TEST_F(AttachmentTest, WithdrawingSettlesWhatWaitsAndTellsTheCaller) {
  LaneControl& lane = add_lane();
  options_.policy.batch_size = 2;
  start();
  ASSERT_TRUE(submit_for(a_, 1, 3).ok());  // two of its rows run
  lane.await_started(1);
  ASSERT_TRUE(submit_for(a_, 2).ok());
  ASSERT_TRUE(submit_for(b_, 2).ok());
  engine_->withdraw(a_.attachment.get());
  EXPECT_EQ(a_.sink->code(1), Code::kClosed);
  EXPECT_EQ(a_.sink->code(2), Code::kClosed);
  a_.watch();
  EXPECT_EQ(a_.settled, 1);
  lane.open_all();
  b_.sink->await(1);
  close();
  EXPECT_EQ(b_.sink->code(2), Code::kOk);
  EXPECT_EQ(a_.sink->count(), 2U);
  EXPECT_TRUE(a_.sink->repeated().empty());
  EXPECT_EQ(engine_->stats().counters.closed, 4U);
  expect_balance();
}

TEST_F(AttachmentTest, WithdrawingLeavesWhatRuns) {
  LaneControl& lane = add_lane();
  start();
  ASSERT_TRUE(submit_for(a_, 1).ok());
  lane.await_started(1);
  engine_->withdraw(a_.attachment.get());
  a_.watch();
  EXPECT_EQ(a_.settled, 0);
  lane.open();
  close();
  EXPECT_EQ(a_.settled, 1);
  EXPECT_EQ(a_.sink->code(1), Code::kOk);
  expect_balance();
}

// An environment that ends is told nothing, and the engine goes on without it.
TEST_F(AttachmentTest, AnAbandonedUserLeavesTheOthers) {
  LaneControl& lane = add_lane();
  options_.policy.batch_size = 1;
  start();
  ASSERT_TRUE(submit_for(b_, 1).ok());
  lane.await_started(1);
  ASSERT_TRUE(submit_for(a_, 1).ok());
  ASSERT_TRUE(submit_for(b_, 2).ok());
  engine_->abandon(a_.attachment.get());
  lane.open_all();
  b_.sink->await(2);
  close();
  EXPECT_EQ(a_.sink->count(), 0U);
  expect_balance();
}

TEST_F(AttachmentTest, UsersComeCallAndCloseAtOnce) {
  constexpr std::uint64_t kUsers = 4;
  constexpr std::uint64_t kCalls = 20;
  add_lane().open_all();
  add_lane(/*async=*/true, 2).open_all();
  start();
  std::vector<std::thread> threads;
  for (std::uint64_t u = 0; u < kUsers; ++u) {
    threads.emplace_back([&, u] {
      Random random(u + 1);
      for (int round = 0; round < 50; ++round) {
        User user;
        for (std::uint64_t id = 0; id < kCalls; ++id)
          EXPECT_TRUE(submit_for(user, id, 1 + random.below(3)).ok());
        if (random.below(2) == 0) engine_->withdraw(user.attachment.get());
        std::atomic<bool> done = false;
        user.attachment->when_settled([&] { done = true; });
        while (!done) std::this_thread::yield();
        EXPECT_EQ(user.sink->count(), kCalls);
        EXPECT_TRUE(user.sink->repeated().empty());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  close();
  expect_balance();
}

}  // namespace
}  // namespace batched
