#include "tools/options.h"

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <map>

#include "engine/core/error.h"
#include "engine/core/text.h"
#include "quant/placement.h"

namespace vitrine::tools {
namespace {

namespace fs = std::filesystem;

enum class Role : uint8_t { in, out, folder };
std::map<const CLI::Option*, Role>& roles() {
  static std::map<const CLI::Option*, Role> all;
  return all;
}
CLI::Option* mark(CLI::Option* option, Role role) {
  roles()[option] = role;
  return option;
}

CLI::Validator number(const char* expected, bool (*fits)(double)) {
  return {[=](std::string& text) -> std::string {
            const auto v = number_from<double>(text);
            return v && fits(*v) ? "" : cat("'", text, "', expected ", expected);
          },
          ""};
}

bool same(const fs::path& a, const fs::path& b) {
  std::error_code error;
  return fs::equivalent(a, b, error) && !error;
}
struct Named {
  std::string option;
  fs::path path;
};

void check_writable(const Named& out, const fs::path& path) {
  CHECK(!fs::exists(path) || access(path.c_str(), W_OK) == 0, out.option, " ", out.path.string(), ": no permission to write to ",
        path.string());
}

fs::path folder_of(const fs::path& file) { return file.has_parent_path() ? file.parent_path() : "."; }

void check_number(const CLI::Option& o, const std::string& text) {
  const std::string type = o.get_type_name();
  const auto v = number_from<double>(text);
  const bool bad = type.starts_with("FLOAT") ? v && !std::isfinite(*v) : type.starts_with("UINT") && !number_from<uint64_t>(text);
  if (bad) throw CLI::ValidationError(o.get_name(), cat("'", text, "', expected a ", type[0] == 'F' ? "finite" : "whole", " number"));
}

// What commands write into a run directory, whatever lies there.
bool of_run(const fs::path& file) {
  const std::string name = file.filename();
  for (const char* known : {"run.json", "metrics.jsonl", "report.html", "model.safetensors", "plan.txt"})
    if (name == known) return true;
  return false;
}

void check_file(const Named& out, const std::vector<Named>& inputs) {
  CHECK(!fs::is_directory(out.path), out.option, " ", out.path.string(), ": is a folder, expected a file to write");
  CHECK(fs::is_directory(folder_of(out.path)), out.option, " ", out.path.string(), ": no folder ", folder_of(out.path).string());
  if (!fs::exists(out.path) || fs::is_regular_file(out.path)) check_writable(out, folder_of(out.path));
  for (const Named& in : inputs) {
    CHECK(!same(in.path, out.path), out.option, " ", out.path.string(), ": is read as ", in.option, ", expected another file");
    const bool of_input = fs::is_directory(in.path) && fs::exists(out.path) && same(folder_of(out.path), in.path) && of_run(out.path);
    CHECK(!of_input, out.option, " ", out.path.string(), ": is a file of ", in.option, ", expected another");
  }
}

void check_folder(const Named& out, const std::vector<Named>& inputs) {
  CHECK(!fs::exists(out.path) || fs::is_directory(out.path), out.option, " ", out.path.string(), ": is a file, expected a folder");
  check_writable(out, out.path);
  const bool is_run = fs::exists(out.path / "run.json");
  for (const Named& in : inputs) {
    const bool inside = fs::is_regular_file(in.path) && same(folder_of(in.path), out.path) && (is_run || of_run(in.path));
    CHECK(!inside && !same(in.path, out.path), out.option, " ", out.path.string(), ": holds what is read as ", in.option, " (",
          in.path.string(), "), expected another folder");
  }
}

}  // namespace

CLI::Option* reads(CLI::Option* option) { return mark(option, Role::in); }
CLI::Option* writes(CLI::Option* option) { return mark(option, Role::out); }
CLI::Option* fills(CLI::Option* option) { return mark(option, Role::folder); }

const CLI::Validator positive = number("a number above 0", [](double v) { return v > 0 && std::isfinite(v); });
const CLI::Validator not_negative = number("a number from 0", [](double v) { return v >= 0 && std::isfinite(v); });
const CLI::Validator below_one = number("a number from 0, below 1", [](double v) { return v >= 0 && v < 1; });

const CLI::Validator up_to_one = number("a number above 0, at most 1", [](double v) { return v > 0 && v <= 1; });
CLI::Validator parsed_by(std::function<void(const std::string&)> parse) {
  return {[parse = std::move(parse)](std::string& text) -> std::string {
            try {
              parse(text);
            } catch (const Error& e) {
              return e.what();
            }
            return "";
          },
          ""};
}
const CLI::Validator bit_widths = parsed_by([](const std::string& text) { quant::parse_bits(text); });

void forget_options() { roles().clear(); }

void check_options(const CLI::App& app) {
  std::vector<Named> inputs, files, folders;
  for (const CLI::Option* o : app.get_options())
    for (const std::string& text : o->results()) {
      check_number(*o, text);
      const auto role = roles().find(o);
      if (role == roles().end() || text.empty() || text == "-") continue;
      auto& all = role->second == Role::in ? inputs : role->second == Role::out ? files : folders;
      all.push_back({o->get_name(), text});
      if (const size_t at = text.find('='); role->second == Role::in && at != text.npos)
        all.push_back({o->get_name(), text.substr(at + 1)});
    }
  for (size_t i = 0; i < files.size(); ++i) {
    check_file(files[i], inputs);
    for (size_t k = 0; k < i; ++k)
      CHECK(fs::weakly_canonical(files[k].path) != fs::weakly_canonical(files[i].path), files[i].option, " ", files[i].path.string(),
            ": is written as ", files[k].option, ", expected another file");
  }
  for (const Named& folder : folders) check_folder(folder, inputs);
}

}  // namespace vitrine::tools
