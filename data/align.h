// From five landmarks to the aligned crop that face networks are trained on. Bit-exact with OpenCV 4.6's 8-bit warpAffine
// (bilinear, black border): tests/golden/data/alignment.json holds what it and scikit-image answer.
#pragma once
#include <array>
#include <map>
#include <string>

#include "data/image.h"

namespace vitrine::data {

// x,y in pixels: left eye, right eye, nose, left and right mouth corner; "left" is the image's left.
using FacePoints = std::array<std::array<double, 2>, 5>;

// Forward map (x,y) -> (m00 x + m01 y + m02, m10 x + m11 y + m12), from source to crop.
using Affine = std::array<std::array<double, 3>, 2>;

// Where the points belong in a size x size crop: the ArcFace template for multiples of 112; for multiples of 128 the same face
// with 8 more columns at the left (per 128). Any other size is an Error.
FacePoints face_template(int size = 112);

// The rotation, scale and shift (no mirroring) that brings `points` closest to `target` in the least-squares sense.
// Error if the points are not finite, coincide, or leave the map without an inverse.
Affine similarity(const FacePoints& points, const FacePoints& target = face_template());

// height x width crop, bilinear; what lies outside the source is black. Error if the matrix has no inverse.
Image warp_affine(const Image& source, const Affine& forward, int height, int width);

// warp_affine by the similarity to face_template(size) in float32, as the published tools keep it: with the decimals in double, about
// every fourth LFW crop would differ from theirs in some pixels by one.
Image align(const Image& source, const FacePoints& points, int size = 112);

// Text file, one line per image: `path x1 y1 x2 y2 x3 y3 x4 y4 x5 y5`, separated by blanks. Error with file:line for a wrong number
// of fields, a number that is none or is not finite, or a path given twice; Error for an empty file.
using Landmarks = std::map<std::string, FacePoints>;
Landmarks read_landmarks(const std::string& path);

}  // namespace vitrine::data
