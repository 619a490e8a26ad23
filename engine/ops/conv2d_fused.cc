#include "engine/ops/conv2d_fused.h"

#include "engine/cpu/conv_fused.h"
#include "engine/ops/shapes.h"

namespace vitrine {

void FusedConvAttrs::visit(AttrVisitor& v) {
  Conv2dAttrs::visit(v);
  v("kh", kh), v("kw", kw), v("winograd", winograd), v("before", before), v("after", after), v("prelu", prelu), v("residual", residual);
  v("rounded", rounded);
}

namespace {

Shape packed_shape(const Shape& w, int64_t groups, bool winograd) {
  const int64_t panels = (w[0] / groups + cpu::kPanel - 1) / cpu::kPanel;
  if (winograd) return {cpu::kWinogradPlanes, panels, w[3], cpu::kPanel};
  return {groups, panels, w.product(1, 4), cpu::kPanel};
}

void check_flag(const char* name, int64_t v) { CHECK(v == 0 || v == 1, name, " ", v, ": expected 0 or 1"); }

Metas infer_pack(const Metas& in, Attrs* attrs) {
  auto& a = static_cast<PackAttrs&>(*attrs);
  check_float(in, 1);
  const Shape& w = in[0].shape;
  check_flag("winograd", a.winograd);
  CHECK(w.rank() == 4, "weights ", w, ": expected O,kh,kw,I");
  CHECK(a.groups > 0 && w[0] % a.groups == 0, w[0], " outputs do not divide into ", a.groups, " groups");
  CHECK(!a.winograd || (w[1] == 3 && w[2] == 3 && a.groups == 1), "weights ", w, " in ", a.groups, " groups: Winograd is for 3x3 in one");
  return {{packed_shape(w, a.groups, a.winograd), in[0].dtype}};
}

// The rules of shapes are conv2d's; w is checked against what packing gives for weights [O,kh,kw,C/groups].
Metas infer(const Metas& in, Attrs* attrs) {
  auto& a = static_cast<FusedConvAttrs&>(*attrs);
  for (auto [name, v] : {std::pair{"winograd", a.winograd},
                         {"before", a.before},
                         {"after", a.after},
                         {"prelu", a.prelu},
                         {"residual", a.residual},
                         {"rounded", a.rounded}})
    check_flag(name, v);
  check_float(in, a.inputs(), 2);
  CHECK(in[0].shape.rank() == 4 && in[2].shape.rank() == 1, "x ", in[0].shape, ", shift ", in[2].shape, ": expected N,H,W,C and O");
  const int64_t c = in[0].shape[3], o = in[2].shape[0];
  CHECK(a.groups > 0 && c % a.groups == 0, c, " channels do not divide into ", a.groups, " groups");
  const Dtype dtype = in[2].dtype;
  const Meta x{in[0].shape, dtype, in[0].device}, w{{o, a.kh, a.kw, c / a.groups}, dtype};
  Metas y = op_named("conv2d").infer({x, w}, attrs);
  const bool depthwise = a.groups == c && c == o;
  CHECK(!a.winograd || (a.kh == 3 && a.kw == 3 && a.groups == 1 && std::max({a.stride_h, a.stride_w, a.dilation_h, a.dilation_w}) == 1),
        "Winograd is for 3x3 with stride 1 in one group");
  CHECK(!depthwise || !a.before, "no affine map before a depthwise convolution");
  const Shape packed = packed_shape(w.shape, a.groups, a.winograd);
  CHECK(in[1].shape == w.shape || (in[1].shape == packed && !depthwise), "weights ", in[1].shape, ", expected ", w.shape,
        depthwise ? Shape() : packed);
  size_t i = 3;
  for (int64_t k = 0; k < 3 * a.before; ++k) check_channels(in[0], in[i++], "before");
  for (int64_t k = 0; k < 2 * a.after + a.prelu; ++k) check_channels(y[0], in[i++], "after");
  if (a.residual) CHECK(in[i].shape == y[0].shape, "residual ", in[i].shape, ", expected ", y[0].shape);
  if (a.rounded) y[0].dtype = Dtype::bf16;
  return y;
}

int64_t macs(const Metas& in, const Metas& out, Attrs* attrs) {
  auto& a = static_cast<FusedConvAttrs&>(*attrs);
  return out[0].numel() * a.kh * a.kw * (in[0].shape[3] / a.groups);
}

const OpDef& op = define<FusedConvAttrs>({.name = "conv2d_fused", .infer = infer, .macs = macs});
const OpDef& pack_op = define<PackAttrs>({.name = "conv2d_pack", .infer = infer_pack});

}  // namespace

Tensor conv2d_fused(const Tensors& in, const FusedConvAttrs& a) { return apply1(op, std::make_shared<FusedConvAttrs>(a), in); }
Tensor conv2d_pack(const Tensor& w, const PackAttrs& a) { return apply1(pack_op, std::make_shared<PackAttrs>(a), {w}); }

}  // namespace vitrine
