"""The C++ sources by themselves: packed formats, structs that ctypes mirrors, headers, what the linker could merge."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from dsformer.ops.cpu.library import FormStruct, TableStruct, TuningStruct
from dsformer_runtime.native.library import ABI_VERSION

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "runtime" / "csrc" / "src"
COMPILER = shutil.which("g++") or shutil.which("clang++")
X86 = ("-mavx2", "-mfma", "-mavxvnni", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni")
FLAGS = (*X86, "-mavx512vbmi", "-mavx512bf16", "-mprfchw")

pytestmark = [
    pytest.mark.skipif(not SOURCES.exists(), reason="no sources here"),
    pytest.mark.skipif(not COMPILER or not shutil.which("cmake"), reason="no compiler or no CMake"),
]


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("csrc")
    run("cmake", "-S", ROOT / "runtime", "-B", folder, "-DDSFORMER_TESTS=ON")
    run("cmake", "--build", folder, "--target", "dsformer_tests", "--parallel", "2")
    return folder / "dsformer_tests"


def run(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def compile_alone(source: Path, *options: str | Path) -> str:
    includes = ("-I", SOURCES, "-I", ROOT / "runtime" / "csrc" / "include")
    return run(str(COMPILER), "-std=gnu++20", "-Wno-psabi", *includes, *options, source)


def test_packed_formats(runner: Path):
    lines = run(runner).splitlines()
    assert len(lines) >= 9
    assert all(line.startswith("passed ") for line in lines), lines


def test_structs_are_mirrored(runner: Path):
    lines = [line.split() for line in run(runner, "--layout").splitlines()]
    layout = {(struct, field): (int(offset), int(size)) for struct, field, offset, size in lines}
    mirrored = {("version", "."): (0, ABI_VERSION)}
    for name, struct in (("dsf_form", FormStruct), ("dsf_tuning", TuningStruct), ("dsf_table", TableStruct)):
        mirrored[name, "."] = (0, ctypes.sizeof(struct))
        for field, *_ in struct._fields_:
            descriptor = getattr(struct, field)
            mirrored[name, field] = (descriptor.offset, descriptor.size)
    assert mirrored == layout


@pytest.mark.slow
def test_sets_agree(runner: Path):
    """The same without Python, as it runs in an emulator of another CPU."""
    run("cmake", "--build", runner.parent, "--target", "dsformer_compare_sets", "--parallel", "2")
    lines = run(runner.parent / "dsformer_compare_sets").splitlines()
    assert all(line.startswith("passed ") for line in lines), lines


@pytest.mark.slow
@pytest.mark.parametrize("header", sorted(SOURCES.glob("*/*.h")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_headers_stand_alone(header: Path, tmp_path: Path):
    needs_x86 = header.parent.name == "isa" and header.stem.startswith(("avx", "amx"))
    if header.stem == "neon" and on_x86():
        pytest.skip("for another CPU")
    source = tmp_path / "alone.cpp"
    source.write_text(f'#include "{header}"\n#include "{header}"\n')
    compile_alone(source, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", *(FLAGS if needs_x86 and on_x86() else ()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["portable", "avx2", "amx_emulated"])
def test_a_set_gives_the_linker_nothing_to_merge(name: str, tmp_path: Path):
    """A function of two sets by one name would be that of either: an AVX-512 one might run anywhere."""
    output = tmp_path / "set.o"
    flags = FLAGS if name != "portable" and on_x86() else ()
    # Without optimization all that is not forced to be inlined is there to be seen.
    compile_alone(SOURCES / "isa" / f"{name}.cpp", "-O0", "-c", "-o", output, *flags)
    symbols = [line.split()[-2:] for line in run("nm", "--defined-only", output).splitlines()]
    shared = [name for kind, name in symbols if kind not in "trdbTRDB" and not name.startswith("DW.ref.")]
    assert shared == []
    assert len([name for kind, name in symbols if kind == "T"]) == 1


def on_x86() -> bool:
    return "__x86_64__" in run(str(COMPILER), "-dM", "-E", "-x", "c++", "/dev/null")
