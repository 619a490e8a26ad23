#include "engine/ops/image_input.h"

#include "engine/ops/shapes.h"

namespace vitrine {
namespace {

Metas infer(const Metas& in, Attrs* attrs) {
  auto& a = static_cast<ImageInputAttrs&>(*attrs);
  CHECK(in.size() == 2 && in[0].dtype == Dtype::u8 && in[0].shape.rank() == 1 && in[1].dtype == Dtype::i64 && in[1].shape.rank() == 2 &&
            in[1].shape[1] == 4,
        "expected u8[bytes], i64[images,4]");
  CHECK(a.height > 0 && a.width > 0 && static_cast<float>(a.std) != 0 && a.shrink > 0 && a.shrink <= 64, a.width, "x", a.height, ", std ",
        a.std, ", shrink ", a.shrink, ": expected a positive size, a std that is not 0, and to shrink by 1 to 64");
  const Shape out{in[1].shape[0], a.height, a.width, 3};
  check_extents(out);
  return {{out, Dtype::f32}};
}

const OpDef& op = define<ImageInputAttrs>({.name = "image_input", .infer = infer});

}  // namespace

Tensor image_input(const Tensor& bytes, const Tensor& places, const ImageInputAttrs& attrs) {
  return apply1(op, std::make_shared<ImageInputAttrs>(attrs), {bytes, places});
}

}  // namespace vitrine
