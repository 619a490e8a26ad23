// Copies a window of an image, with zeros where it reaches outside.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

namespace vitrine::cpu {

template <class T>
struct ImageOf {
  const T* data;
  int64_t h, w, pitch;  // numbers between pixels
  int64_t channels;     // of each pixel to copy
};
using Image = ImageOf<float>;

// copy(from, pixels, to): pixels with their own pitch to pixels with to_pitch.
template <class T, class Copy>
void copy_padded(const ImageOf<T>& image, int64_t y0, int64_t rows, int64_t x0, int64_t cols, int64_t to_pitch, T* to, Copy&& copy) {
  const int64_t left = std::clamp<int64_t>(-x0, 0, cols), right = std::clamp<int64_t>(x0 + cols - image.w, 0, cols - left);
  const int64_t inside = cols - left - right;
  for (int64_t y = y0; y < y0 + rows; ++y, to += cols * to_pitch) {
    if (y < 0 || y >= image.h || inside == 0) {
      std::memset(to, 0, cols * to_pitch * sizeof(T));
      continue;
    }
    std::memset(to, 0, left * to_pitch * sizeof(T));
    copy(image.data + (y * image.w + x0 + left) * image.pitch, inside, to + left * to_pitch);
    std::memset(to + (left + inside) * to_pitch, 0, right * to_pitch * sizeof(T));
  }
}

// to[rows][cols][to_pitch] = rows [y0, y0 + rows) and columns [x0, x0 + cols); channels beyond image.channels are zeros.
template <class T>
void copy_padded(const ImageOf<T>& image, int64_t y0, int64_t rows, int64_t x0, int64_t cols, int64_t to_pitch, T* to) {
  copy_padded(image, y0, rows, x0, cols, to_pitch, to, [&](const T* from, int64_t pixels, T* at) {
    if (image.channels == image.pitch && to_pitch == image.pitch) {
      std::memcpy(at, from, pixels * to_pitch * sizeof(T));
      return;
    }
    for (int64_t x = 0; x < pixels; ++x, from += image.pitch, at += to_pitch) {
      std::memcpy(at, from, image.channels * sizeof(T));
      std::memset(at + image.channels, 0, (to_pitch - image.channels) * sizeof(T));
    }
  });
}

}  // namespace vitrine::cpu
