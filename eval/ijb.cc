#include "eval/ijb.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <numeric>

#include "engine/core/error.h"
#include "engine/core/parallel.h"
#include "engine/core/text.h"
#include "eval/line_blocks.h"
#include "eval/lines.h"

namespace vitrine::eval {
namespace {

constexpr int64_t kMaxFaces = 20'000'000;  // IJB-C has 469,375

template <class T>
T parse(std::string_view field, const std::string& where, const char* expected) {
  const auto value = number_from<T>(field);
  CHECK(value, where, excerpt(field), ", expected ", expected);
  return *value;
}

void read_ids(FaceList& list, const std::string& file) {
  std::array<std::string_view, 3> f;
  for_each_line(file, [&](std::string_view line, int64_t number) {
    const std::string where = cat(file, ":", number, ": ");
    const int count = split_fields(line, where, f);
    CHECK(count == 3, where, count, " fields, expected 'image template media'");
    CHECK(static_cast<int64_t>(list.faces.size()) < kMaxFaces, where, "more than ", kMaxFaces, " images");
    check_path(f[0], where);
    list.faces.push_back({.name = std::string(f[0]),
                          .template_id = parse_number(f[1], 0, kMaxTemplateId, where),
                          .media_id = parse<int>(f[2], where, "a media number")});
  });
  CHECK(!list.faces.empty(), file, ": empty, expected lines 'image template media'");
}

void read_points(FaceList& list, const std::string& file, const std::string& ids_file) {
  std::array<std::string_view, 12> f;
  size_t row = 0;
  for_each_line(file, [&](std::string_view line, int64_t number) {
    const std::string where = cat(file, ":", number, ": ");
    const int count = split_fields(line, where, f);
    CHECK(count == 12, where, count, " fields, expected 'image x1 y1 ... x5 y5 score'");
    CHECK(row < list.faces.size(), where, "row ", row + 1, ", expected the end: ", ids_file, " has ", list.faces.size(), " rows");
    check_path(f[0], where);
    Face& face = list.faces[row++];
    list.different_names += face.name != f[0];
    face.name = f[0];  // the published scripts open the image that this file names
    for (int i = 0; i < 11; ++i) {
      const auto value = parse<float>(f[1 + i], where, "a number");
      CHECK(std::isfinite(value), where, excerpt(f[1 + i]), ", expected a finite number");
      (i < 10 ? face.points[i] : face.score) = value;
    }
  });
  CHECK(row == list.faces.size(), file, ": ends after ", row, " rows, expected ", list.faces.size(), " as in ", ids_file);
}

// "template template label" at `at`, which moves behind the line; false where the line is none.
bool parse_pair(const char*& at, const char* end, int (&number)[3]) {
  for (int i = 0; i < 3; ++i) {
    while (at < end && (*at == ' ' || *at == '\t')) ++at;
    const char* begin = at;
    int value = 0;
    for (; at < end && *at >= '0' && *at <= '9'; ++at)
      if (value <= kMaxTemplateId) value = 10 * value + (*at - '0');  // beyond, it stays beyond
    if (at == begin) return false;
    number[i] = value;
  }
  while (at < end && (*at == ' ' || *at == '\t' || *at == '\r')) ++at;
  if (at < end && *at++ != '\n') return false;
  return number[2] <= 1;
}

// A part of a block of the pair file, parsed by one thread.
struct Part {
  std::string_view lines;
  std::vector<TemplatePair> pairs;
  const char* bad = nullptr;  // begin of the first line that is none

