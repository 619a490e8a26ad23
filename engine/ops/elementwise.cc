// Definitions of the elementwise operators: shapes and gradients. Arithmetic: elementwise.def.
#include "engine/ops/elementwise.h"

#include "engine/ops.h"
#include "engine/ops/shapes.h"
#include "engine/ops/ties.h"

namespace vitrine {
namespace {

template <size_t count>
Metas same_as_first(const Metas& in, Attrs*) {
  check_float(in, count);
  for (const Meta& m : in) CHECK(m.shape == in[0].shape, "shapes ", in[0].shape, " and ", m.shape, " differ");
  return {in[0]};
}

Metas broadcast_pair(const Metas& in, Attrs*) {
  check_float(in, 2);
  return {Meta{broadcast(in[0].shape, in[1].shape), in[0].dtype}};
}

AttrsPtr scalars(double a, double b) {
  auto s = std::make_shared<ScalarAttrs>();
  s->a = a, s->b = b;
  return s;
}

// Gradients of the broadcasting operators, each summed back to its input's shape.
Tensors add_backward(const Back& b) {
  return {b.needs(0) ? sum_to(b.grad[0], b.in[0].shape()) : Tensor{}, b.needs(1) ? sum_to(b.grad[0], b.in[1].shape()) : Tensor{}};
}
Tensors sub_backward(const Back& b) {
  return {b.needs(0) ? sum_to(b.grad[0], b.in[0].shape()) : Tensor{},
          b.needs(1) ? sum_to(mul_scalar(b.grad[0], -1), b.in[1].shape()) : Tensor{}};
}
Tensors mul_backward(const Back& b) {
  return {b.needs(0) ? sum_to(mul(b.grad[0], b.in[1]), b.in[0].shape()) : Tensor{},
          b.needs(1) ? sum_to(mul(b.grad[0], b.in[0]), b.in[1].shape()) : Tensor{}};
}
Tensors div_backward(const Back& b) {
  Tensor over = div(b.grad[0], b.in[1]);
  return {b.needs(0) ? sum_to(over, b.in[0].shape()) : Tensor{},
          b.needs(1) ? sum_to(mul_scalar(mul(over, div(b.in[0], b.in[1])), -1), b.in[1].shape()) : Tensor{}};
}
constexpr uint32_t add_saves = 0, sub_saves = 0, mul_saves = 3, div_saves = 3;

// What the gradients of elementwise.def read besides g: the input, the output or neither.
enum Reads : uint32_t { none, input, output };
constexpr Reads relu_reads = output, sigmoid_reads = output, square_reads = input, sqrt_reads = output, exp_reads = output,
                log_reads = input, abs_reads = input, add_scalar_reads = none, mul_scalar_reads = none, clamp_reads = input;

// The inputs of a gradient's kernel: what it does not read is stood in for by something that has bytes.
Tensors grad_inputs(const Back& b, Reads reads) {
  const Tensor& read = reads == input ? b.in[0] : reads == output ? b.out[0] : b.grad[0];
  return {read, read, b.grad[0]};
}

}  // namespace

// `id` and not `name`: a macro parameter would also rewrite the designated initialiser `.name`.
#define UNARY(id, F, DF)                                                                                           \
  static const OpDef& id##_grad_op = define({.name = #id "_grad", .infer = same_as_first<3>});                     \
  static const OpDef& id##_op = define({                                                                           \
      .name = #id,                                                                                                 \
      .infer = same_as_first<1>,                                                                                   \
      .backward = [](const Back& b) -> Tensors { return {apply1(id##_grad_op, {}, grad_inputs(b, id##_reads))}; }, \
      .ties = tie_elementwise,                                                                                     \
      .saves_in = id##_reads == input,                                                                             \
      .saves_out = id##_reads == output,                                                                           \
  });                                                                                                              \
  Tensor id(const Tensor& x) { return apply1(id##_op, {}, {x}); }
#define UNARY_SCALARS(id, F, DF)                                                                                          \
  static const OpDef& id##_grad_op = define<ScalarAttrs>({.name = #id "_grad", .infer = same_as_first<3>});               \
  static const OpDef& id##_op = define<ScalarAttrs>({                                                                     \
      .name = #id,                                                                                                        \
      .infer = same_as_first<1>,                                                                                          \
      .backward = [](const Back& b) -> Tensors {                                                                          \
        return {apply1(id##_grad_op, scalars(b.as<ScalarAttrs>().a, b.as<ScalarAttrs>().b), grad_inputs(b, id##_reads))}; \
      },                                                                                                                  \
      .ties = tie_elementwise,                                                                                            \
      .saves_in = id##_reads == input,                                                                                    \
  });                                                                                                                     \
  Tensor id(const Tensor& x, double a, double b) { return apply1(id##_op, scalars(a, b), {x}); }
#define BINARY(id, F)                                                                                                             \
  static const OpDef& id##_op =                                                                                                   \
      define({.name = #id, .infer = broadcast_pair, .backward = id##_backward, .ties = tie_elementwise, .saves_in = id##_saves}); \
  Tensor id(const Tensor& a, const Tensor& b) { return apply1(id##_op, {}, {a, b}); }
#include "engine/ops/elementwise.def"

}  // namespace vitrine
