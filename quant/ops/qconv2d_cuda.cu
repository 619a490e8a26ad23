// Implicit GEMM on codes: a block owns 64 (or 128) pixels times 64 outputs of a group, and goes through the depth (ky, kx, i) in tiles of
// 64 bytes. THE LAW is engine/cpu/qconv_reference.h; the epilogue is its very function. Sums are taken modulo 2^32:
//   sum of (x - x_zero) * (q + zero) = sum of x * q'  +  rest * sum of x  +  start        q' = q + what of the zero fits into s8 with it
//   rest = the zero, or 0 where q' holds it;  start = -x_zero * (sum of q' + depth * rest), a constant. A tap in the padding reads x_zero.
// Where x and w have four bits at most, two codes can share a byte: then the product is with u, the unsigned code, and rest makes up for
// it. Where there are few tiles and much depth (a fully connected layer), slices of the depth are summed apart and then added.
#include "quant/ops/qconv2d_cuda.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <numeric>

#include "engine/cpu/qconv_reference.h"
#include "engine/cuda/integer.cuh"
#include "quant/format.h"
#include "quant/ops/qconv2d_layer.h"

namespace vitrine::quant {
namespace {

using cuda::ByteRow, cuda::kByteSide, cuda::kByteUnits, cuda::ptr, cuda::Words;

constexpr int kUnit = 16;  // codes that are loaded at once
#ifdef VITRINE_CUDA_SIM
constexpr int64_t kDeviceBlocks = 4;
#else
constexpr int64_t kDeviceBlocks = 264;  // that keep a large device busy
#endif
constexpr int64_t kSliceUnits = 16;  // of a slice of the depth, at least

struct Geometry {
  int n, h, w, c, o, kh, kw, oh, ow, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;
  int in, out, depth, units, x_zero;  // of a group; units of 16 codes in an output's weights
};

// Weights [o][units] of 16 codes each, as unsigned numbers u = q + 2^(bits - 1), in one to four words:
//   8, 7 bits   byte j of word i holds code 4 i + j
//   6, 5        two words of low nibbles (byte j of word i holds codes 8 i + j and 8 i + 4 + j) and one of the two high bits (byte j holds
//               codes j, 4 + j, 8 + j, 12 + j)
//   4, 3        the nibbles alone
//   2           the pairs of bits alone
struct Weights {
  const uint32_t* words;
  const uint32_t* bias;  // [o] in each byte 128 + q' - u: (u + bias) ^ 128 is q'
  const uint32_t *rest, *start;
  int size;  // words of a unit

