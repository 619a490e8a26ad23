#include "engine/core/tensor.h"
#include "engine/core/bf16.h"

#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/core/op.h"

namespace vitrine {
namespace {

std::atomic<int64_t> live_bytes[kDevices], peak_bytes[kDevices];

void count_bytes(Device d, int64_t change) {
  int64_t now = live_bytes[static_cast<int>(d)].fetch_add(change) + change;
  auto& peak = peak_bytes[static_cast<int>(d)];
  for (int64_t seen = peak.load(); now > seen && !peak.compare_exchange_weak(seen, now);) {
  }
}

float half_to_float(uint16_t h) {
  uint32_t sign = uint32_t{h} >> 15 << 31, exponent = h >> 10 & 31, fraction = h & 1023;
  float magnitude = exponent == 0    ? std::ldexp(static_cast<float>(fraction), -24)
                    : exponent == 31 ? (fraction ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity())
                                     : std::ldexp(static_cast<float>(fraction + 1024), static_cast<int>(exponent) - 25);
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
}

// One element of a cpu tensor as double: the nearest one for an i64 beyond 2^53 (values() copies the tensor's own dtype unchanged).
double element(const void* data, Dtype d, int64_t i) {
  switch (d) {
    case Dtype::f32:
      return static_cast<const float*>(data)[i];
    case Dtype::f64:
      return static_cast<const double*>(data)[i];
    case Dtype::i64:
      return static_cast<double>(static_cast<const int64_t*>(data)[i]);
    case Dtype::i32:
      return static_cast<const int32_t*>(data)[i];
    case Dtype::i8:
      return static_cast<const int8_t*>(data)[i];
    case Dtype::u8:
      return static_cast<const uint8_t*>(data)[i];
    case Dtype::f16:
      return half_to_float(static_cast<const uint16_t*>(data)[i]);
    case Dtype::bf16:
      return from_bf16(static_cast<const uint16_t*>(data)[i]);
    case Dtype::i16:
      return static_cast<const int16_t*>(data)[i];
    case Dtype::b8:
      return static_cast<const uint8_t*>(data)[i] != 0;
    default:
      throw Error(cat("elements of ", info(d).name, " are packed"));
  }
}

template <class I>
I saturate(double v) {
  if (std::isnan(v)) return 0;
  constexpr double low = static_cast<double>(std::numeric_limits<I>::min()), high = static_cast<double>(std::numeric_limits<I>::max());
  if (v <= low) return std::numeric_limits<I>::min();
  if (v >= high) return std::numeric_limits<I>::max();
  return static_cast<I>(std::nearbyint(v));
}

void set_element(void* data, Dtype d, int64_t i, double v) {
  switch (d) {
    case Dtype::f32:
      static_cast<float*>(data)[i] = static_cast<float>(v);
      return;
    case Dtype::f64:
      static_cast<double*>(data)[i] = v;
      return;
    case Dtype::i64:
      static_cast<int64_t*>(data)[i] = saturate<int64_t>(v);
      return;
    case Dtype::i32:
      static_cast<int32_t*>(data)[i] = saturate<int32_t>(v);
      return;
    case Dtype::i8:
      static_cast<int8_t*>(data)[i] = saturate<int8_t>(v);
      return;
    case Dtype::u8:
      static_cast<uint8_t*>(data)[i] = saturate<uint8_t>(v);
      return;
    case Dtype::b8:
      static_cast<uint8_t*>(data)[i] = v != 0;
      return;
    default:
      throw Error(cat("conversion to ", info(d).name, " is not supported: it is a storage type"));
  }
}

}  // namespace

std::string str(const Meta& m) { return info(m.dtype).name + m.shape.str(); }

int64_t Meta::nbytes() const {
  const DtypeInfo& d = info(dtype);
  return (shape.numel() * d.block_bytes + d.block - 1) / d.block;
}

Buffer::Buffer(Device d, int64_t n) : data(backend(d).alloc(n)), bytes(n), device(d) { count_bytes(d, n); }
Buffer::~Buffer() {
  count_bytes(device, -bytes);
  backend_state(device).free(data, bytes);
}

MemoryUse memory_use(Device d) { return {live_bytes[static_cast<int>(d)], peak_bytes[static_cast<int>(d)]}; }
void reset_peak(Device d) { peak_bytes[static_cast<int>(d)] = live_bytes[static_cast<int>(d)].load(); }

Tensor Tensor::over(Meta m, std::shared_ptr<Buffer> buffer) {
  CHECK(buffer->bytes >= m.nbytes() && buffer->device == m.device, str(m), " over ", buffer->bytes, " bytes on ", name(buffer->device));
  Tensor t;
  t.impl_ = std::make_shared<Impl>();
  t.impl_->buffer = std::move(buffer);
  t.impl_->meta = std::move(m);
  return t;
}

Tensor Tensor::empty(Meta m) {
  auto buffer = std::make_shared<Buffer>(m.device, m.nbytes());
  return over(std::move(m), std::move(buffer));
}

Tensor Tensor::zeros(Shape shape, Dtype dtype, Device device) {
  Tensor t = empty({shape, dtype, Device::cpu});
  std::memset(t.raw(), 0, t.meta().nbytes());
  return t.to(device);
}

Tensor Tensor::full(Shape shape, double value, Dtype dtype) {
  Tensor t = empty({shape, dtype, Device::cpu});
  for (int64_t i = 0; i < t.numel(); ++i) set_element(t.raw(), dtype, i, value);
  return t;
}

template <class T>
Tensor Tensor::from(Shape shape, const std::vector<T>& values) {
  Tensor t = empty({shape, dtype_of<T>(), Device::cpu});
  CHECK(static_cast<int64_t>(values.size()) == t.numel(), "tensor: ", values.size(), " values for shape ", shape);
  if (!values.empty()) std::memcpy(t.raw(), values.data(), values.size() * sizeof(T));
  return t;
}
template Tensor Tensor::from(Shape, const std::vector<float>&);
template Tensor Tensor::from(Shape, const std::vector<double>&);
template Tensor Tensor::from(Shape, const std::vector<int64_t>&);
template Tensor Tensor::from(Shape, const std::vector<int32_t>&);
template Tensor Tensor::from(Shape, const std::vector<int8_t>&);
template Tensor Tensor::from(Shape, const std::vector<uint8_t>&);

void Tensor::check_access(Dtype d) const {
  CHECK(impl_, "tensor: empty handle");
  CHECK(impl_->meta.device == Device::cpu, "tensor: elements of a tensor on ", name(impl_->meta.device), "; copy it to the cpu first");
  CHECK(impl_->meta.dtype == d, "tensor: read as ", info(d).name, " but it is ", str(impl_->meta));
}

template <class T>
T* Tensor::data() const {
  check_access(dtype_of<T>());
  return static_cast<T*>(raw());
}
template float* Tensor::data() const;
template double* Tensor::data() const;
template int64_t* Tensor::data() const;
template int32_t* Tensor::data() const;
template int8_t* Tensor::data() const;
template uint8_t* Tensor::data() const;

template <class T>
std::vector<T> Tensor::values() const {
  Tensor host = to(Device::cpu);
  std::vector<T> out(host.numel());
  if (dtype_of<T>() == dtype()) {
    if (!out.empty()) std::memcpy(out.data(), host.raw(), out.size() * sizeof(T));
    return out;
  }
  for (int64_t i = 0; i < host.numel(); ++i) out[i] = static_cast<T>(element(host.raw(), host.dtype(), i));
  return out;
}
template std::vector<double> Tensor::values() const;
template std::vector<float> Tensor::values() const;
template std::vector<int64_t> Tensor::values() const;

template <class T>
T Tensor::item() const {
  CHECK(numel() == 1, "item: ", str(meta()), " does not have exactly one element");
  return values<T>()[0];
}
template double Tensor::item() const;
template float Tensor::item() const;
template int64_t Tensor::item() const;

Buffer& Tensor::mutate() {
  ++impl_->buffer->version;
  return *impl_->buffer;
}

void Tensor::assign(const Tensor& other) {
  CHECK(meta() == other.meta(), "assign: ", str(other.meta()), " to ", str(meta()));
  backend(device()).copy(mutate().data, other.raw(), meta().nbytes());
}

Tensor Tensor::to(Device d) const {
  if (d == device()) return *this;
  Meta m = meta();
  m.device = d;
  Tensor t = empty(m);
  if (d == Device::cpu)
    backend(device()).to_host(t.raw(), raw(), m.nbytes());
  else
    backend(d).from_host(t.raw(), raw(), m.nbytes());
  return t;
}

Tensor Tensor::to(Dtype d) const {
  if (d == dtype()) return *this;
  Tensor host = to(Device::cpu);
  Tensor t = empty({shape(), d, Device::cpu});
  for (int64_t i = 0; i < numel(); ++i) set_element(t.raw(), d, i, element(host.raw(), dtype(), i));
  return t.to(device());
}

Tensor Tensor::clone() const {
  Tensor t = empty(meta());
  backend(device()).copy(t.raw(), raw(), meta().nbytes());
  return t;
}

Tensor Tensor::detach() const { return view(shape()); }

Tensor Tensor::without_bytes() const {
  Tensor t;
  t.impl_ = std::make_shared<Impl>();
  t.impl_->meta = meta();
  t.impl_->node = impl_->node;
  t.impl_->output = impl_->output;
  t.impl_->requires_grad = impl_->requires_grad;
  return t;
}

Tensor Tensor::view(Shape shape) const {
  CHECK(shape.numel() == numel(), "view: ", str(meta()), " as ", shape);
  Tensor t;
  t.impl_ = std::make_shared<Impl>();
  t.impl_->meta = meta();
  t.impl_->meta.shape = shape;
  t.impl_->buffer = impl_->buffer;
  return t;
}

// Dropping the last handle of a deep network would otherwise recurse through tensor -> node -> tensor.
Tensor::Impl::~Impl() {
  std::vector<std::shared_ptr<Node>> pending;
  if (node) pending.push_back(std::move(node));
  while (!pending.empty()) {
    auto last = std::move(pending.back());
    pending.pop_back();
    if (last.use_count() > 1) continue;
    for (Tensor& in : last->in) {
      const Tensor t = std::move(in);  // one handle after the other: a node may read a tensor twice
      if (t && t.handle().use_count() == 1 && t.impl()->node) pending.push_back(std::move(t.impl()->node));
    }
  }
}

}  // namespace vitrine
