// Matrices as the kernels read them: the packed formats.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

#if defined(_WIN32)
#include <malloc.h>
#endif

namespace dsf {

// Inlined like all that kernels could call. Windows has no aligned_alloc.
static inline __attribute__((always_inline)) void* allocate_lines(size_t bytes) {
#if defined(_WIN32)
  return _aligned_malloc(bytes, 64);
#else
  return std::aligned_alloc(64, bytes);
#endif
}

static inline __attribute__((always_inline)) void free_lines(void* p) {
#if defined(_WIN32)
  _aligned_free(p);
#else
  std::free(p);
#endif
}

// Aligned and uninitialised beyond what is asked for: std::vector cannot align to cache lines.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t count) { resize(count); }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer() { free_lines(data_); }

  // Contents are lost; new ones are zero.
  void resize(size_t count) {
    free_lines(data_);
    data_ = nullptr;
    count_ = 0;
    size_t bytes = (count * sizeof(T) + 127) / 64 * 64;
    data_ = static_cast<T*>(allocate_lines(bytes));
    if (!data_) throw std::bad_alloc();
    __builtin_memset(static_cast<void*>(data_), 0, bytes);
    count_ = count;
  }
  // To at least so many; contents are lost where there were fewer.
  void grow(int64_t count) {
    if (int64_t(count_) < count) resize(size_t(count));
  }
  // Never out of line: the linker would keep one copy for files compiled for different instruction sets.
  __attribute__((always_inline)) T* data() const { return data_; }
  __attribute__((always_inline)) T& operator[](size_t i) const { return data_[i]; }
  __attribute__((always_inline)) size_t size() const { return count_; }
  size_t bytes() const { return count_ * sizeof(T); }

 private:
  void swap(Buffer& other) {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
  }
  T* data_ = nullptr;
  size_t count_ = 0;
};

// Rows in tiles of 8 (or 4) that read the same columns: dense matrices and grouped codes.
struct DenseTiles {
  int64_t rows = 0, tiles = 0, count = 0;
  int height = 8;
  bool indexed = false, paired = false;
  Buffer<float> values;      // (tiles, count, height) unless paired
  Buffer<uint32_t> pairs;    // (tiles, pair_count, height) where paired: two bfloat16, of the first column below
  Buffer<uint32_t> columns;  // (tiles, stride) where indexed
  // Pairs once more, where paired and there is AMX, whose tiles have sixteen words a row: (tiles, blocks of 16 pairs,
  // height, 16) where indexed, else two tiles in one of AMX, (tiles / 2, blocks, 16, 16).
  Buffer<uint32_t> amx_words;

  __attribute__((always_inline)) int64_t pair_count() const { return (count + 1) / 2; }
  // An odd last column has a partner, itself, of weight zero.
  __attribute__((always_inline)) int64_t stride() const { return paired ? 2 * pair_count() : count; }
};

// Where windows of a lookup may begin. With finer steps fewer lanes would rest, but loads that straddle cache lines
// cost more than that saves.
constexpr int64_t WINDOW_STEP = 16;

// Rows with supports of their own in blocks of 16, one to a lane. In every step each lane takes its next entry if it
// lies in the 32 columns from WINDOW_STEP * window on; the lanes run in step closely enough for most of them to have
// one.
struct FloatLookup {
  int64_t blocks = 0;
  Buffer<uint32_t> steps;      // (blocks + 1) where each begins
  Buffer<uint32_t> lane_rows;  // (blocks, 16); >= rows: none
  Buffer<uint16_t> windows;    // (steps)
  Buffer<uint8_t> lanes;       // (steps, 16) column - WINDOW_STEP * window; 0 with a value of 0 where a lane rests
  Buffer<float> values;        // (steps, 16)
};

// Rows with supports of their own.
struct Sparse {
  int64_t rows = 0, columns = 0;

