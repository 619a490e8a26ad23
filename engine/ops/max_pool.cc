#include "engine/ops/max_pool.h"

#include "engine/core/ties.h"
#include "engine/ops/shapes.h"

namespace vitrine {

void PoolAttrs::visit(AttrVisitor& v) {
  v("kernel_h", kernel_h), v("kernel_w", kernel_w), v("stride_h", stride_h), v("stride_w", stride_w), v("pad_h", pad_h), v("pad_w", pad_w);
}

namespace {

// Padding below the kernel's extent leaves no window without a pixel, if the image has any.
int64_t out_extent(const char* axis, int64_t in, int64_t kernel, int64_t stride, int64_t pad) {
  constexpr int64_t kLargest = int64_t{1} << 20;
  CHECK(kernel > 0 && stride > 0 && pad >= 0 && pad < kernel && kernel <= kLargest && stride <= kLargest, "windows of ", kernel, " along ",
        axis, ", stride ", stride, ", padding ", pad, ": expected a positive stride and less padding than window");
  CHECK(in > 0, "an image without pixels along ", axis);
  CHECK(in + 2 * pad >= kernel, "windows of ", kernel, " along ", axis, " do not fit ", in, " + 2 * ", pad);
  return (in + 2 * pad - kernel) / stride + 1;
}

Metas infer(const Metas& in, Attrs* attrs) {
  auto& a = static_cast<PoolAttrs&>(*attrs);
  check_float(in, 1);
  const Shape& x = in[0].shape;
  CHECK(x.rank() == 4, "x ", x, ", expected N,H,W,C");
  check_extents(x);
  const Shape y{x[0], out_extent("h", x[1], a.kernel_h, a.stride_h, a.pad_h), out_extent("w", x[2], a.kernel_w, a.stride_w, a.pad_w), x[3]};
  return {Meta{y, in[0].dtype}};
}

Metas grad_infer(const Metas& in, Attrs* attrs) {
  check_float(in, 2);  // x, g
  const Shape y = infer({in[0]}, attrs)[0].shape;
  CHECK(in[1].shape == y, "gradient ", in[1].shape, " of ", y);
  return {in[0]};
}

const OpDef& grad_op = define<PoolAttrs>({.name = "max_pool_grad", .infer = grad_infer});
const OpDef& op = define<PoolAttrs>({
    .name = "max_pool",
    .infer = infer,
    .backward = [](const Back& b) -> Tensors {
      return apply(grad_op, std::make_shared<PoolAttrs>(b.as<PoolAttrs>()), {b.in[0], b.grad[0]});
    },
    .ties =
        [](Ties& t) {
          if (t.known(0, 3)) t.give(0, 3, t.of(0, 3));
        },
});

}  // namespace

Tensor max_pool(const Tensor& x, const PoolAttrs& a) { return apply1(op, std::make_shared<PoolAttrs>(a), {x}); }

}  // namespace vitrine
