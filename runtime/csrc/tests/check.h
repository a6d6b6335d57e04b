// The least that tests need: named cases, checks that say where they failed, random numbers that repeat.
#pragma once

#include <cstdint>
#include <cstdio>
#include <vector>

namespace dsf::test {

struct Case {
  const char* name;
  void (*run)();
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

inline int failures = 0;

struct Register {
  Register(const char* name, void (*run)()) { cases().push_back({name, run}); }
};

inline void check(bool right, const char* what, const char* file, int line) {
  if (right) return;
  failures++;
  std::fprintf(stderr, "%s:%d: %s\n", file, line, what);
}

// Numbers from a seed (splitmix64).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  int64_t below(int64_t limit) { return int64_t(next() % uint64_t(limit)); }
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
  bool chance(int percent) { return below(100) < percent; }

 private:
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  uint64_t state_;
};

}  // namespace dsf::test

#define CHECK(CONDITION) dsf::test::check((CONDITION), #CONDITION, __FILE__, __LINE__)
#define TEST(NAME)                                       \
  static void NAME();                                    \
  static const dsf::test::Register NAME##_(#NAME, NAME); \
  static void NAME()