  // What the window's sum of x is multiplied by where x was multiplied by u.
  __device__ uint32_t rest_of_u(int o) const { return rest[o] + static_cast<uint32_t>(static_cast<int8_t>(bias[o] ^ 128)); }
  // A unit of u, four bits at most, in two words of nibbles; in 2 bits' planes word i has codes 8 i + j at 4 i and 8 i + 4 + j behind.
  __device__ void nibbles(int64_t unit, uint32_t* w) const {
    const uint32_t* at = words + unit * size;
    for (int i = 0; i < 2; ++i) w[i] = size == 2 ? at[i] : (at[0] >> 4 * i & 0x03030303) | (at[0] >> (4 * i + 2) & 0x03030303) << 4;
  }
  __device__ Words load(int o, int64_t unit) const {
    const uint32_t* at = words + unit * size;
    Words w = {};
    if (size == 4) w = *reinterpret_cast<const Words*>(at);
    for (int i = 0; i < 4; ++i) {
      if (size == 2 || size == 3) w.at[i] = at[i / 2] >> 4 * (i % 2) & 0x0f0f0f0f;
      if (size == 1) w.at[i] = at[0] >> 2 * i & 0x03030303;
      if (size == 3) w.at[i] |= (at[2] >> 2 * i & 0x03030303) << 4;
      w.at[i] = (w.at[i] + bias[o]) ^ 0x80808080;
    }
    return w;
  }
};

struct Pixel {
  int image, y, x;  // image: its first row, n * h
};
struct Tap {
  int y, x, channel;  // of the group
};

// The codes that pixels of y read, by units of the depth; zeros beyond it.
struct Patches {
  const uint8_t* x;
  Geometry s;
  cuda::Divisor by_in{s.in}, by_kw{s.kw};
  __device__ Pixel pixel(int i) const {
    const int line = i / s.ow;
    return {line / s.oh * s.h, line % s.oh * s.stride_h - s.pad_h, i % s.ow * s.stride_w - s.pad_w};
  }
  __device__ Tap tap(int code) const {
    const int tap = static_cast<int>(by_in.quotient(code)), ky = static_cast<int>(by_kw.quotient(tap));
    return {ky * s.dilation_h, (tap - ky * s.kw) * s.dilation_w, code - tap * s.in};
  }
  __device__ const uint8_t* at(const Pixel& p, int group, const Tap& t) const {  // null: padding
    const int y = p.y + t.y, x_ = p.x + t.x;
    const bool inside = y >= 0 && y < s.h && x_ >= 0 && x_ < s.w;
    return inside ? x + (int64_t{p.image + y} * s.w + x_) * s.c + group * s.in + t.channel : nullptr;
  }
  // `first`: the tap of the unit's first code, which pixels that are loaded together share.
  __device__ Words load(const Pixel& p, int group, int unit, const Tap& first) const {
    Words v;
    if (s.in % kUnit == 0) {
      if (const uint8_t* codes = at(p, group, first)) return *reinterpret_cast<const Words*>(codes);
      for (uint32_t& word : v.at) word = 0x01010101u * static_cast<uint32_t>(s.x_zero);
      return v;
    }
    VITRINE_UNROLL
    for (int k = 0; k < 4; ++k) v.at[k] = some_codes(p, group, unit * kUnit + 4 * k);
    return v;
  }
  __device__ uint32_t some_codes(const Pixel& p, int group, int first) const {  // four
    uint32_t word = 0;
    VITRINE_ROLLED
    for (int j = 0; j < 4 && first + j < s.depth; ++j) {
      const uint8_t* code = at(p, group, tap(first + j));
      word |= static_cast<uint32_t>(code ? *code : s.x_zero) << 8 * j;
    }
    return word;
  }
};

__device__ uint32_t sum_of_bytes(const Words& x) {
  uint32_t sum = 0;
  for (uint32_t word : x.at) sum = cuda::dp4a(word, 0x01010101u, sum);
  return sum;
}

// Two units of codes of four bits at most, as Weights::nibbles orders them.
__device__ Words in_nibbles(const Words& a, const Words& b) {
  return {a.at[0] | a.at[1] << 4, a.at[2] | a.at[3] << 4, b.at[0] | b.at[1] << 4, b.at[2] | b.at[3] << 4};
}

// What becomes of the sums of element `at` of y, of output o.
struct Finish {
  Weights w;
  cpu::QEpilogue e;
  uint8_t* codes;  // y
  float* values;   // y where codes is null
  uint32_t* slices;
  int64_t numel;

