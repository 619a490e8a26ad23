#include "tools/run_record.h"

#include <ctime>
#include <filesystem>
#include <utility>

#include "engine/core/bytes.h"
#include "engine/core/error.h"
#include "engine/core/parallel.h"
#include "engine/cpu/isa.h"
#include "tools/sha256.h"

#ifndef VITRINE_COMMIT
#define VITRINE_COMMIT "unknown"
#endif

namespace vitrine::tools {
namespace {

constexpr const char* kBuiltIn = "built in";
std::vector<std::string> command_line;

std::string cpu_model() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown";
}

std::string now() {
  std::time_t t = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&t));
  return text;
}

}  // namespace

std::string build_description() {
  return cat("vitrine, commit ", VITRINE_COMMIT, ", g++ ", __VERSION__,
#ifdef __OPTIMIZE__
             ", optimised"
#else
             ", not optimised"
#endif
  );
}

void set_command_line(int argc, char** argv) { command_line.assign(argv, argv + argc); }

std::string default_directory(const std::string& model, const std::string& what) {
  const std::filesystem::path file(model);
  const bool of_run = file.stem() == "model" && file.has_parent_path();
  return cat("runs/", (of_run ? file.parent_path().filename() : file.stem()).string(), "-", what);
}

void check_same_run(const std::string& file, const std::string& made_with, const std::string& expected) {
  if (made_with == expected) return;
  Json was = Json::parse(made_with, nullptr, false), is = Json::parse(expected).flatten();
  was = was.is_object() ? was.flatten() : Json::object();
  for (auto& [key, value] : is.items())
    CHECK(was[key] == value, file, ": of a run with ", key.substr(1), " ", was[key], ", expected ", value);
  throw Error(cat(file, ": of another run, expected the same inputs and options"));
}

RunRecord::RunRecord(std::string directory, const Common& common) : directory_(std::move(directory)) {
  std::error_code error;
  std::filesystem::create_directories(directory_, error);
  CHECK(!error, directory_, ": the run directory cannot be made: ", error.message());
  record_["arguments"] = command_line;
  record_["directory"] = std::filesystem::current_path().string();
  record_["started"] = now();
  record_["build"] = build_description();
  record_["machine"] = {{"cpu", cpu_model()}, {"isa", cpu::name(cpu::isa())}, {"threads", threads()}, {"device", device_text(common)}};
  record_["mode"] = mode_text(common);
  record_["seed"] = common.seed;
  record_["config"] = Json::object();
  record_["inputs"] = Json::object();
  record_["outputs"] = Json::object();
}

RunRecord::~RunRecord() {
  std::error_code error;  // not empty: it stays
  if (!begun_) std::filesystem::remove(directory_, error);
}

void RunRecord::resume_at(int64_t steps) {
  const std::string log = path("metrics.jsonl");
  std::ifstream before(log);
  for (std::string line; static_cast<int64_t>(history_.size()) < steps && std::getline(before, line);) {
    history_.push_back(Json::parse(line, nullptr, false));
    CHECK(!history_.back().is_discarded(), log, ":", history_.size(), ": not JSON, expected the metrics of a step");
  }
  CHECK(static_cast<int64_t>(history_.size()) == steps, log, ": ", history_.size(), " lines, the checkpoint is of step ", steps);
}

void RunRecord::begin() {
  if (std::exchange(begun_, true)) return;
  const std::string log = path("metrics.jsonl");
  std::filesystem::remove(path("run.json"));  // an earlier run's record would not describe this one
  if (history_.empty()) std::filesystem::remove(path(kCheckpoint));
  save_bytes(log, [&](std::ostream& out) {
    for (auto& line : history_) out << line.dump() << "\n";
  });
  metrics_.open(log, std::ios::app);
  CHECK(metrics_, log, ": cannot be written");
}

std::string RunRecord::path(const std::string& file) const { return (std::filesystem::path(directory_) / file).string(); }

void RunRecord::input(const std::string& name, const std::string& path) {
  bool exists = std::filesystem::exists(path);
  record_["inputs"][name] = {{"path", path}, {"sha256", exists ? sha256_path(path) : kBuiltIn}};
}

void RunRecord::metrics(const Json& line) {
  begin();
  history_.push_back(line);
  metrics_ << line.dump() << std::endl;
}

std::string RunRecord::fingerprint() const {
  Json all{{"seed", record_["seed"]}, {"config", record_["config"]}, {"mode", record_["mode"]}};
  all["device"] = record_["machine"]["device"];
  for (auto& [name, input] : record_["inputs"].items()) all["inputs"][name] = input["sha256"] == kBuiltIn ? input["path"] : input["sha256"];
  return all.dump();
}

void RunRecord::output(const std::string& file) {
  begin();
  record_["outputs"][file] = sha256_file(path(file));
}

void RunRecord::finish(const Json& result) {
  begin();
  metrics_.close();
  output("metrics.jsonl");
  record_["finished"] = now();
  record_["result"] = result;
  save_bytes(path("run.json"), [&](std::ostream& out) { out << record_.dump(2) << "\n"; });
}

}  // namespace vitrine::tools
