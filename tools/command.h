// One file per subcommand: it defines a static Command, which registers itself. Nothing else lists them.
#pragma once
#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/core/device.h"
#include "tools/options.h"

namespace vitrine::tools {

using Json = nlohmann::ordered_json;

// Options that every subcommand takes.
struct Common {
  std::string device = "auto";    // cpu or cuda, once a command runs
  std::string precision = "f32";  // of convolutions and products on cuda
  bool tuned = false;             // on cuda: cuDNN's algorithms by measurement
  bool own_kernels = false;       // on cuda: neither cuDNN nor cuBLAS
  int threads = 0;                // 0: one per core
  uint64_t seed = 1;
  std::string json;  // file, "-" for standard output, empty: none
  bool profile = false;
};

std::string names_of_networks();  // "iresnet18, iresnet34, ..."
std::string model_help();         // of an option that takes one of them, or a file

Device device_of(const Common&);
std::string device_text(const Common&);  // what computes
std::string mode_text(const Common&);    // what may change bits: precision, libraries, measured algorithms

// What a subcommand does when its turn comes; it returns its machine-readable result.
using Action = std::function<Json(const Common&)>;

class Command {
 public:
  // `describe` adds options to its CLI::App and returns the action.
  Command(const char* name, const char* help, Action (*describe)(CLI::App&));
};

int run_command_line(int argc, char** argv);

// Text for people: standard output, or standard error when the result as JSON takes standard output.
std::ostream& say();

}  // namespace vitrine::tools
