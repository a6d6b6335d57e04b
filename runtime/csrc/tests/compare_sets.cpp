// Runs random linear layers and a small encoder by every instruction set that there is here, through the C interface,
// and compares the results: where Python cannot run, as for another CPU in an emulator.
#include <cmath>
#include <cstring>
#include <string>

#include "check.h"
#include "dsformer_encoder.h"

namespace dsf::test {
namespace {

constexpr const char* SETS[] = {"portable", "neon",        "neon_dot",    "avx2",         "avx_vnni",
                                "avx512",   "avx512_vnni", "avx512_bf16", "amx_emulated", "amx"};

struct Numbers {
  std::vector<int8_t> bytes;
  std::vector<float> floats, scales;
};

// A matrix with so many non-zeros in a hundred.
dsf_matrix random_matrix(Random& random, Numbers& numbers, int64_t rows, int64_t columns, bool bytes, int percent) {
  for (int64_t i = 0; i < rows * columns; i++) {
    const int64_t value = random.chance(percent) ? random.between(-128, 127) : 0;
    numbers.bytes.push_back(int8_t(value));
    numbers.floats.push_back(float(value) / 128);
  }
  numbers.scales.assign(size_t(rows), 1.0f / 128);
  if (bytes) return {DSF_BYTES, percent < 50, rows, columns, numbers.bytes.data(), numbers.scales.data()};
  return {DSF_FLOATS, percent < 50, rows, columns, numbers.floats.data(), nullptr};
}

std::vector<float> random_inputs(Random& random, int64_t count) {
  std::vector<float> x;
  for (int64_t i = 0; i < count; i++) x.push_back(float(random.between(-1000, 1000)) / 500);
  return x;
}

// Largest difference, in parts of the largest number.
double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double most = 0, size = 1e-30;
  for (size_t i = 0; i < a.size(); i++) {
    most = std::fmax(most, std::fabs(double(a[i]) - double(b[i])));
    size = std::fmax(size, std::fabs(double(a[i])));
  }
  return most / size;
}

std::vector<float> run(const dsf_linear_spec& spec, const std::vector<float>& x, int64_t tokens, int64_t out) {
  std::vector<float> y(size_t(tokens * out));
  int error = 0;
  dsf_linear* linear = dsf_linear_create(&spec, &error);
  CHECK(error == DSF_OK);
  CHECK(dsf_linear_run(linear, x.data(), tokens, DSF_GELU, y.data(), 2) == DSF_OK);
  dsf_linear_free(linear);
  return y;
}

// Results of every set beside those of the portable one.
template <class F>
void compare(const char* what, double tolerance, F&& run_one) {
  std::vector<float> expected;
  for (const char* set : SETS) {
    if (dsf_set_isa(set) != DSF_OK) continue;
    const std::vector<float> found = run_one();
    if (expected.empty()) expected = found;
    const double away = distance(expected, found);
    CHECK(away <= tolerance);
    std::printf("%s %s %s: %g\n", away <= tolerance ? "passed" : "FAILED", what, set, away);
  }
  dsf_set_isa(nullptr);
}

void compare_linears(bool bytes, int percent, double tolerance) {
  const std::string name = std::string(bytes ? "int8" : "float") + " " + std::to_string(percent) + " %";
  compare(name.c_str(), tolerance, [&] {
    Random random(1);
    std::vector<float> all;
    for (const int64_t rows : {1, 5, 17, 64, 65})
      for (const int64_t columns : {1, 3, 64, 65, 130, 600})
        for (const int64_t tokens : {1, 5, 16, 17, 33, 97}) {
          Numbers numbers;
          dsf_linear_spec spec{};
          spec.struct_size = sizeof spec;
          spec.direct = random_matrix(random, numbers, rows, columns, bytes, percent);
          const std::vector<float> y = run(spec, random_inputs(random, tokens * columns), tokens, rows);
          all.insert(all.end(), y.begin(), y.end());
        }
    return all;
  });
}

constexpr int64_t HEAD = 12, WIDTH = 2 * HEAD, INNER = 40, WORDS = 50;

struct Layers {
  Numbers numbers[4];
  dsf_linear* linears[4];

  Layers(Random& random, bool bytes) {
    const int64_t sizes[4][2] = {{3 * WIDTH, WIDTH}, {WIDTH, WIDTH}, {INNER, WIDTH}, {WIDTH, INNER}};
    for (int i = 0; i < 4; i++) {
      dsf_linear_spec spec{};
      spec.struct_size = sizeof spec;
      spec.direct = random_matrix(random, numbers[i], sizes[i][0], sizes[i][1], bytes, 100);
      int error = 0;
      linears[i] = dsf_linear_create(&spec, &error);
      CHECK(error == DSF_OK);
    }
  }
  ~Layers() {
    for (dsf_linear* linear : linears) dsf_linear_free(linear);
  }
};

std::vector<float> run_encoder(bool bytes) {
  Random random(2);
  Layers layers(random, bytes);
  const std::vector<float> words = random_inputs(random, WORDS * WIDTH);
  const dsf_norm norm{1, 1e-5f, nullptr, nullptr};
  dsf_layer layer{};
  layer.query_key_value = layers.linears;
  layer.query_key_value_count = layer.up_count = 1;
  layer.attention_output = layers.linears[1];
  layer.up = layers.linears + 2;
  layer.down = layers.linears[3];
  layer.attention_norm = layer.output_norm = norm;
  layer.rotary = 1e4;
  layer.window = 100;
  dsf_encoder_spec spec{};
  spec.struct_size = sizeof spec;
  spec.activation = DSF_GELU;
  spec.width = spec.embedding_size = WIDTH;
  spec.head_size = HEAD;
  spec.longest = 400;
  spec.scale = 0.3f;
  spec.word_type = DSF_FLOATS;
  spec.word_rows = WORDS;
  spec.words = words.data();
  spec.layers = &layer;
  spec.layer_count = 1;
  int error = 0;
  dsf_encoder* encoder = dsf_encoder_create(&spec, &error);
  CHECK(error == DSF_OK);
  const std::vector<int64_t> starts = {0, 1, 3, 18, 34, 51, 351, 400};
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < starts.back(); i++) ids.push_back(int32_t(random.below(WORDS)));
  std::vector<float> out(ids.size() * WIDTH);
  CHECK(dsf_encoder_run(encoder, ids.data(), nullptr, starts.data(), int64_t(starts.size()) - 1, DSF_POOL_NONE, 0,
                        out.data(), 2) == DSF_OK);
  dsf_encoder_free(encoder);
  return out;
}

}  // namespace
}  // namespace dsf::test

int main() {
  using namespace dsf::test;
  compare_linears(false, 100, 1e-6);
  compare_linears(false, 20, 1e-6);
  // Bytes that are rounded the other way are a step away.
  compare_linears(true, 100, 2e-3);
  compare_linears(true, 10, 2e-3);
  compare("encoder of floats", 1e-4, [] { return run_encoder(false); });
  compare("encoder of bytes", 0.1, [] { return run_encoder(true); });
  return failures ? 1 : 0;
}
