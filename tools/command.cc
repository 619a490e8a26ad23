#include "tools/command.h"

#include <filesystem>
#include <iostream>
#include <map>

#include "engine/core/bytes.h"
#include "engine/core/device.h"
#include "engine/core/error.h"
#include "engine/core/mode.h"
#include "engine/core/parallel.h"
#include "engine/core/profile.h"
#include "engine/core/text.h"
#include "nn/network.h"
#include "tools/run_record.h"

namespace vitrine::tools {
namespace {

struct Entry {
  const char* help;
  Action (*describe)(CLI::App&);
};
std::map<std::string, Entry>& commands() {
  static std::map<std::string, Entry> all;
  return all;
}

bool json_on_stdout = false;

void add_common(CLI::App& app, Common& c) {
  app.add_option("--device", c.device, "cpu, cuda or auto")->check(CLI::IsMember({"auto", "cpu", "cuda"}))->capture_default_str();
  app.add_option("--precision", c.precision, "of convolutions and products on cuda: f32, or inputs rounded to tf32 or bf16")
      ->check(CLI::IsMember({"f32", "tf32", "bf16"}))
      ->capture_default_str();
  app.add_flag("--tuned", c.tuned, "on cuda: cuDNN's algorithms by measurement: faster, but another run may differ in bits");
  app.add_flag("--own-kernels", c.own_kernels, "on cuda: use neither cuDNN nor cuBLAS; the orders of addition are then those of the cpu");
  app.add_option("--threads", c.threads, "threads, 0: one per core")->check(not_negative)->capture_default_str();
  app.add_option("--seed", c.seed, "seed of everything random")->capture_default_str();
  writes(app.add_option("--json", c.json, "write the result as JSON to this file, - for standard output"));
  app.add_flag("--profile", c.profile, "print where the time went, by operator, to standard error");
}

void prepare(Common& c) {
  if (c.device == "cuda") backend(Device::cuda);  // an Error that says why, if there is none
  const Backend& cuda = backend_state(Device::cuda);
  if (c.device == "auto") c.device = cuda.state == Backend::State::ready && !cuda.simulated ? "cuda" : "cpu";
  check_usage(c.precision == "f32" || (c.device == "cuda" && !c.own_kernels), "--precision ", c.precision,
              ": only with cuDNN and cuBLAS on a cuda device");
  check_usage(!c.tuned || (c.device == "cuda" && !c.own_kernels), "--tuned: only with cuDNN on a cuda device");
  using Precision = Mode::Precision;
  mode().precision = c.precision == "tf32" ? Precision::tf32 : c.precision == "bf16" ? Precision::bf16 : Precision::f32;
  mode().tuned = c.tuned;
  mode().libraries = !c.own_kernels;
  if (c.threads > 0) set_threads(c.threads);
  json_on_stdout = c.json == "-";
}

int failed(const std::string& why) {
  std::cerr << "vitrine: " << why << "\n";
  return 1;
}

// What a full disk or a closed pipe took is an error, too.
int written() { return std::cout.flush() ? 0 : failed("standard output cannot be written"); }

// The parser would only say that there is none.
void check_command(int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-' || commands().count(argv[1])) return;
  std::string known;
  for (auto& [name, entry] : commands()) known += (known.empty() ? "" : ", ") + name;
  throw CLI::ValidationError(cat("no command '", argv[1], "', expected ", known));
}

void deliver(const Common& c, const Json& result) {
  if (c.json.empty()) return;
  Json whole = result;
  if (device_of(c) != Device::cpu) whole["device"] = device_text(c), whole["mode"] = mode_text(c);
  std::string text = whole.dump(2) + "\n";
  if (c.json == "-")
    std::cout << text;
  else
    save_bytes(c.json, [&](std::ostream& out) { out << text; });
}

}  // namespace

std::string names_of_networks() {
  std::string all;
  for (const std::string& name : nn::network_names()) all += (all.empty() ? "" : ", ") + name;
  return all;
}
std::string model_help() { return cat("a model file or a network's name (", names_of_networks(), ")"); }

Device device_of(const Common& c) { return c.device == "cuda" ? Device::cuda : Device::cpu; }

std::string device_text(const Common& c) { return device_of(c) == Device::cpu ? "cpu" : cat("cuda: ", backend(Device::cuda).why); }

std::string mode_text(const Common& c) {
  if (device_of(c) == Device::cpu) return "strict f32, independent of threads";
  return cat(c.precision == "f32" ? "strict f32" : cat(c.precision, " inputs of convolutions and products, f32 otherwise"), ", ",
             c.own_kernels ? "our own kernels" : "cuDNN and cuBLAS where they are",
             c.tuned ? ", algorithms by measurement: another run may differ in bits" : ", deterministic");
}

Command::Command(const char* name, const char* help, Action (*describe)(CLI::App&)) { commands()[name] = {help, describe}; }

std::ostream& say() { return json_on_stdout ? std::cerr : std::cout; }

int run_command_line(int argc, char** argv) {
  std::cout << std::unitbuf;  // what was said is there when a run is stopped, and before the progress on standard error that follows
  CLI::App app{"Vitrine: compresses face-recognition networks and proves what they still can do."};
  app.require_subcommand(1);
  app.set_version_flag("--version", build_description());
  Common common;
  forget_options();
  std::map<CLI::App*, Action> actions;
  for (auto& [name, entry] : commands()) {
    CLI::App* sub = app.add_subcommand(name, entry.help);
    actions[sub] = entry.describe(*sub);
    add_common(*sub, common);
  }
  try {
    for (int i = 1; i < argc; ++i) check_text(argv[i], cat("argument ", i, ": "));  // they go into records, which are UTF-8
    check_command(argc, argv);
    app.parse(argc, argv);
    check_options(*app.get_subcommands().front());
  } catch (const CLI::ParseError& e) {
    const int code = app.exit(e);
    return code == 0 ? written() : 2;
  } catch (const std::exception& e) {
    return failed(e.what());
  }
  try {
    prepare(common);
    set_command_line(argc, argv);
    Profile profile;
    if (common.profile) set_profile(&profile);
    deliver(common, actions.at(app.get_subcommands().front())(common));
    if (common.profile) std::cerr << profile_table(profile);
    return written();
  } catch (const CLI::ParseError& e) {  // check_usage
    app.exit(e);
    return 2;
  } catch (const std::filesystem::filesystem_error& e) {
    return failed(cat(e.path1().string(), ": ", e.code().message()));
  } catch (const std::exception& e) {
    return failed(e.what());
  }
}

}  // namespace vitrine::tools
