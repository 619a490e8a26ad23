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
  RunRecord(std::string directory, const Common&);  // makes the directory; Error if that fails
  std::string path(const std::string& file) const;
  void input(const std::string& name, const std::string& path);  // a file or folder, hashed
  void config(const std::string& name, Json value) { record_["config"][name] = std::move(value); }
  void metrics(const Json& line);        // one line of metrics.jsonl, flushed
  void output(const std::string& file);  // in the directory, hashed
  void finish(const Json& result);

 private:
  std::string directory_;
  Json record_;
  std::ofstream metrics_;
};

}  // namespace vitrine::tools
