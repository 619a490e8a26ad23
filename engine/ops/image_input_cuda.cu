// A thread for each number of the result. The quotient is rounded as on the cpu.
#include "engine/ops/image_input.h"

#include "engine/cuda/launch.cuh"

namespace vitrine {
namespace {

using cuda::checked, cuda::Fault, cuda::ptr;

void image_input_kernel(const Call& c) {
  auto& a = c.as<ImageInputAttrs>();
  const auto* bytes = ptr<uint8_t>(c.in[0]);
  const auto* places = reinterpret_cast<const ImagePlace*>(ptr<int64_t>(c.in[1]));
  const int64_t total = c.in[0].numel(), height = a.height, width = a.width, shrink = a.shrink;
  const bool bgr = a.bgr;
  const auto mean = static_cast<float>(a.mean), std = static_cast<float>(a.std);
  float* y = ptr<float>(c.out[0]);
  Fault* fault = cuda::fault();
  cuda::each(c.out[0].numel(), [=] __device__(int64_t i) {
    const int64_t k = i % 3, x = i / 3 % width, line = i / 3 / width;
    const ImagePlace p = places[line / height];
    const int64_t rest_y = p.height / shrink - height, rest_x = p.width / shrink - width;
    const int64_t from_y = rest_y / 2 + line % height, from_x = rest_x / 2 + (p.mirrored ? width - 1 - x : x);
    // The first and the last byte that are read; an image too small has none in front of another's.
    const int64_t first = p.first + (from_y * shrink * p.width + from_x * shrink) * 3;
    const int64_t last = first + ((shrink - 1) * p.width + shrink - 1) * 3 + 2;
    const int64_t outermost = rest_y < 0 || rest_x < 0 ? -1 : first < 0 ? first : last;
    if (checked(outermost, total, Fault::image, fault) != outermost) return;
    y[i] = (static_cast<float>(shrunken_byte(bytes + p.first, p.width, shrink, from_y, from_x, bgr ? 2 - k : k)) - mean) / std;
  });
}
KernelFor kernel("image_input", Device::cuda, image_input_kernel);

}  // namespace
}  // namespace vitrine
