// A data set in InsightFace's form: FOLDER/train.rec with train.idx beside it, and a `property` file "classes,height,width".
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/record_io.h"

namespace vitrine::data {

// Record 0 holds labels (begin, end): the images are the keys 1 .. begin-1, and keys begin .. end-1 are a record per identity, with
// labels (first, last + 1) of its images. Where there is no record 0, or it holds an image, every record is an image. Index i is the
// i-th image by key. Labels are those of the image records, as they stand: of the images that identity records cover, only the first of
// each identity is looked at before image(i) is called, which is an Error where the two disagree (a cold file of millions of records
// takes minutes to touch otherwise); identities that reach image 2^24, where f32 begins to round, are not relied on. Without train.idx the
// file is scanned once. Errors: a missing key, an image of two identities, a label that is no class number.
class RecordSet : public Dataset {
 public:
  explicit RecordSet(const std::string& rec_file) : RecordSet(rec_file, index_of(rec_file)) {}
  RecordSet(const std::string& rec_file, const RecordIndex& index);

  int64_t size() const override { return int64_t(images_.size()); }
  int64_t label(int64_t i) const override { return labels_.at(i); }
  Image image(int64_t i) const override;
  std::string name(int64_t i) const override;

 private:
  static RecordIndex index_of(const std::string& rec_file);
  uint64_t offset_of(uint64_t key, const RecordIndex& index) const;
  ImageRecord header_of(uint64_t offset) const;
  int64_t label_of(const ImageRecord& record, uint64_t offset) const;
  void label_identities(uint64_t begin, uint64_t end, const RecordIndex& index);
  void check_property(const std::string& path) const;

  RecordReader reader_;
  RecordIndex images_;
  std::vector<int64_t> labels_;  // of images_
};

}  // namespace vitrine::data
