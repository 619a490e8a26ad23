// What is checked of options before a command runs: numbers, and the files they name. Nothing that a command reads may be what it writes,
// and what cannot be written is said at once, not after the work.
#pragma once
#include <CLI/CLI.hpp>

namespace vitrine::tools {

// Marks what an option names: a file or folder to read ("NAME=FILE" too), a file to write, a run directory or folder to fill.
CLI::Option* reads(CLI::Option*);
CLI::Option* writes(CLI::Option*);
CLI::Option* fills(CLI::Option*);

extern const CLI::Validator positive, not_negative, below_one, up_to_one;  // numbers; below_one from 0, up_to_one from above 0
extern const CLI::Validator bit_widths;                                    // w<bits>a<bits>

void forget_options();                // all marks
void check_options(const CLI::App&);  // CLI::ValidationError for a number; Error for a path

}  // namespace vitrine::tools
