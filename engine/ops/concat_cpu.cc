#include <cstring>

#include "engine/core/op.h"
#include "engine/core/parallel.h"
#include "engine/ops/concat.h"

namespace vitrine {
namespace {

// Bytes behind one index of the axis, and rows before it.
struct Layout {
  int64_t rows, bytes;
  Layout(const Tensor& t, int64_t axis)
      : rows(t.shape().product(0, static_cast<int>(axis))),
        bytes(t.shape().product(static_cast<int>(axis) + 1, t.shape().rank()) * info(t.dtype()).block_bytes) {}
};

constexpr int64_t kRowsPerChunk = 1024;

KernelFor concat_kernel("concat", Device::cpu, [](const Call& c) {
  const int64_t axis = c.as<ConcatAttrs>().axis;
  const Layout to(c.out[0], axis);
  const int64_t stride = c.out[0].shape()[axis] * to.bytes;
  auto* y = static_cast<char*>(c.out[0].raw());
  for (const Tensor& part : c.in) {
    const int64_t bytes = part.shape()[axis] * to.bytes;
    auto* x = static_cast<const char*>(part.raw());
    parallel_for(to.rows, kRowsPerChunk, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; bytes && i < end; ++i) std::memcpy(y + i * stride, x + i * bytes, bytes);
    });
    y += bytes;
  }
});

KernelFor slice_kernel("slice", Device::cpu, [](const Call& c) {
  auto& a = c.as<SliceAttrs>();
  const Layout from(c.in[0], a.axis);
  const int64_t stride = c.in[0].shape()[a.axis] * from.bytes, bytes = (a.end - a.begin) * from.bytes;
  auto* x = static_cast<const char*>(c.in[0].raw()) + a.begin * from.bytes;
  auto* y = static_cast<char*>(c.out[0].raw());
  parallel_for(from.rows, kRowsPerChunk, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; bytes && i < end; ++i) std::memcpy(y + i * bytes, x + i * stride, bytes);
  });
});

}  // namespace
}  // namespace vitrine
