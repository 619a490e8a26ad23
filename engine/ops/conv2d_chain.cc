#include "engine/ops/conv2d_chain.h"

namespace vitrine {
namespace {

// Fields of a link under its number: "0.stride_h".
struct Numbered : AttrVisitor {
  AttrVisitor& all;
  const int64_t link;
  Numbered(AttrVisitor& v, int64_t i) : all(v), link(i) {}
  template <class T>
  void pass(const char* name, T& v) {
    all(cat(link, ".", name).c_str(), v);
  }
  void operator()(const char* name, int64_t& v) override { pass(name, v); }
  void operator()(const char* name, double& v) override { pass(name, v); }
  void operator()(const char* name, Shape& v) override { pass(name, v); }
  void operator()(const char* name, Dtype& v) override { pass(name, v); }
};

// link(attrs, metas of what conv2d_fused is given, its output, index of the first input behind x); the last output.
template <class Link>
Meta each_link(ConvChainAttrs& a, const Metas& in, Link&& link) {
  CHECK(!a.links.empty() && !in.empty(), "a chain without links or x");
  Meta x = in[0];
  size_t next = 1;
  for (FusedConvAttrs& f : a.links) {
    const size_t end = next + f.inputs() - 1;
    CHECK(end <= in.size() && end >= next, in.size(), " inputs: too few for ", a.links.size(), " links");
    Metas own{x};
    own.insert(own.end(), in.begin() + static_cast<int64_t>(next), in.begin() + static_cast<int64_t>(end));
    x = op_named("conv2d_fused").infer(own, &f)[0];
    link(f, own, x, next);
    next = end;
  }
  CHECK(next == in.size(), in.size(), " inputs, the links take ", next);
  return x;
}

Metas infer(const Metas& in, Attrs* attrs) {
  auto& a = static_cast<ConvChainAttrs&>(*attrs);
  return {each_link(a, in, [&](FusedConvAttrs& f, const Metas&, const Meta&, size_t) {
    CHECK(&f == &a.links.back() || (!f.residual && !f.rounded), "a residual or bf16 before the last link");
  })};
}

int64_t macs(const Metas& in, const Metas&, Attrs* attrs) {
  int64_t sum = 0;
  each_link(static_cast<ConvChainAttrs&>(*attrs), in,
            [&](FusedConvAttrs& f, const Metas& own, const Meta& y, size_t) { sum += op_named("conv2d_fused").macs(own, {y}, &f); });
  return sum;
}

const OpDef& op = define<ConvChainAttrs>({.name = "conv2d_chain", .infer = infer, .macs = macs});

}  // namespace

void ConvChainAttrs::visit(AttrVisitor& v) {
  auto count = static_cast<int64_t>(links.size());
  v("links", count);
  CHECK(count >= 0 && count <= kMost, count, " links: expected at most ", kMost);
  links.resize(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    Numbered numbered(v, i);
    links[static_cast<size_t>(i)].visit(numbered);
  }
}

Tensor conv2d_chain(const Tensors& in, const ConvChainAttrs& a) { return apply1(op, std::make_shared<ConvChainAttrs>(a), in); }

std::vector<ChainLink> links_of(const Call& call) {
  std::vector<ChainLink> all;
  Metas metas;
  for (const Tensor& t : call.in) metas.push_back(t.meta());
  each_link(call.as<ConvChainAttrs>(), metas, [&](FusedConvAttrs& f, const Metas& own, const Meta& y, size_t next) {
    const auto first = call.in.begin() + static_cast<int64_t>(next);
    all.push_back({&f, own[0], y, {first, first + static_cast<int64_t>(own.size()) - 1}});
  });
  return all;
}

void run_by_links(const Call& call) {
  std::vector<ChainLink> links = links_of(call);
  const Device device = call.out[0].device();
  Tensor x = call.in[0];
  for (ChainLink& l : links) {
    Tensors in{x};
    in.insert(in.end(), l.more.begin(), l.more.end());
    l.y.device = device;
    Tensors out{&l == &links.back() ? call.out[0] : Tensor::empty(l.y)};
    op_named("conv2d_fused").kernel[static_cast<int>(device)](Call{in, out, l.attrs});
    x = out[0];
  }
}

}  // namespace vitrine
