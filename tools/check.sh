#!/usr/bin/env bash
# `make check`: what keeps the tree readable, as rules a script can hold. One line a violation: "file:line: what, what is expected".
#   floors     a file includes from its own folder and the floors below (docs/decisions.md)
#   budgets    500 lines a file; 27,800 lines of code (no blanks, no comments) without tests and bench; a README of at most 40 lines in every folder
#   headers    begin with a comment that says what they are, and have #pragma once
#   launches   of kernels stand in one place (engine/cuda/launch.cuh), so that the simulator can run them
#   one ISA    what a file for one instruction set can reach is compiled for it, also inline library functions, of which the linker
#              keeps any copy: on an older machine the program would then crash far from the kernel. So it may reach next to no header.
#   format     clang-format leaves every file as it is
set -euo pipefail
cd "$(dirname "$0")/.."

folders=()
for folder in engine nn losses data prune quant eval tools tests bench; do
  if [[ -d $folder ]]; then folders+=("$folder"); fi
done
mapfile -t files < <(find "${folders[@]}" -type f \( -name '*.cc' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' -o -name '*.def' \) | sort)
report=$(mktemp)
trap 'rm -f "$report"' EXIT

readmes() {
  for folder in "${folders[@]}"; do
    if [[ ! -f $folder/README.md ]]; then
      echo "$folder/README.md:1: missing, expected one in every top-level folder"
    elif (($(wc -l <"$folder/README.md") > 40)); then
      echo "$folder/README.md:41: $(wc -l <"$folder/README.md") lines, expected at most 40"
    fi
  done
}

sources() {
  awk '
    BEGIN {
      engine = "engine/core engine/cpu engine/cuda engine/ops engine/graph"
      sees["engine/core"] = "engine/core"
      sees["engine/cpu"] = "engine/core engine/cpu"
      sees["engine/cuda"] = "engine/core engine/cuda"
      sees["engine/ops"] = sees["engine/graph"] = engine
      sees["nn"] = engine " nn"
      sees["losses"] = engine " losses"
      sees["data"] = "engine/core data"
      sees["prune"] = engine " nn losses data prune"
      sees["quant"] = engine " nn losses data quant"
      sees["eval"] = "engine/core eval"
      sees["tools"] = sees["tests"] = sees["bench"] = engine " nn losses data prune quant eval tools tests bench"
      harmless = " cstdint cstddef immintrin.h "  # no function of theirs outlives inlining
    }
    function module(path,   part) {  # nn/io/pth.h: nn; engine/cpu/isa.h: engine/cpu; engine/ops.h: engine/ops
      split(path, part, "/")
      sub(/\..*/, "", part[2])
      return part[1] == "engine" ? "engine/" part[2] : part[1]
    }
    function violation(file, line, what) { printf "%s:%d: %s\n", file, line, what }
    function within(word, list) { return index(" " list " ", " " word " ") > 0 }

    FNR == 1 && FILENAME ~ /\.(h|cuh)$/ {
      headers[FILENAME] = 1
      if ($0 !~ /^\/[\/*]/) violation(FILENAME, 1, "begins without a comment, expected one that says what the header is")
    }
    /<<</ && FILENAME ~ /\.(cu|cuh)$/ && FILENAME != "engine/cuda/launch.cuh" { violation(FILENAME, FNR, "launches a kernel, expected LAUNCH") }
    /^#pragma once/ { once[FILENAME] = 1 }
    { lines[FILENAME] = FNR }
    FILENAME !~ /^(tests|bench)\// && !/^[ \t]*(\/\/|$)/ { ++total }
    /^[ \t]*#[ \t]*include[ \t]*["<]/ {
      quote = /include[ \t]*"/
      target = $0
      sub(/^[^"<]*["<]/, "", target)
      sub(/[">].*/, "", target)
      home = module(FILENAME)
      ours = module(target) in sees
      if (quote && !ours) violation(FILENAME, FNR, "includes \"" target "\", expected a path from the root of the repository")
      else if (ours && !within(module(target), sees[home]))
        violation(FILENAME, FNR, home " includes " target ", expected only: " sees[home])
      n = ++includes[FILENAME]
      to[FILENAME, n] = target
      library[FILENAME, n] = !ours
      place[FILENAME, n] = FNR
    }
    function reach(file, root,   i) {  # every include that compiling root opens, each file once
      if ((file, root) in reached) return
      reached[file, root] = 1
      for (i = 1; i <= includes[file]; ++i) {
        if (!library[file, i]) reach(to[file, i], root)
        else if (!within(to[file, i], harmless))
          violation(file, place[file, i], "<" to[file, i] "> reaches " root ", expected only" harmless "in a file of one instruction set")
      }
    }
    END {
      for (file in lines) {
        if (lines[file] > 500) violation(file, 501, lines[file] " lines, expected at most 500")
        if (file ~ /_(avx2|avx512|vnni)\.cc$/) reach(file, file)
      }
      for (file in headers) if (!(file in once)) violation(file, 1, "no #pragma once")
      if (total > 27800) violation("Makefile", 1, total " lines of code without tests and bench, expected at most 27800")
    }' "$@"
}

format() {
  printf '%s\n' "$@" | grep -E '\.(cc|h|cu|cuh)$' | { xargs clang-format --dry-run -Werror 2>&1 || true; } |
    sed -nE 's/^([^:]+:[0-9]+):[0-9]+: error: .*/\1: not as clang-format writes it/p' | sort -t: -u -k1,1
}

readmes >>"$report"
sources "${files[@]}" >>"$report"
if command -v clang-format >/dev/null; then
  format "${files[@]}" >>"$report"
else
  echo "check: clang-format is not installed, format not checked (tools/setup.sh --dev installs it)"
fi

sort -t: -k1,1 -k2,2n "$report"
violations=$(wc -l <"$report")
own=$(printf '%s\n' "${files[@]}" | grep -vE '^(tests|bench)/' | xargs cat | grep -cvE '^[[:space:]]*(//|$)')
echo "check: ${#files[@]} files, $own of at most 27800 lines of code, $violations violations"
((violations == 0))
