// Rows of an embedding, from the tensors as they are stored: nothing is unpacked or copied.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "api/errors.h"
#include "dsformer.h"
#include "kernels/kernels.h"
#include "pack/bfloat.h"
#include "run/parallel.h"

namespace dsf {
namespace {

// One thread's work on rows.
class Reader {
 public:
  explicit Reader(const dsf_table& table, const Kernels& kernels)
      : table_(table),
        kernels_(kernels),
        candidates_(table.atoms - table.core + (table.canonical ? table.width : 0)),
        mask_(candidates_ / 64 + 1),
        which_(table.core + table.nonzeros),
        weights_(table.core + table.nonzeros),
        sum_(table.width) {}

  void read(int64_t unit, void* y) {
    const int64_t code = table_.code_of ? table_.code_of[unit] : unit;
    mark(code / table_.group);
    learned_ = 0;
    std::fill(sum_.begin(), sum_.end(), 0.0f);
    for (int64_t k = 0; k < table_.core; k++) take(code, k, k);
    const int64_t units = take_selected(code);
    kernels_.mix(table_.dictionary, table_.weights, table_.width, which_.data(), weights_.data(), learned_,
                 sum_.data());
    for (int64_t k = learned_; k < units; k++) sum_[which_[k]] += weights_[k];
    kernels_.store_small_batch(sum_.data(), table_.width, Epilogue{}, 0, table_.width, 1, y, table_.dtype,
                               table_.width);
  }

 private:
  float value(int64_t code, int64_t k) const {
    const int64_t i = code * (table_.core + table_.nonzeros) + k;
    if (table_.weights == DSF_FLOAT32) return static_cast<const float*>(table_.values)[i];
    if (table_.weights == DSF_BFLOAT16) return from_bfloat(static_cast<const uint16_t*>(table_.values)[i]);
    return float(static_cast<const int8_t*>(table_.values)[i]) * from_bfloat(table_.value_scales[code]);
  }

  void take(int64_t code, int64_t k, int64_t atom) {
    const float scale = table_.dictionary_scales ? from_bfloat(table_.dictionary_scales[atom]) : 1.0f;
    which_[learned_] = uint32_t(atom);
    weights_[learned_++] = value(code, k) * scale;
  }

  // Candidates ascend: learned atoms come first, unit vectors behind them. Returns how many there are of both.
  int64_t take_selected(int64_t code) {
    const int64_t learned = table_.atoms - table_.core;
    int64_t k = table_.core, count = table_.core;
    const int64_t end = k + table_.nonzeros;
    for (size_t word = 0; word < mask_.size(); word++)
      for (uint64_t bits = mask_[word]; bits && k < end; bits &= bits - 1, k++) {
        const int64_t candidate = int64_t(word) * 64 + __builtin_ctzll(bits);
        if (candidate < learned) {
          take(code, k, table_.core + candidate);
        } else {
          which_[k] = uint32_t(candidate - learned);
          weights_[k] = value(code, k);
        }
        count = k + 1;
      }
    return count;
  }

  uint64_t bits_at(int64_t bit, int count) const {
    uint64_t found = 0;
    const int64_t byte = bit / 8, there = std::min<int64_t>(8, table_.support_bytes - byte);
    if (there > 0) std::memcpy(&found, table_.support + byte, size_t(there));
    found >>= bit % 8;
    const int have = 64 - int(bit % 8);
    if (count > have && byte + 8 < table_.support_bytes) found |= uint64_t(table_.support[byte + 8]) << have;
    return count < 64 ? found & ((uint64_t(1) << count) - 1) : found;
  }

  // The support of a group as one bit for every candidate; what a damaged file has out of range is left out.
  void mark(int64_t group) {
    std::fill(mask_.begin(), mask_.end(), table_.field_bits ? 0 : ~uint64_t(0));
    if (table_.field_bits) {
      const int64_t first = group * table_.nonzeros * table_.field_bits;
      for (int64_t k = 0; k < table_.nonzeros; k++) {
        int64_t candidate = int64_t(bits_at(first + k * table_.field_bits, table_.field_bits));
        if (table_.of_set) candidate = candidate * table_.sets + k / table_.of_set;
        if (candidate < candidates_) mask_[candidate / 64] |= uint64_t(1) << candidate % 64;
      }
    } else if (table_.support) {
      for (size_t word = 0; word < mask_.size(); word++)
        mask_[word] = bits_at(group * candidates_ + int64_t(word) * 64, 64);
    }
    mask_.back() &= (uint64_t(1) << candidates_ % 64) - 1;
  }

  const dsf_table& table_;
  const Kernels& kernels_;
  int64_t candidates_, learned_ = 0;
  std::vector<uint64_t> mask_;
  std::vector<uint32_t> which_;
  std::vector<float> weights_, sum_;
};

struct Lookup {
  const dsf_table& table;
  const Kernels& kernels;
  const int64_t* ids;
  int64_t count;
  char* y;
  std::atomic<int64_t> next{0};
  SharedError error{};

  static void work(void* state) {
    Lookup& self = *static_cast<Lookup*>(state);
    constexpr int64_t AT_ONCE = 8;
    const int64_t row = self.table.width * (self.table.dtype == DSF_FLOAT32 ? 4 : 2);
    self.error.guard([&] {
      Reader reader(self.table, self.kernels);
      for (int64_t first; (first = self.next.fetch_add(AT_ONCE)) < self.count;)
        for (int64_t i = first; i < std::min(first + AT_ONCE, self.count); i++)
          reader.read(self.ids[i], self.y + i * row);
    });
  }
};

bool possible(const dsf_table& t) {
  const int64_t sizes[] = {t.units, t.width, t.atoms, t.core, t.nonzeros, t.support_bytes};
  const bool sane = *std::min_element(std::begin(sizes), std::end(sizes)) >= 0 && t.group > 0 && t.core <= t.atoms &&
                    t.nonzeros <= t.atoms - t.core + (t.canonical ? t.width : 0) && t.field_bits >= 0 &&
                    t.field_bits <= 32 && t.of_set >= 0 && t.sets >= 0;
  const bool typed = (t.dtype == DSF_FLOAT32 || t.dtype == DSF_BFLOAT16) &&
                     (t.weights == t.dtype || (t.weights == DSF_INT8 && t.value_scales));
  return sane && typed && (t.values || !(t.core + t.nonzeros)) && (t.dictionary || !t.atoms) &&
         (t.weights != DSF_INT8 || t.dictionary_scales || !t.atoms) && (t.support || !t.field_bits);
}

}  // namespace
}  // namespace dsf

extern "C" int dsf_table_read(const dsf_table* table, const int64_t* ids, int64_t count, void* y, int threads) {
  if (!table || table->struct_size != sizeof(dsf_table) || count < 0 || threads < 1 || !dsf::possible(*table))
    return DSF_BAD_ARGUMENT;
  if (count == 0) return DSF_OK;
  if (!ids || !y) return DSF_BAD_ARGUMENT;
  for (int64_t i = 0; i < count; i++)
    if (ids[i] < 0 || ids[i] >= table->units) return DSF_BAD_INDEX;
  dsf::Lookup lookup{*table, *dsf::current_kernels(), ids, count, static_cast<char*>(y)};
  const double work = double(count) * double(table->core + table->nonzeros) * double(table->width);
  const bool single_thread = work < dsf::WORTH_A_THREAD;
  dsf::run_parallel(single_thread ? 1 : threads, dsf::Lookup::work, &lookup);
  return lookup.error.error();
}
