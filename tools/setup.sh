#!/usr/bin/env bash
# Makes sure that everything the build needs is installed (Debian 12 or newer, Ubuntu 24.04 or newer). Silent when it is.
#   tools/setup.sh          probe, install what is missing; without the rights to, print the command and exit 1
#   tools/setup.sh --dev    also what only `make check` needs
#   tools/setup.sh --list   print the packages, install nothing (--dev --list: all of them)
set -euo pipefail

# Package, what proves that it is there (a command, or a header seen by the compiler), and why we need it. Probing the thing
# instead of asking dpkg accepts libraries installed in another way, and takes one run of the preprocessor.
packages='
g++                 command:g++                               the compiler, C++20
libgomp1            header:omp.h                              threads (OpenMP; its header comes with g++)
make                command:make                              the build
libjpeg-dev         header:jpeglib.h                          JPEG images
libpng-dev          header:png.h                              PNG images
libzip-dev          header:zip.h                              PyTorch checkpoints
protobuf-compiler   command:protoc                            ONNX models
libprotobuf-dev     header:google/protobuf/message_lite.h     ONNX models
nlohmann-json3-dev  header:nlohmann/json.hpp                  model metadata, run records
libcli11-dev        header:CLI/CLI.hpp                        the command line
libgtest-dev        header:gtest/gtest.h                      make test
libbenchmark-dev    header:benchmark/benchmark.h              make bench
'
dev_packages='
clang-format        command:clang-format                      make check
'

list=0
for argument in "$@"; do
  case $argument in
    --dev) packages+=$dev_packages ;;
    --list) list=1 ;;
    *) echo "tools/setup.sh: $argument, expected --dev or --list" >&2; exit 2 ;;
  esac
done
packages=$(sed '/^$/d' <<<"$packages")
if ((list)); then awk '{ print $1 }' <<<"$packages"; exit; fi

# Lines of the table whose probe fails. A header that is not there makes the preprocessor print its place in the table.
missing() {
  local headers=''
  while read -r package probe why; do
    case $probe in
      command:*) command -v "${probe#*:}" >/dev/null || echo "$package $why" ;;
      header:*) headers+="#if !__has_include(<${probe#*:}>)"$'\n'"$package $why"$'\n#endif\n' ;;
    esac
  done <<<"$packages"
  if command -v g++ >/dev/null; then
    g++ -E -P -x c++ - <<<"$headers" | sed '/^$/d'
  else
    sed '/^#/d; /^$/d' <<<"$headers"
  fi
}

absent=$(missing)
[[ -z $absent ]] && exit 0
mapfile -t names < <(awk '{ print $1 }' <<<"$absent")

echo "Vitrine needs these packages, which are not installed:"
while read -r package why; do printf '  %-20s %s\n' "$package" "$why"; done <<<"$absent"

root=()
if ((EUID != 0)); then root=(sudo -n); fi
if ! command -v apt-get >/dev/null || { ((EUID != 0)) && ! sudo -n true 2>/dev/null; }; then
  echo "Install them, then start again:  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${names[*]}"
  exit 1
fi
echo "Installing them with apt-get."
"${root[@]}" apt-get -qq update
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${names[@]}" >/dev/null

absent=$(missing)
if [[ -n $absent ]]; then
  echo "tools/setup.sh: still missing after apt-get install: $(awk '{ print $1 }' <<<"$absent" | paste -sd ' ')" >&2
  exit 1
fi