  void parse(const std::vector<int>& index_of) {
    pairs.clear(), bad = nullptr;
    const char *at = lines.data(), *end = at + lines.size();
    for (const char* line = at; line < end; line = at) {
      int number[3];
      const auto known = [&](int id) { return id < static_cast<int>(index_of.size()) && index_of[id] >= 0; };
      if (!parse_pair(at, end, number) || !known(number[0]) || !known(number[1])) {
        bad = line;
        return;
      }
      pairs.push_back(
          {static_cast<uint32_t>(index_of[number[0]]), static_cast<uint32_t>(index_of[number[1]]), static_cast<uint32_t>(number[2])});
    }
  }
};

// Says what is wrong with a line that parse_pair refused. Blank lines are refused there and pass here.
void explain(std::string_view line, const std::string& where, const FaceList& faces) {
  line = line.substr(0, line.find('\n'));
  if (line.ends_with('\r')) line.remove_suffix(1);
  std::array<std::string_view, 3> f;
  const int count = split_fields(line, where, f);
  CHECK(count == 3, where, count, " fields, expected 'template template label'");
  for (int i = 0; i < 2; ++i) {
    const int id = parse_number(f[i], 0, kMaxTemplateId, where);
    CHECK(faces.find(id) >= 0, where, "template ", id, " has no image, expected one of the ", faces.templates.size(), " templates");
  }
  parse_number(f[2], 0, 1, where);
  throw Error(cat(where, excerpt(line), ", expected 'template template label'"));
}

void split_block(std::string_view block, std::vector<Part>& parts) {
  for (size_t i = 0; i < parts.size(); ++i) {
    size_t end = block.size() / (parts.size() - i);
    if (i + 1 < parts.size()) end = std::min(block.find('\n', end), block.size() - 1) + 1;
    parts[i].lines = block.substr(0, std::min(end, block.size()));
    block.remove_prefix(parts[i].lines.size());
  }
}

// Whether two templates are compared more than once. Pairs are dealt out by the smaller index, so that marks for one template serve all.
void find_repeated(TemplatePairs& pairs, const std::vector<int>& ids, const std::string& file) {
  const auto smaller = [](const TemplatePair& p) { return std::min<uint32_t>(p.a, p.b); };
  std::vector<size_t> row(ids.size() + 2);  // of template i, at first: where its next pair goes is row[i + 1]
  for (const TemplatePair& p : pairs.all) ++row[smaller(p) + 2];
  std::partial_sum(row.begin(), row.end(), row.begin());
  std::vector<uint32_t> labelled(pairs.all.size());  // larger index and label
  for (const TemplatePair& p : pairs.all) labelled[row[smaller(p) + 1]++] = std::max<uint32_t>(p.a, p.b) << 1 | p.same;
  std::vector<uint32_t> seen(ids.size());  // 1 + the template that it was compared with last, and the label
  for (uint32_t i = 0; i < ids.size(); ++i)
    for (size_t at = row[i]; at < row[i + 1]; ++at) {
      uint32_t& mark = seen[labelled[at] >> 1];
      const uint32_t now = (i + 1) << 1 | (labelled[at] & 1);
      if (mark >> 1 == now >> 1) {
        const int id = ids[labelled[at] >> 1];
        CHECK(mark == now, file, ": templates ", ids[i], " and ", id,
              " are compared as the same person and as different people, expected one label");
        if (pairs.repeated++ == 0) pairs.repeated_ids[0] = ids[i], pairs.repeated_ids[1] = id;
      }
      mark = now;
    }
}

std::vector<std::string_view> split_commas(std::string_view line) {
  std::vector<std::string_view> fields;
  for (size_t begin = 0; begin <= line.size();) {
    const size_t end = std::min(line.find(',', begin), line.size());
    std::string_view field = line.substr(begin, end - begin);
    if (field.size() >= 2 && field.front() == '"' && field.back() == '"') field = field.substr(1, field.size() - 2);
    fields.push_back(field);
    begin = end + 1;
  }
  return fields;
}

}  // namespace

int FaceList::find(int template_id) const {
  const auto at = std::lower_bound(templates.begin(), templates.end(), template_id);
  return at != templates.end() && *at == template_id ? static_cast<int>(at - templates.begin()) : -1;
}

void index_faces(FaceList& list) {
  list.order.resize(list.faces.size());
  std::iota(list.order.begin(), list.order.end(), 0);
  std::sort(list.order.begin(), list.order.end(), [&](int i, int j) {
    const Face &a = list.faces[i], &b = list.faces[j];
    return std::tuple(a.template_id, a.media_id, i) < std::tuple(b.template_id, b.media_id, j);
  });
  list.templates.clear(), list.starts.clear();
  for (size_t i = 0; i < list.order.size(); ++i) {
    const int id = list.faces[list.order[i]].template_id;
    if (!list.templates.empty() && list.templates.back() == id) continue;
    list.templates.push_back(id);
    list.starts.push_back(static_cast<int>(i));
  }
  list.starts.push_back(static_cast<int>(list.order.size()));
}

FaceList read_faces(const std::string& tid_mid_file, const std::string& points_file) {
  FaceList list;
  read_ids(list, tid_mid_file);
  read_points(list, points_file, tid_mid_file);
  index_faces(list);
  return list;
}

TemplatePairs read_template_pairs(const std::string& file, const FaceList& faces) {
  constexpr size_t kParts = 16, kShortestLine = 6;
  std::vector<int> index_of(faces.templates.empty() ? 0 : faces.templates.back() + 1, -1);
  for (size_t i = 0; i < faces.templates.size(); ++i) index_of[faces.templates[i]] = static_cast<int>(i);
  TemplatePairs pairs;
  LineBlocks blocks(file);
  pairs.all.reserve(static_cast<size_t>(blocks.file_bytes()) / kShortestLine + 1);  // address space only, until it is written to
  std::vector<Part> parts(kParts);
  for (std::string_view block; blocks.next(block);) {
    split_block(block, parts);
    parallel_chunks(kParts, [&](int64_t i) { parts[i].parse(index_of); });
    for (Part& part : parts) {
      while (part.bad) {  // a blank line, or an error
        const char* end = part.lines.data() + part.lines.size();
        const char* line_end = std::find(part.bad, end, '\n');
        const std::string_view line(part.bad, static_cast<size_t>(line_end - part.bad));
        if (line.find_first_not_of(" \t\r") != line.npos)
          explain(line, cat(file, ":", blocks.first_line() + std::count(block.data(), part.bad, '\n'), ": "), faces);
        pairs.all.insert(pairs.all.end(), part.pairs.begin(), part.pairs.end());
        part.lines = {std::min(line_end + 1, end), static_cast<size_t>(end - std::min(line_end + 1, end))};
        part.parse(index_of);
      }
      pairs.all.insert(pairs.all.end(), part.pairs.begin(), part.pairs.end());
    }
  }
  for (const TemplatePair& p : pairs.all) pairs.same += p.same;
  const auto total = static_cast<int64_t>(pairs.all.size());
  CHECK(pairs.same > 0 && pairs.same < total, file, ": ", pairs.same, " same and ", total - pairs.same, " different pairs, expected both");
  find_repeated(pairs, faces.templates, file);
  return pairs;
}

Enrolment read_enrolment(const std::string& csv_file, const FaceList& faces) {
  Enrolment e;
  std::vector<bool> seen(faces.templates.size());
  size_t columns = 0, template_column = 0, subject_column = 0;
  for_each_line(csv_file, [&](std::string_view line, int64_t number) {
    const std::string where = cat(csv_file, ":", number, ": ");
    check_text(line, where);
    const auto fields = split_commas(line);
    if (columns == 0) {
      const auto column = [&](const char* name) {
        const auto at = std::find(fields.begin(), fields.end(), name);
        CHECK(at != fields.end(), where, excerpt(line), ", expected a header with ", name);
        return static_cast<size_t>(at - fields.begin());
      };
      template_column = column("TEMPLATE_ID"), subject_column = column("SUBJECT_ID");
      columns = fields.size();
      return;
    }
    CHECK(fields.size() > std::max(template_column, subject_column), where, fields.size(), " columns, expected ", columns);
    const int id = parse_number(fields[template_column], 0, kMaxTemplateId, where), at = faces.find(id);
    CHECK(at >= 0, where, "template ", id, " has no image, expected one of the ", faces.templates.size(), " templates");
    const int subject = parse_number(fields[subject_column], 0, INT_MAX, where);
    if (seen[at]) return;  // a row per image: the template's first says who it is
    seen[at] = true;
    e.templates.push_back(at), e.subjects.push_back(subject);
  });
  CHECK(!e.templates.empty(), csv_file, ": no template, expected a header and rows");
  return e;
}

}  // namespace vitrine::eval
