// The lists of IJB-B and IJB-C: which image belongs to which template, which templates are compared, who is searched for whom.
// Formats as InsightFace distributes them (fields separated by blanks, no header unless said):
//   PREFIX_face_tid_mid.txt         "N.jpg template media", a row an image
//   PREFIX_name_5pts_score.txt      "N.jpg x1 y1 ... x5 y5 score", the same images: the two are matched by row, not by name
//   PREFIX_template_pair_label.txt  "template template label", label 1 same person, 0 different
//   PREFIX_1N_*.csv                 a header with TEMPLATE_ID and SUBJECT_ID, a row an image
// Lists are untrusted: bounded, checked, one-line errors "FILE:LINE: what, what was expected". A list cut between two lines cannot be told
// from a shorter one: look at the counts.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace vitrine::eval {

constexpr int kMaxTemplateId = 9'999'999;

struct Face {
  std::string name;  // of the image, a path inside its folder
  int template_id = 0, media_id = 0;
  std::array<float, 10> points{};  // x1 y1 .. x5 y5, pixels of the loose crop
  float score = 0;                 // of the detector
};

struct FaceList {
  std::vector<Face> faces;          // in file order
  std::vector<int> templates;       // ids, ascending; elsewhere a template is its index here
  std::vector<int> order;           // rows by (template, media, row): the order in which features are pooled
  std::vector<int> starts;          // of each template in `order`, and the end
  int64_t different_names = 0;      // rows where the two files name different images
  int find(int template_id) const;  // its index, -1 if there is none
};

FaceList read_faces(const std::string& tid_mid_file, const std::string& points_file);
// For lists made in memory: fills in all but `faces`.
void index_faces(FaceList& list);

struct TemplatePair {
  uint32_t a;
  uint32_t b : 31, same : 1;
};

struct TemplatePairs {
  std::vector<TemplatePair> all;  // indices into FaceList::templates, in file order
  int64_t same = 0;               // how many
  int64_t repeated = 0;           // comparisons of two templates that were compared before, in either order
  int repeated_ids[2] = {0, 0};   // of one of them
};

// Error if a template has no image, a class is missing, or two templates have both labels. Reads with all threads; 12 bytes a pair while it
// looks for repetitions, 8 of them stay.
TemplatePairs read_template_pairs(const std::string& file, const FaceList& faces);

// Templates of a gallery or of probes, each with its subject.
struct Enrolment {
  std::vector<int> templates, subjects;  // index into FaceList::templates; subject id
};
Enrolment read_enrolment(const std::string& csv_file, const FaceList& faces);

}  // namespace vitrine::eval
