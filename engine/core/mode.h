// Mode: what a device may do that changes bits. Set once when a program starts, printed in every record of a run.
#pragma once
#include <cstdint>

namespace vitrine {

struct Mode {
  // Of convolutions and products on a device that has other units: f32 throughout; or their inputs rounded to TF32, or to bf16. Sums are
  // f32 in each, as are weights, statistics and everything else, but in bf16 what lies between convolutions: with BatchNorm in a training
  // step; in the inference form (graph/fuse.h) with their weights.
  enum class Precision : uint8_t { f32, tf32, bf16 } precision = Precision::f32;
  bool tuned = false;     // cuDNN's algorithms by measurement rather than by its heuristic: faster, but two runs may choose differently and
                          // then differ in bits
  bool libraries = true;  // cuDNN and cuBLAS where they can be loaded; without them our own kernels, whose bits are those of the cpu
};
inline Mode& mode() {
  static Mode m;
  return m;
}
inline const char* name(Mode::Precision p) { return p == Mode::Precision::f32 ? "f32" : p == Mode::Precision::tf32 ? "tf32" : "bf16"; }

}  // namespace vitrine