  __device__ void complete(int64_t at, int o, uint32_t sum) const {
    const float v = cpu::reference::epilogue(e, static_cast<int32_t>(sum + w.start[o]), o, at);
    codes ? cpu::reference::store(e, v, o, at, codes) : cpu::reference::store(e, v, o, at, values);
  }
  __device__ void operator()(int64_t at, int o, int slice, uint32_t sum) const {
    slices ? void(slices[slice * numel + at] = sum) : complete(at, o, sum);
  }
};

// Grid: pixels, groups times tiles of outputs, slices.
template <class Sums>
__global__ void __launch_bounds__(cuda::kBlock) qconv_kernel(Patches patches, Finish finish, int pixels, int tiles, int slice_units) {
  constexpr int kRows = Sums::kRows, kLoads = kRows / kByteSide, kUnits = 8 / Sums::kBits;  // kUnits: in the 16 bytes that a thread loads
  __shared__ ByteRow x_tile[kRows], w_tile[kByteSide];
  __shared__ uint32_t window[kRows];
  const Geometry& s = patches.s;
  const int row = threadIdx.x / kByteUnits, column = threadIdx.x % kByteUnits;  // of the tiles, what this thread loads
  const int group = blockIdx.y / tiles, first_pixel = blockIdx.x * kRows, first_out = blockIdx.y % tiles * kByteSide;
  const int begin = blockIdx.z * slice_units, end = begin + slice_units < s.units ? begin + slice_units : s.units;
  const int output = group * s.out + first_out + row;
  Pixel pixel[kLoads];
  for (int i = 0; i < kLoads; ++i) pixel[i] = patches.pixel(first_pixel + row + kByteSide * i);
  Words x[kLoads][kUnits], w;
  auto load = [&](int first) {
    w = {};
    VITRINE_UNROLL
    for (int k = 0; k < kUnits; ++k) {
      const int unit = first + column * kUnits + k;
      const Tap tap = patches.tap(unit * kUnit);
      VITRINE_UNROLL
      for (int i = 0; i < kLoads; ++i)
        x[i][k] = unit < end && first_pixel + row + kByteSide * i < pixels ? patches.load(pixel[i], group, unit, tap) : Words{};
      if (unit >= end || first_out + row >= s.out) continue;
      const int64_t at = int64_t{output} * s.units + unit;
      if constexpr (kUnits == 1) w = finish.w.load(output, at);
      if constexpr (kUnits == 2) finish.w.nibbles(at, w.at + 2 * k);
    }
  };
  Sums sums;
  uint32_t codes[kLoads] = {};  // their sums
  load(begin);
  for (int first = begin; first < end; first += kByteUnits * kUnits) {
    VITRINE_UNROLL
    for (int i = 0; i < kLoads; ++i) {
      for (const Words& unit : x[i]) codes[i] += sum_of_bytes(unit);
      x_tile[row + kByteSide * i][column] = kUnits == 1 ? x[i][0] : in_nibbles(x[i][0], x[i][kUnits - 1]);
    }
    w_tile[row][column] = w;
    __syncthreads();
    if (first + kByteUnits * kUnits < end) load(first + kByteUnits * kUnits);  // while the tiles are multiplied
    sums.step(x_tile, w_tile);
    __syncthreads();
  }
  for (int i = threadIdx.x; i < kRows; i += cuda::kBlock) window[i] = 0;
  __syncthreads();
  for (int i = 0; i < kLoads; ++i) atomicAdd(&window[row + kByteSide * i], codes[i]);
  __syncthreads();
  sums.each([&](int r, int col, uint32_t sum) {
    if (first_pixel + r >= pixels || first_out + col >= s.out) return;
    const int o = group * s.out + first_out + col;
    const uint32_t rest = kUnits == 1 ? finish.w.rest[o] : finish.w.rest_of_u(o);
    finish(int64_t{first_pixel + r} * s.o + o, o, blockIdx.z, sum + rest * window[r]);
  });
}

template <class Sums>
void launch(const Patches& patches, Finish finish, int64_t pixels) {
  const Geometry& s = patches.s;
  const int64_t tiles = chunk_count(s.out, kByteSide), rows = chunk_count(pixels, Sums::kRows), blocks = rows * tiles * s.groups;
  const int64_t slices = std::clamp<int64_t>(s.units / kSliceUnits, 1, chunk_count(kDeviceBlocks, blocks));
  constexpr int64_t kTileUnits = kByteUnits * 8 / Sums::kBits;
  const int64_t slice_units = chunk_count(chunk_count(s.units, slices), kTileUnits) * kTileUnits, used = chunk_count(s.units, slice_units);
  CHECK(tiles * s.groups <= 65535, "qconv2d: on cuda, ", s.o, " outputs in ", s.groups, " groups exceed a launch");
  const dim3 grid(static_cast<unsigned>(rows), static_cast<unsigned>(tiles * s.groups), static_cast<unsigned>(used));
  Tensor partial;
  if (used > 1) partial = cuda::scratch<int32_t>({used, finish.numel}), finish.slices = reinterpret_cast<uint32_t*>(ptr<int32_t>(partial));
  LAUNCH((qconv_kernel<Sums>), grid, cuda::kBlock, patches, finish, static_cast<int>(pixels), static_cast<int>(tiles),
         static_cast<int>(slice_units));
  if (used == 1) return;
  const int outputs = s.o;
  cuda::each(finish.numel, [=] __device__(int64_t i) {
    uint32_t sum = 0;
    for (int64_t slice = 0; slice < used; ++slice) sum += finish.slices[slice * finish.numel + i];
    finish.complete(i, static_cast<int>(i % outputs), sum);
  });
}

// Groups of few outputs: a thread for each element.
void grouped(const Patches& patches, const Finish& finish) {
  cuda::each(finish.numel, [=] __device__(int64_t i) {
    const Geometry& s = patches.s;
    const int o = static_cast<int>(i % s.o);
    const Pixel pixel = patches.pixel(static_cast<int>(i / s.o));
    uint32_t sum = 0, window = 0;
    for (int unit = 0; unit < s.units; ++unit) {
      const Words x = patches.load(pixel, o / s.out, unit, patches.tap(unit * kUnit)), w = finish.w.load(o, int64_t{o} * s.units + unit);
      for (int k = 0; k < 4; ++k) sum = cuda::dp4a(x.at[k], w.at[k], sum);
      window += sum_of_bytes(x);
    }
    finish(i, o, 0, sum + finish.w.rest[o] * window);
  });
}

// What the code that this device runs has, and whether multiplying by four bits is faster there: later tensor cores emulate it.
struct Chip {
  bool tensor_cores = true, nibbles_pay = true;
  Chip() {
#ifndef VITRINE_CUDA_SIM
    cudaFuncAttributes a;
    CUDA_CHECK(cudaFuncGetAttributes(&a, qconv_kernel<cuda::TensorSums<1, 8>>));
    tensor_cores = a.ptxVersion >= 80;
    int device = 0, major = 0;
    CUDA_CHECK(cudaGetDevice(&device));
    CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
    nibbles_pay = major == 8;
#endif
  }
};

QPath path_of(const Geometry& s, bool many, bool nibbles) {
  static const Chip chip;
  QPath path = qpath();
  const bool shallow = s.depth < (many ? 256 : 32);  // docs/benchmarks.md
  if (path == QPath::chosen) path = shallow ? QPath::dp4a : chip.nibbles_pay ? QPath::nibbles : QPath::bytes;
  if (path == QPath::nibbles && !nibbles) path = QPath::bytes;
  return chip.tensor_cores ? path : QPath::dp4a;
}

void convolve(const Patches& patches, const Finish& finish, bool nibbles) {
  const Geometry& s = patches.s;
  const int64_t pixels = int64_t{s.n} * s.oh * s.ow;
  if (pixels == 0) return;
  if (s.groups > 1 && s.out < kUnit) return grouped(patches, finish);
  const bool many = chunk_count(pixels, 2 * kByteSide) * chunk_count(s.out, kByteSide) * s.groups >= kDeviceBlocks;
  switch (path_of(s, many, nibbles)) {
    case QPath::nibbles:
      return many ? launch<cuda::TensorSums<2, 4>>(patches, finish, pixels) : launch<cuda::TensorSums<1, 4>>(patches, finish, pixels);
    case QPath::bytes:
      return many ? launch<cuda::TensorSums<2, 8>>(patches, finish, pixels) : launch<cuda::TensorSums<1, 8>>(patches, finish, pixels);
    default:
      return launch<cuda::DotSums>(patches, finish, pixels);
  }
}

// ---- what is made once of a layer's constants and kept with its codes ------------------------------------------------------------------

// The unit layout of Weights; i32 [o][units][words].
Tensor packed_units(const Tensor& q, int64_t depth, int bits) {
  const int64_t rows = depth ? q.numel() / depth : 0, units = chunk_count(depth, kUnit);
  const int size = bits > 6 ? 4 : bits > 4 ? 3 : bits > 2 ? 2 : 1;
  Tensor packed = Tensor::zeros({rows, units, size}, Dtype::i32);
  for (int64_t i = 0; i < rows * depth; ++i) {
    int32_t* at = packed.data<int32_t>() + (i / depth * units + i % depth / kUnit) * size;
    const int64_t j = i % depth % kUnit;
    const int u = q.data<int8_t>()[i] + (1 << (bits - 1));
    auto put = [&](int64_t word, int part, int64_t shift) {
      at[word] = static_cast<int32_t>(uint32_t(at[word]) | uint32_t(part) << shift);
    };
    if (size == 4) put(j / 4, u, 8 * (j % 4));
    if (size == 2 || size == 3) put(j / 8, u & 15, 8 * (j % 4) + 4 * (j / 4 % 2));
    if (size == 3) put(2, u >> 4, 8 * (j % 4) + 2 * (j / 4));
    if (size == 1) put(0, u, 8 * (j % 4) + 2 * (j / 4));
  }
  return packed;
}

struct Prepared {
  std::array<int64_t, 5> attrs;
  Tensors constants;  // of the call, the codes excepted, which own this
  std::vector<uint32_t> versions;
  Tensor words, bias, rest, start, mult, second_mult;
  int x_zero;
  cpu::QEpilogue epilogue;  // its vectors are on the device
};

std::array<int64_t, 5> key(const QConv2dAttrs& a) { return {a.groups, a.x_bits, a.residual_bits, a.out_bits, a.second_bits}; }

std::shared_ptr<Prepared> prepare(const Call& c, const QConv2dInputs<Tensor>& in, const QConv2dAttrs& a, const cpu::ConvShape& s) {
  auto p = std::make_shared<Prepared>();
  p->attrs = key(a);
  Tensors on_host;
  for (const Tensor& t : c.in) {
    const bool data = &t == in.x || &t == in.residual;
    on_host.push_back(data ? Tensor() : t.to(Device::cpu));
    p->constants.push_back(data || &t == in.codes ? Tensor() : t.detach()), p->versions.push_back(t.version());
  }
  const QConv2dInputs<Tensor> host(on_host, a);
  std::vector<float> mult, second_mult;
  const QLayer layer(host, a, mult, second_mult);
  const Tensor codes = unpack_codes(*host.codes);
  const int bits = static_cast<int>(code_bits(host.codes->dtype())), half = 1 << (bits - 1);
  const int8_t* q = codes.data<int8_t>();
  const int32_t* zero = host.zero->data<int32_t>();
  const std::vector<int32_t> fold = cpu::foldable_zeros(s, bits, q, zero);
  const int64_t depth = s.kh * s.kw * s.group_in();
  std::vector<int32_t> bias(s.o), rest(s.o), start(s.o);
  for (int64_t o = 0; o < s.o; ++o) {
    rest[o] = zero[o] - fold[o];
    bias[o] = static_cast<int32_t>(static_cast<uint32_t>(128 - half + fold[o]) * 0x01010101u);
    const int64_t sum = std::accumulate(q + o * depth, q + (o + 1) * depth, depth * (fold[o] + rest[o]));
    start[o] = static_cast<int32_t>(-layer.x.zero * sum);
  }
  auto upload = [](const auto& v) { return Tensor::from({static_cast<int64_t>(v.size())}, v).to(Device::cuda); };
  p->words = packed_units(codes, depth, bits).to(Device::cuda);
  p->bias = upload(bias), p->rest = upload(rest), p->start = upload(start), p->mult = upload(mult), p->second_mult = upload(second_mult);
  auto device = [](const Tensor* t) -> const float* { return t ? ptr<float>(*t) : nullptr; };
  cpu::QEpilogue& e = p->epilogue;
  e = layer.epilogue, p->x_zero = layer.x.zero;
  e.mult = ptr<float>(p->mult), e.add = device(in.shift), e.slope = device(in.slope);
  e.post_mult = device(in.post_gain), e.post_add = device(in.post_shift);
  e.second_mult = in.second_gain ? ptr<float>(p->second_mult) : nullptr, e.second_add = device(in.second_shift);
  return p;
}

std::shared_ptr<Prepared> prepared(const Call& c, const QConv2dInputs<Tensor>& in, const QConv2dAttrs& a, const cpu::ConvShape& s) {
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  auto& kept = in.codes->buffer()->derived;
  auto p = std::static_pointer_cast<Prepared>(kept);
  bool valid = p && p->attrs == key(a) && p->constants.size() == c.in.size();
  for (size_t i = 0; valid && i < c.in.size(); ++i) {
    if (&c.in[i] == in.x || &c.in[i] == in.residual) continue;
    valid = p->versions[i] == c.in[i].version() && (&c.in[i] == in.codes || (p->constants[i] && p->constants[i].shares(c.in[i])));
  }
  if (!valid) kept = p = prepare(c, in, a, s);
  return p;
}

KernelFor kernel("qconv2d", Device::cuda, [](const Call& c) {
  auto& a = c.as<QConv2dAttrs>();
  const QConv2dInputs<Tensor> in(c.in, a);
  for (const Tensor* t : {in.x, in.codes, const_cast<const Tensor*>(c.out.data())})
    CHECK(t->numel() < int64_t{1} << 31, "qconv2d: on cuda a tensor must have fewer than 2^31 elements, got ", str(t->meta()));
  const cpu::ConvShape s = conv_shape(in.x->shape(), in.codes->shape(), c.out[0].shape(), a);
  const auto p = prepared(c, in, a, s);
  auto i = [](int64_t v) { return static_cast<int>(v); };
  const int64_t depth = s.kh * s.kw * s.group_in();
  const Patches patches{ptr<uint8_t>(*in.x),
                        {i(s.n),        i(s.h),          i(s.w),           i(s.c),          i(s.o),
                         i(s.kh),       i(s.kw),         i(s.oh),          i(s.ow),         i(s.stride_h),
                         i(s.stride_w), i(s.pad_h),      i(s.pad_w),       i(s.dilation_h), i(s.dilation_w),
                         i(s.groups),   i(s.group_in()), i(s.group_out()), i(depth),        i(chunk_count(depth, kUnit)),
                         p->x_zero}};
  auto words = [](const Tensor& t) { return reinterpret_cast<const uint32_t*>(ptr<int32_t>(t)); };
  Finish finish{{words(p->words), words(p->bias), words(p->rest), words(p->start), i(p->words.shape()[2])},
                p->epilogue,
                a.out_bits ? ptr<uint8_t>(c.out[0]) : nullptr,
                a.out_bits ? nullptr : ptr<float>(c.out[0]),
                nullptr,
                c.out[0].numel()};
  if (in.residual) finish.e.residual = ptr<uint8_t>(*in.residual);
  if (a.second_bits) finish.e.second = ptr<uint8_t>(c.out[1]);
  convolve(patches, finish, a.x_bits <= 4 && finish.w.size <= 2);
});

}  // namespace
}  // namespace vitrine::quant
