#include "engine/ops/image_input.h"

#include <array>

#include "engine/cpu/loops.h"

namespace vitrine {
namespace {

constexpr int64_t kMaxSide = 1 << 20;

void check_place(const ImagePlace& p, const ImageInputAttrs& a, int64_t bytes) {
  CHECK(p.height / a.shrink >= a.height && p.width / a.shrink >= a.width && p.height <= kMaxSide && p.width <= kMaxSide && p.first >= 0 &&
            p.first <= bytes - p.height * p.width * 3,
        "image_input: an image of ", p.width, "x", p.height, " at ", p.first, " of ", bytes, " bytes, for an input of ", a.width, "x",
        a.height);
}

KernelFor kernel("image_input", Device::cpu, [](const Call& c) {
  auto& a = c.as<ImageInputAttrs>();
  const auto* bytes = c.in[0].data<uint8_t>();
  const auto* places = reinterpret_cast<const ImagePlace*>(c.in[1].data<int64_t>());
  const int64_t images = c.in[1].shape()[0], row = a.width * 3;
  for (int64_t n = 0; n < images; ++n) check_place(places[n], a, c.in[0].numel());
  std::array<float, 256> value;  // there are only 256 quotients: divide them once
  for (int v = 0; v < 256; ++v) value[v] = (static_cast<float>(v) - static_cast<float>(a.mean)) / static_cast<float>(a.std);
  float* y = c.out[0].data<float>();
  parallel_for(images * a.height, cpu::row_grain(row), [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const ImagePlace& p = places[line / a.height];
      const int64_t from_y = (p.height / a.shrink - a.height) / 2 + line % a.height, from_x = (p.width / a.shrink - a.width) / 2;
      float* to = y + line * row;
      for (int64_t x = 0; x < a.width; ++x)
        for (int64_t k = 0; k < 3; ++k)
          *to++ = value[shrunken_byte(bytes + p.first, p.width, a.shrink, from_y, from_x + (p.mirrored ? a.width - 1 - x : x),
                                      a.bgr ? 2 - k : k)];
    }
  });
});

}  // namespace
}  // namespace vitrine
