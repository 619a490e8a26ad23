#include "engine/ops/image_input.h"

#include "tests/case.h"

namespace vitrine {
namespace {

// Two images of different sizes behind a few bytes of nobody; the second is mirrored.
Tensors two_images(Maker&) {
  constexpr int64_t kFirst = 5, kSecond = kFirst + 9 * 8 * 3, kEnd = kSecond + 7 * 12 * 3;
  Philox rng(4);
  std::vector<uint8_t> bytes(kEnd);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(rng.next());
  return {Tensor::from({kEnd}, bytes), Tensor::from({2, 4}, std::vector<int64_t>{kFirst, 9, 8, 0, kSecond, 7, 12, 1})};
}

AddCase cropped({"image_input", "cropped, bgr", two_images,
                 [](const Tensors& x) {
                   ImageInputAttrs a;
                   a.height = 6, a.width = 5, a.bgr = 1, a.mean = 127, a.std = 128;
                   return Tensors{image_input(x[0], x[1], a)};
                 },
                 1, false, true});
AddCase shrunken({"image_input", "shrunken", two_images,
                  [](const Tensors& x) {
                    ImageInputAttrs a;
                    a.height = 2, a.width = 2, a.shrink = 3;
                    return Tensors{image_input(x[0], x[1], a)};
                  },
                  1, false, true});

}  // namespace
}  // namespace vitrine
