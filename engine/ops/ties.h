// Channel rules that several operators share.
#pragma once
#include "engine/core/ties.h"

namespace vitrine {

// Element by element with broadcasting: along an axis of the result, equal indices of all inputs that span it are one channel. Serves every
// operator whose result has the shape of its inputs, and those with per-channel inputs.
void tie_elementwise(Ties&);

// For operators whose ShapeAttrs spell out the extents of the result.
AttrsPtr narrow_shape(const Narrowed&);

}  // namespace vitrine
