// Which instruction set plans use.
#include <atomic>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__)
#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#endif

#include "dsformer.h"
#include "kernels/kernels.h"

namespace dsf {
namespace {

bool has_nothing_special() { return true; }

#if defined(__x86_64__)

// What the CPU and the system have. Asked of them and not of __builtin_cpu_supports, which knows nothing where zig
// links.
struct Features {
  unsigned basic = 0, b = 0, c = 0, d = 0, more = 0;  // leaves 1 (ecx), 7 and 7.1 (eax)
  unsigned saved = 0;                                 // registers that the system saves

  Features() {
    unsigned unused, high;
    constexpr unsigned OSXSAVE = 1u << 27;
    if (!__get_cpuid(1, &unused, &unused, &basic, &unused) || !(basic & OSXSAVE)) return;
    __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    __get_cpuid_count(7, 0, &unused, &b, &c, &d);
    unsigned other;
    __get_cpuid_count(7, 1, &more, &other, &other, &other);
  }
};

const Features& features() {
  static const Features found;
  return found;
}

constexpr bool has_all(unsigned found, unsigned wanted) { return (found & wanted) == wanted; }

bool has_avx2() {
  constexpr unsigned FMA = 1u << 12, AVX = 1u << 28, AVX2 = 1u << 5, YMM = 6;
  const Features& f = features();
  return has_all(f.saved, YMM) && has_all(f.basic, FMA | AVX) && has_all(f.b, AVX2);
}

bool has_avx_vnni() {
  constexpr unsigned AVX_VNNI = 1u << 4;
  return has_avx2() && has_all(features().more, AVX_VNNI);
}

bool has_avx512() {
  constexpr unsigned F = 1u << 16, DQ = 1u << 17, BW = 1u << 30, VL = 1u << 31, ZMM = 0xe6;
  const Features& f = features();
  return has_avx2() && has_all(f.saved, ZMM) && has_all(f.b, F | DQ | BW | VL);
}

bool has_avx512_vnni() {
  constexpr unsigned VNNI = 1u << 11;
  return has_avx512() && has_all(features().c, VNNI);
}

bool has_avx512_bf16() {
  constexpr unsigned VBMI = 1u << 1, BF16 = 1u << 5;
  return has_avx512_vnni() && has_all(features().c, VBMI) && has_all(features().more, BF16);
}

// Whether there are tiles for bytes and bfloat16, and the system lets this process use them.
bool has_amx() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr unsigned TILE = 1u << 24, INT8 = 1u << 25, BF16 = 1u << 22;
  constexpr int REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
  if (!has_avx512_bf16() || !has_all(features().d, TILE | INT8 | BF16)) return false;
  return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
  return false;
#endif
}

#else

// Nobody asks: such sets are not built here.
constexpr auto has_avx2 = has_nothing_special, has_avx_vnni = has_avx2, has_avx512 = has_avx2,
               has_avx512_vnni = has_avx2, has_avx512_bf16 = has_avx2, has_amx = has_avx2;

#endif

bool has_neon_dot() {
#if defined(__aarch64__) && defined(__linux__)
  constexpr unsigned long DOT_PRODUCTS = 1ul << 20;  // HWCAP_ASIMDDP
  return getauxval(AT_HWCAP) & DOT_PRODUCTS;
#elif defined(__aarch64__) && defined(__APPLE__)
  int found = 0;
  size_t size = sizeof found;
  return sysctlbyname("hw.optional.arm.FEAT_DotProd", &found, &size, nullptr, 0) == 0 && found;
#else
  return false;
#endif
}

struct Set {
  const Kernels* (*kernels)();
  bool (*cpu_has_it)();
};

// Best first, then what is only for tests.
constexpr Set SETS[] = {
    {amx_kernels, has_amx},
    {avx512_bf16_kernels, has_avx512_bf16},
    {avx512_vnni_kernels, has_avx512_vnni},
    {avx512_kernels, has_avx512},
    {avx_vnni_kernels, has_avx_vnni},
    {avx2_kernels, has_avx2},
    {neon_dot_kernels, has_neon_dot},
    {neon_kernels, has_nothing_special},
    {portable_kernels, has_nothing_special},
    {amx_emulated_kernels, has_avx512_bf16},
};

// The first one of that name (null: of any) that runs here, or null.
const Kernels* find(const char* name) {
  for (const Set& set : SETS) {
    const Kernels* kernels = set.kernels();
    if (!kernels || (name && std::strcmp(kernels->name, name))) continue;
    if (set.cpu_has_it() && kernels->works()) return kernels;
  }
  return nullptr;
}

const Kernels* first_choice() {
  const char* wanted = std::getenv("DSFORMER_ISA");
  const Kernels* kernels = wanted && *wanted ? find(wanted) : nullptr;
  return kernels ? kernels : find(nullptr);
}

std::atomic<const Kernels*>& current() {
  static std::atomic<const Kernels*> kernels{first_choice()};
  return kernels;
}

}  // namespace

const Kernels* current_kernels() { return current().load(); }

}  // namespace dsf

extern "C" {

int dsf_set_isa(const char* name) {
  const dsf::Kernels* kernels = dsf::find(name);
  if (!kernels) return DSF_UNSUPPORTED;
  dsf::current().store(kernels);
  return DSF_OK;
}

const char* dsf_isa_name(void) { return dsf::current_kernels()->name; }
}
