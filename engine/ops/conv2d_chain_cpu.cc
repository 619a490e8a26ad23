#include <algorithm>

#include "engine/cpu/conv_chain.h"
#include "engine/ops/conv2d_chain.h"
#include "engine/ops/conv2d_fused_cpu.h"

namespace vitrine {
namespace {

// What strips are written for: f32, weights packed, no Winograd.
bool fits(const ChainLink& l) {
  const FusedConvAttrs& a = *l.attrs;
  const bool f32 =
      l.y.dtype == Dtype::f32 && std::all_of(l.more.begin(), l.more.end(), [](const Tensor& t) { return t.dtype() == Dtype::f32; });
  const bool depthwise = a.groups == l.x.shape[3] && a.groups == l.y.shape[3];
  const bool packed = depthwise || l.more[0].shape() != Shape{l.y.shape[3], a.kh, a.kw, l.x.shape[3] / a.groups};
  return f32 && packed && !a.winograd;
}

KernelFor chain("conv2d_chain", Device::cpu, [](const Call& call) {
  std::vector<cpu::FusedConv<float>> links;
  for (const ChainLink& l : links_of(call)) {
    if (l.x.dtype != Dtype::f32 || !fits(l)) return run_by_links(call);
    links.push_back(fused_conv<float>(*l.attrs, l.x.shape, l.y.shape, l.more));
  }
  links.front().x = call.in[0].data<float>();
  links.back().finish.y = links.back().y = call.out[0].data<float>();
  if (!cpu::conv2d_chain(links)) run_by_links(call);
});

}  // namespace
}  // namespace vitrine
