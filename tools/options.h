// What is checked of options before a command runs: numbers, and the files they name. Nothing that a command reads may be what it writes,
// and what cannot be written is said at once, not after the work.
#pragma once
#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "engine/core/error.h"

namespace vitrine::tools {

// Marks what an option names: a file or folder to read ("NAME=FILE" too), a file to write, a run directory or folder to fill.
CLI::Option* reads(CLI::Option*);
CLI::Option* writes(CLI::Option*);
CLI::Option* fills(CLI::Option*);

extern const CLI::Validator positive, not_negative, below_one, up_to_one;  // numbers; below_one from 0, up_to_one from above 0
CLI::Validator parsed_by(std::function<void(const std::string&)> parse);   // what it throws an Error for is wrong usage
extern const CLI::Validator bit_widths;                                    // w<bits>a<bits>

// Wrong usage unless `ok`: of options that do not go together.
template <class... Parts>
void check_usage(bool ok, const Parts&... message) {
  if (!ok) throw CLI::ValidationError(cat(message...));
}

void forget_options();                // all marks
void check_options(const CLI::App&);  // CLI::ValidationError for a number; Error for a path

}  // namespace vitrine::tools
