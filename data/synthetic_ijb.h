// IJB-C in small, of people who do not exist: templates of several media, loose crops with landmarks, comparisons, galleries and probes.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/align.h"
#include "data/dataset.h"

namespace vitrine::data {

struct SyntheticIjb {
  struct Face {
    std::string name;  // "17.png"
    int template_id = 0, medium = 0;
    FacePoints points{};
    float score = 0;  // of a detector that likes sharp and uncovered faces, 0.1 .. 1
  };
  struct Enrolled {
    int template_id = 0, subject = 0;
  };
  std::vector<Face> faces;
  std::shared_ptr<const Dataset> images;       // loose crops, in the order of faces
  std::vector<std::array<int, 3>> pairs;       // template, template, 1 same or 0 different: every enrolment against every probe
  std::vector<Enrolled> galleries[2], probes;  // of alternating subjects; all probes together
};

// Per subject an enrolment of two stills and two probes: a still with a video of three frames, and a video of two. Subjects are people whom
// no training set and no pair list has.
SyntheticIjb synthetic_ijb(uint64_t seed, int subjects);

// DIR/meta/ijbc_*.txt and .csv, DIR/loose_crop/N.png: the official layout.
void write_ijb(const SyntheticIjb&, const std::string& dir);

}  // namespace vitrine::data
