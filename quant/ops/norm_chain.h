// batch_norm_train and what follows it on the way to the next convolution as one operator, which reads and writes memory fewer times and
// keeps fewer values for the gradient. Every bit is that of the operators it stands for.
//   batch_norm_prelu(x, gamma, beta, running_mean, running_var, slope [, range])     v = prelu(batch_norm_train(x), slope)
//   batch_norm_add(x, gamma, beta, running_mean, running_var, shortcut [, range])    v = batch_norm_train(x) + shortcut
// With a range, y = fake_quant(v, range', bits), where range' is observe(v, range) by its minmax rule, or `range` where that is frozen;
// without, y = v. x may be bf16, and y is where that is `rounded`. Outputs: y, mean, rstd, the new running_mean and running_var [, range'
// if observed].
#pragma once
#include "engine/graph/graph.h"
#include "engine/ops/batch_norm.h"

namespace vitrine::quant {

struct NormChainAttrs : BatchNormTrainAttrs {
  int64_t bits = 0, observed = 0;  // bits 0: no quantizer and no range
  void visit(AttrVisitor& v) override { BatchNormTrainAttrs::visit(v), v("bits", bits), v("observed", observed); }
};

// For training: puts these operators where a graph has their parts.
Graph with_norm_chains(const Graph&);

}  // namespace vitrine::quant