  // By block of columns, then row: a block of the activations stays in the first-level cache.
  int64_t blocks = 0, block_columns = 0;
  Buffer<uint32_t> starts;  // (blocks, rows + 1)
  Buffer<uint16_t> offsets;
  Buffer<float> values;  // unless paired
  bool paired = false;
  // Where paired: two bfloat16, of the first of two entries below. A row's entries of a block are an even number, an
  // odd last one having a partner of weight zero.
  Buffer<uint32_t> pairs;

  FloatLookup lookup;  // the same once more for small batches, where the kernels have it
};

// Columns in groups of 8 (or 4) that have the same rows: grouped codes of an output dictionary.
struct Scatter {
  int64_t rows = 0, columns = 0, groups = 0;
  int height = 8;

  // By block of rows, then group: a block of the results stays in the first-level cache.
  int64_t blocks = 0, block_rows = 0;
  Buffer<uint32_t> starts;  // (blocks, groups + 1)
  Buffer<uint32_t> entry_rows;
  Buffer<float> values;  // (entries, height), then room for a whole vector of entries; unless paired
  bool paired = false;
  Buffer<uint32_t> pairs;  // (entries, height / 2) where paired: two bfloat16, of the first column below
};

// Where windows of a lookup of int8 may begin.
constexpr int64_t INT8_WINDOW_STEP = 64;

// Rows of int8 with supports of their own in blocks of 16, one to a lane. In every step each lane takes its next four
// entries, or as many of them as lie in the window of the step's run.
struct Int8Lookup {
  int64_t blocks = 0;
  Buffer<uint32_t> runs;       // (blocks + 1) where each begins
  Buffer<uint32_t> steps;      // (runs + 1) likewise
  Buffer<uint16_t> windows;    // (runs) of the 128 columns from INT8_WINDOW_STEP * window on
  Buffer<uint8_t> lanes;       // (steps, 16, 4) column - INT8_WINDOW_STEP * window
  Buffer<uint32_t> words;      // (steps, 16) four weights; zeros where a lane rests
  Buffer<uint32_t> lane_rows;  // (blocks, 16); >= rows: none
};

// Rows of int8 in tiles that read the same columns, in groups of four columns to a word.
struct Int8Groups {
  // Where a group's columns are: next to those of the one before (tiles of 8), four in a row that start anywhere (of
  // 1), or anywhere.
  enum Source { DENSE, ALIGNED, GATHERED };
  Source source = DENSE;
  int64_t rows = 0, tiles = 0;
  int height = 8;            // 8, 4 or 1
  Buffer<uint32_t> starts;   // (tiles + 1), of groups
  Buffer<uint32_t> words;    // (groups, height): four weights of a row, the first one lowest
  Buffer<uint32_t> columns;  // (groups, 4) where gathered; (groups) columns / 4 where aligned
  Buffer<int32_t> sums;      // (tiles * height) of a row's weights
  Buffer<float> scales;      // (tiles * height) what a weight of 1 stands for
  Int8Lookup lookup;         // for small batches, of gathered rows of height 1 where the kernels have it
  // Words once more, where there is AMX and rows share columns: blocks of 16 groups, (height, 16) or, of two dense
  // tiles, (16, 16).
  Buffer<uint32_t> amx_words;
  Buffer<uint32_t> amx_starts;  // (tiles + 1), of blocks
};

// Activations as unsigned bytes, number = scale * (byte - zero). Every token has a scale of its own. Panels are kept
// in either or both of two orders:
//   words  (features / 4, tokens), four features to a word
//   rows   (features, 4 vectors) whatever the number of vectors. Byte 16 l + 4 v + i of a row is of lane 4 l + i of
//          vector v: interleaving four rows within quarters of a register then gives words.
struct Uint8Batch {
  float* scales = nullptr;   // by token
  int32_t* zeros = nullptr;  // by token
  uint32_t* words = nullptr;
  uint8_t* rows = nullptr;
};

// What is done to results on their way out.
struct Epilogue {
  const float* bias = nullptr;       // by output feature
  const uint32_t* source = nullptr;  // row of a feature; null: itself
  int activation = 0;
};

}  // namespace dsf
