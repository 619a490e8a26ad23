// run.json: everything that is needed to repeat a run, and nothing that an audit would have to guess.
#pragma once
#include <fstream>
#include <string>
#include <vector>

#include "tools/command.h"

namespace vitrine::tools {

std::string build_description();  // version, commit, compiler, configuration
void set_command_line(int argc, char** argv);

// A run directory: run.json, metrics.jsonl and what the command writes there. run.json appears when finish() is called, whole.
class RunRecord {
 public:
  // Makes the directory; Error if that fails. Of an earlier metrics.jsonl the lines of steps 1 .. keep_steps stay: resuming.
  RunRecord(std::string directory, const Common&, int64_t keep_steps = 0);
  std::string path(const std::string& file) const;
  void input(const std::string& name, const std::string& path);  // a file or folder, hashed
  void config(const std::string& name, Json value) { record_["config"][name] = std::move(value); }
  void metrics(const Json& line);        // one line of metrics.jsonl, flushed
  void output(const std::string& file);  // in the directory, hashed
  // What a checkpoint must agree with: seed, configuration and inputs.
  std::string fingerprint() const;
  const std::vector<Json>& history() const { return history_; }  // the lines of metrics.jsonl
  void finish(const Json& result);

 private:
  std::string directory_;
  Json record_;
  std::ofstream metrics_;
  std::vector<Json> history_;
};

}  // namespace vitrine::tools
