#!/usr/bin/env bash
# tools/bundle.sh BIN OUT: the folder OUT (`make gpu-bundle`) with the test and benchmark programs of BIN and the libraries they were linked
# with, for a GPU machine that has neither a compiler nor our packages. There, OUT/run runs all and writes OUT/report.txt.
set -euo pipefail
bin=$1 out=$2 most=60  # MB
rm -rf "$out"
mkdir -p "$out/bin" "$out/lib" "$out/tests"
for program in tests gpu_bench vitrine; do
  strip -o "$out/bin/$program" "$bin/$program"
  # All but glibc, which must be the machine's own, as its driver's is. cuDNN and cuBLAS are not linked: they are found when the program runs.
  ldd "$bin/$program" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' |
    grep -vE '/(libc|libm|libdl|libpthread|librt|libresolv|ld-linux[^/]*)\.so' | while read -r library; do cp -nL "$library" "$out/lib/"; done
done
cp -r tests/golden "$out/tests/"
mkdir -p "$out/bench/cuda" "$out/bench/opponents"
cp bench/cuda/pytorch.py "$out/bench/cuda/"
cp bench/opponents/{network,training}.py "$out/bench/opponents/"
git rev-parse HEAD >"$out/commit" 2>/dev/null || echo unknown >"$out/commit"

cat >"$out/run" <<'RUN'
#!/usr/bin/env bash
# Runs every test of the device and the whole-network benchmarks here; report.txt and the exit code say how it went. Libraries are looked
# for where the loader looks and inside the Python environment's packages (nvidia/*/lib). PYTORCH=1 adds PyTorch's own numbers;
# DATA=FOLDER, of aligned crops, a whole epoch of EKD: ours, and PyTorch's.
if [[ -n ${DATA:-} ]]; then
  DATA=$(realpath -e "$DATA") || exit 1
fi
cd "$(dirname "$0")"
packages=$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' 2>/dev/null)
export LD_LIBRARY_PATH="$PWD/lib:$(printf '%s:' "$packages"/nvidia/*/lib)$LD_LIBRARY_PATH"
if ! missing=$(bin/gpu_bench --device 2>&1); then
  echo "$missing" >&2
  exit 1
fi
# Every image once, no checkpoints: as PyTorch's row does it.
epochs() {
  local failed=0 precision said
  for precision in f32 tf32 bf16; do
    if said=$(bin/vitrine quantize iresnet18 --bits w6a6 --data "$DATA" --finetune ekd --sampler shuffled --checkpoint-every 1000000000 \
      --device cuda --precision $precision --out "epoch_$precision" 2>&1); then
      echo "iresnet18 b64 $precision EKD, an epoch, $(grep images/s <<<"$said" | tail -1)"
    else
      failed=1
      echo "iresnet18 b64 $precision EKD, an epoch: $(tail -1 <<<"$said")"
    fi
  done
  return $failed
}
{
  echo "commit $(cat commit), $(date -u +%FT%TZ)"
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>&1
  bin/tests --gtest_brief=1 --gtest_filter='*Cuda*'
  tests=$?
  bin/gpu_bench "$@"
  bench=$?
  epochs=0
  if [[ -n ${DATA:-} ]]; then
    epochs
    epochs=$?
  fi
  if [[ ${PYTORCH:-0} == 1 ]]; then python3 bench/cuda/pytorch.py ${DATA:+--data "$DATA"} "$@"; fi
  echo "tests: exit $tests, bench: exit $bench, epochs: exit $epochs"
} 2>&1 | tee report.txt
grep -q 'tests: exit 0, bench: exit 0, epochs: exit 0' report.txt
RUN
chmod +x "$out/run"
size=$(du -sm "$out" | cut -f1)
echo "$out: $size MB; copy it to a GPU machine and start ./run there"
((size <= most)) || { echo "tools/bundle.sh: $out has $size MB, expected at most $most" >&2; exit 1; }
