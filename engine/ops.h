// THE VOCABULARY: every operator, one declaration and one line of meaning each. Definitions: engine/ops/<name>.cc.
// Images are N,H,W,C; "per channel" is along the last axis. All are differentiable unless it says otherwise.
#pragma once
#include "engine/core/op.h"
#include "engine/ops/conv2d.h"           // conv2d, conv2d_grad_x, conv2d_grad_w
#include "engine/ops/conv2d_chain.h"     // conv2d_chain: for inference, not differentiable
#include "engine/ops/conv2d_fused.h"     // conv2d_fused, conv2d_pack: for inference, not differentiable
#include "engine/ops/conv2d_winograd.h"  // conv2d_winograd, conv2d_winograd_grad_w
#include "engine/ops/matmul.h"           // matmul
#include "engine/ops/max_pool.h"         // max_pool

namespace vitrine {

// Elementwise, one input: see elementwise.def for the exact arithmetic.
#define UNARY(id, f, df) Tensor id(const Tensor& x);
#define UNARY_SCALARS(id, f, df) Tensor id(const Tensor& x, double a, double b = 0);
// Elementwise, two inputs with numpy broadcasting.
#define BINARY(id, f) Tensor id(const Tensor& a, const Tensor& b);
#include "engine/ops/elementwise.def"
#undef UNARY
#undef UNARY_SCALARS
#undef BINARY

// Reductions over `axes` (empty: all). Sums are accumulated in f64 in one stated order (reduce_cpu.cc). min and max: not differentiable.
Tensor sum(const Tensor& x, Shape axes = {}, bool keep = false);
Tensor mean(const Tensor& x, Shape axes = {}, bool keep = false);
Tensor min(const Tensor& x, Shape axes = {}, bool keep = false);
Tensor max(const Tensor& x, Shape axes = {}, bool keep = false);
Tensor expand(const Tensor& x, Shape shape);  // numpy's broadcast_to
Tensor sum_to(const Tensor& x, Shape shape);  // undoes expand: sums over the axes that were broadcast

Tensor reshape(const Tensor& x, Shape shape);                             // a view; 0 copies the extent of x, one -1 is inferred
Tensor flatten(const Tensor& x);                                          // N,... -> N,rest
Tensor transpose(const Tensor& x, Shape order);                           // axis i of the result is axis order[i] of x
Tensor concat(const Tensors& parts, int64_t axis);                        // one after the other; -1: along the channels
Tensor slice(const Tensor& x, int64_t axis, int64_t begin, int64_t end);  // the indices [begin, end) of an axis
Tensor gather(const Tensor& x, const Tensor& index);                      // rows x[index[i]]; index i64 [n]
Tensor scatter_add(const Tensor& g, const Tensor& index, int64_t rows);   // undoes gather: out[index[i]] += g[i], i ascending

struct Sorted {
  Tensor values, index;
};                                              // index i64: values[i] = x[index[i]]
Sorted sort(const Tensor& x, bool descending);  // x [n]; stable; the gradient of `values` flows to x

// y = (x - mean) / sqrt(var + eps) * gamma + beta, per channel, with given statistics.
Tensor batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& mean, const Tensor& var, double eps = 1e-5);
// The same with the batch's own statistics (biased variance); running' = (1 - momentum) * running + momentum * (mean, unbiased variance).
struct BatchNormTrain {
  Tensor y, mean, rstd, running_mean, running_var;
};
BatchNormTrain batch_norm_train(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& running_mean,
                                const Tensor& running_var, double eps = 1e-5, double momentum = 0.1);

Tensor cast(const Tensor& x, Dtype);                                       // to f32, f64 or bf16, to nearest even; the gradient back
Tensor prelu(const Tensor& x, const Tensor& slope);                        // x > 0 ? x : slope[c] * x, per channel
Tensor linear(const Tensor& x, const Tensor& w, const Tensor& bias = {});  // x [N,I], w [O,I]: x w^T + bias
Tensor l2_normalize(const Tensor& x, double eps = 1e-12);                  // rows of the last axis divided by max(norm, eps)

// log(sum_j exp x[i,j]) - x[i, labels[i]] for each row of x [N,C]; labels i64 [N] in 0..C-1. Never infinite for finite x.
Tensor cross_entropy(const Tensor& x, const Tensor& labels);

// Training: zero with probability p, otherwise x / (1 - p). Element i is kept or not by Philox(seed, next_step, i) alone.
struct Dropped {
  Tensor y, next_step;  // next_step = step + 1
};
Dropped dropout(const Tensor& x, const Tensor& step, double p, int64_t seed);  // step i64 []: a state that counts the runs

}  // namespace vitrine
