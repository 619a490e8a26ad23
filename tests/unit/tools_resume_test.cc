// A training killed at any moment goes on from its checkpoint to the same bits.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "data/codec.h"
#include "nn/io/model_file.h"
#include "nn/network.h"
#include "tests/unit/data_testing.h"
#include "tests/unit/tools_testing.h"
#include "tools/sha256.h"

namespace vitrine::tools {
namespace {

using data::Scratch;

pid_t start(const std::vector<std::string>& arguments) {
  const pid_t child = fork();
  if (child != 0) return child;
  std::vector<char*> argv{const_cast<char*>("build/vitrine")};
  for (auto& word : arguments) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr)) _exit(126);
  execv(argv[0], argv.data());
  _exit(127);
}

int wait_for(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

class Resume : public testing::TestWithParam<const char*> {
 protected:
  Resume() {
    auto teacher = nn::make_model("iresnet18", 1, {.height = 28, .width = 28, .channels = 0.0625, .embedding = 16});
    teacher.info["shrink"] = "4";
    io::save_model(scratch / "teacher.safetensors", teacher);
  }
  std::vector<std::string> command(const std::string& out) const {
    const bool distil = std::string(GetParam()) != "train";
    std::vector<std::string> c;
    if (distil)
      c = {"quantize", scratch / "teacher.safetensors", "--bits", "w4a4", "--finetune", GetParam(), "--batch", "16", "--freeze-after", "9"};
    else
      c = {"train", "--arch",  "iresnet18", "--width",       "0.0625", "--side",    "28", "--embedding",
           "16",    "--batch", "16",        "--sample-rate", "0.5",    "--dropout", "0.3"};
    for (const char* word : {"--data", "synthetic:12x8", "--epochs", "3", "--checkpoint-every", "2", "--threads", "1", "--out"})
      c.push_back(word);
    c.push_back(scratch / out);
    return c;
  }
  Scratch scratch;
};

TEST_P(Resume, AfterBeingKilledAtFiveMomentsGivesTheModelOfAnUndisturbedRun) {
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(wait_for(start(command("whole"))), 0);
  const auto took = std::chrono::steady_clock::now() - begin;
  const std::string model = sha256_file(scratch / "whole/model.safetensors"), metrics = sha256_file(scratch / "whole/metrics.jsonl");

  auto resumed = command("killed");
  resumed.push_back("--resume");
  for (const int percent : {25, 40, 55, 70, 85}) {
    std::filesystem::remove_all(scratch / "killed");
    const pid_t child = start(command("killed"));
    std::this_thread::sleep_for(took * percent / 100);
    kill(child, SIGKILL);
    wait_for(child);
    ASSERT_EQ(wait_for(start(resumed)), 0) << percent;
    EXPECT_EQ(sha256_file(scratch / "killed/model.safetensors"), model) << percent;
    EXPECT_EQ(sha256_file(scratch / "killed/metrics.jsonl"), metrics) << percent;
  }
}

TEST_P(Resume, RefusesACheckpointOfAnotherRun) {
  ASSERT_EQ(wait_for(start(command("run"))), 0);
  auto other = command("run");
  for (const char* word : {"--resume", "--lr", "0.5"}) other.push_back(word);
  const std::string record = read_file(scratch / "run/run.json"), metrics = read_file(scratch / "run/metrics.jsonl");
  expect_failure(other, "checkpoint.safetensors: of a run with config/lr 0.");
  EXPECT_EQ(read_file(scratch / "run/run.json"), record) << "a run that is refused takes nothing away";
  EXPECT_EQ(read_file(scratch / "run/metrics.jsonl"), metrics);
}

// As if it had been killed behind its last checkpoint, before the model was written.
TEST_P(Resume, BehindTheLastStepGivesTheSameResult) {
  auto c = command("done");
  for (const char* word : {"--json", "-"}) c.push_back(word);
  const Outcome whole = vitrine(c);
  ASSERT_EQ(whole.code, 0) << whole.err;
  const std::string model = sha256_file(scratch / "done/model.safetensors");
  for (const char* file : {"done/model.safetensors", "done/run.json"}) std::filesystem::remove(scratch / file);
  c.push_back("--resume");
  const Outcome again = vitrine(c);
  ASSERT_EQ(again.code, 0) << again.err;
  for (const char* key : {"steps", "loss"}) EXPECT_EQ(again.json()[key], whole.json()[key]);
  EXPECT_EQ(sha256_file(scratch / "done/model.safetensors"), model);
}

INSTANTIATE_TEST_SUITE_P(, Resume, testing::Values("ekd", "mse", "ekd+ce", "train"), [](auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '+', '_');
  return name;
});

}  // namespace
}  // namespace vitrine::tools
