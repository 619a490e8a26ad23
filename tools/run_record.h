// run.json: everything that is needed to repeat a run, and nothing that an audit would have to guess.
#pragma once
#include <fstream>
#include <string>
#include <vector>

#include "tools/command.h"

namespace vitrine::tools {

inline constexpr const char* kCheckpoint = "checkpoint.safetensors";  // of a run directory

std::string build_description();  // version, commit, compiler, configuration
void set_command_line(int argc, char** argv);
// runs/<the model's name>-<what>; of a file "model.safetensors", which all runs write, the name of its folder.
std::string default_directory(const std::string& model, const std::string& what);

// Of two fingerprints; Error, which names the first difference, unless they are equal.
void check_same_run(const std::string& file, const std::string& made_with, const std::string& expected);

// A run directory: run.json, metrics.jsonl and what the command writes there. run.json appears when finish() is called, whole.
class RunRecord {
 public:
  RunRecord(std::string directory, const Common&);  // makes the directory; Error if that fails
  ~RunRecord();                                     // takes it away again if the run never began and it is empty
  RunRecord(const RunRecord&) = delete;
  // An earlier run's metrics of steps 1 .. `steps` are this run's.
  void resume_at(int64_t steps);
  // From here on the directory is this run's: an earlier record and checkpoint go. Until then nothing is lost. A second call does nothing;
  // metrics(), output() and finish() call it.
  void begin();
  std::string path(const std::string& file) const;
  void input(const std::string& name, const std::string& path);  // a file or folder, hashed
  void config(const std::string& name, Json value) { record_["config"][name] = std::move(value); }
  void metrics(const Json& line);        // one line of metrics.jsonl, flushed
  void output(const std::string& file);  // in the directory, hashed
  // What a checkpoint must agree with: seed, configuration, inputs, and what may change bits.
  std::string fingerprint() const;
  const std::vector<Json>& history() const { return history_; }  // the lines of metrics.jsonl
  void finish(const Json& result);

 private:
  std::string directory_;
  Json record_;
  std::ofstream metrics_;
  bool begun_ = false;
  std::vector<Json> history_;
};

}  // namespace vitrine::tools
