// Draws simple faces: 112x112, aligned to face_template(112), from a vector of traits (who it is) and a shot (how it was taken).
// A face is a handful of shapes on a curved surface. Pose turns the surface, each shape is drawn in its foreshortened tangent frame, and
// the turned landmarks are aligned with the same `similarity` as real ones: faces come with the distortions real crops have.
// Edges are anti-aliased by distance. After projection only + - * / on floats: equal bits with any instruction set and any threads.
#pragma once
#include <array>
#include <cstdint>

#include "data/image.h"

namespace vitrine::data {

// In units of the population's standard deviation, 0 is the average face.
// clang-format off
enum Trait {
  kMale,  // > 0: beard, receding hairline; < 0: lashes, longer hair
  kAge,   // not drawn: when most photographs were taken
  kFaceWidth, kChin, kJaw, kJawTaper, kForehead, kCheeks, kEars,
  kSkin, kSkinWarmth, kFreckles,
  kEyeSpacing, kEyeHeight, kEyeWidth, kEyeOpen, kEyeSlant, kEyeCrease, kEyeDepth, kIrisLight, kIrisHue,
  kBrowHeight, kBrowThick, kBrowSlant, kBrowArch, kBrowLength,
  kNoseLength, kNoseWidth, kNoseTip, kNoseBridge,
  kMouthHeight, kMouthWidth, kUpperLip, kLowerLip, kLipColour, kMouthCurve,
  kHairLight, kHairRed, kHairLength, kHairVolume, kHairCurl, kHairPart, kFringe, kBaldness,
  kBeard, kMoustache, kMoleX, kMoleY, kMoleSize, kGlasses, kGlassesShape,
  kTraits
};
// clang-format on
using FaceTraits = std::array<float, kTraits>;

enum class Occlusion { kNone, kSunglasses, kScarf, kBox };

struct FaceShot {
  float age = 35;                                // years
  float yaw = 0, pitch = 0;                      // radians; yaw > 0 turns the nose to the image's right, pitch > 0 downwards
  float light_x = 0, light_y = 0, light = 0.3f;  // where the light comes from, -1 .. 1; share that is directed, 0 .. 1
  float exposure = 1;
  std::array<float, 3> cast{1, 1, 1};                        // factor per colour
  float smile = 0, open = 0, brow = 0, blink = 0, gaze = 0;  // smile, gaze: -1 .. 1; the others 0 .. 1
  float hair = 0, beard = 0;                                 // today's styling and growth, in standard deviations
  bool glasses = false;
  Occlusion occlusion = Occlusion::kNone;
  float blur = 0;       // passes of a 3-tap binomial filter; a fraction is a weaker pass
  float noise = 0;      // standard deviation, in byte values
  float misalign = 0;   // standard deviation of the landmarks' error, in pixels
  uint64_t detail = 0;  // decides background, clothes, the landmarks' errors, the occluder and the noise
};

Image render_face(const FaceTraits& traits, const FaceShot& shot);

}  // namespace vitrine::data
