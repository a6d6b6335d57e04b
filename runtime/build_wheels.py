"""Builds wheels of dsformer-runtime for all platforms on this one.

The compiler is zig, which compiles for other platforms and comes as a package for Python. ``make wheels`` installs what
this needs (ziglang and wheel) and calls it.
"""

import argparse
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

RUNTIME = Path(__file__).parent


@dataclass(frozen=True)
class Target:
    """A platform.

    Attributes:
        zig: what zig calls it, with the oldest C library or system that it runs on.
        system: what CMake calls the system.
        processor: what CMake calls the processor.
        tag: of the wheel.
        library: name of the native library.
    """

    zig: str
    system: str
    processor: str
    tag: str
    library: str = "libdsformer_cpu.so"


TARGETS = {
    "linux-x86_64": Target("x86_64-linux-gnu.2.17", "Linux", "x86_64", "manylinux_2_17_x86_64.manylinux2014_x86_64"),
    "linux-aarch64": Target(
        "aarch64-linux-gnu.2.17", "Linux", "aarch64", "manylinux_2_17_aarch64.manylinux2014_aarch64"
    ),
    "macos-x86_64": Target("x86_64-macos.11.0", "Darwin", "x86_64", "macosx_11_0_x86_64", "libdsformer_cpu.dylib"),
    "macos-arm64": Target("aarch64-macos.11.0", "Darwin", "arm64", "macosx_11_0_arm64", "libdsformer_cpu.dylib"),
    "windows-amd64": Target("x86_64-windows-gnu", "Windows", "AMD64", "win_amd64", "dsformer_cpu.dll"),
}


def build_wheel(target: Target, output: Path) -> Path:
    """Build the wheel of one platform.

    Args:
        target: the platform.
        output: folder that the wheel is put into.
    """
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        compiler = write_compiler(target, made)
        settings = {
            "CMAKE_SYSTEM_NAME": target.system,
            "CMAKE_SYSTEM_PROCESSOR": target.processor,
            "CMAKE_CXX_COMPILER": compiler,
            # Symbols of debuggers are left out; the system's own `strip` knows no other platform.
            "CMAKE_SHARED_LINKER_FLAGS": "-s",
            # CMake looks for it, and needs it only for libraries with paths in them.
            "CMAKE_INSTALL_NAME_TOOL": "/bin/true",
        }
        defines = [f"--config-settings=cmake.define.{name}={value}" for name, value in settings.items()]
        python = (sys.executable, "-m")
        run(
            *(*python, "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", made, RUNTIME, *defines),
            *("--config-settings=install.strip=false", f"--config-settings=build-dir={made / 'build'}"),
        )
        built = next(made.glob("*.whl"))
        run(*python, "wheel", "tags", "--remove", "--platform-tag", target.tag, built)
        wheel = next(made.glob("*.whl"))
        output.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(wheel, output / wheel.name))


def write_compiler(target: Target, folder: Path) -> Path:
    """Write a program that is a C++ compiler for the platform, and return its path."""
    path = folder / "c++"
    # -E: pip hides installed packages from the programs that it starts.
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -E -m ziglang c++ -target {target.zig} "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def run(*command: str | Path) -> None:
    """Run a command.

    Raises:
        CalledProcessError: it failed.
    """
    subprocess.run(list(map(str, command)), check=True)


def main() -> None:
    """Build wheels of the platforms that are named, or of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("dist"))
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="by default all of them")
    arguments = parser.parse_args()
    for name in arguments.target or TARGETS:
        print(build_wheel(TARGETS[name], arguments.output))


if __name__ == "__main__":
    main()
