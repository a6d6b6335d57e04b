"""How many threads a process may use, and whose: PyTorch's where it is loaded, or the library's own."""

import ctypes
import os
import sys
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_sharing = set[int]()
_OLD_QUOTA, _OLD_PERIOD = (Path(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period"))


def usable_threads() -> int:
    """Return the number of processors this process may use, by its affinity and its cgroup's quota, at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)
    processors = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = _quota()
    return max(1, processors if quota is None else min(processors, int(quota)))


def _quota() -> float | None:
    """Return how many processors' time the cgroup has; None: no limit."""
    try:
        if _QUOTA.exists():
            quota, period = _QUOTA.read_text().split()
        else:
            quota, period = _OLD_QUOTA.read_text(), _OLD_PERIOD.read_text()
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError):
        return None


_RUNTIMES = ("libgomp", "libiomp5", "libomp")


def gomp_parallel() -> int | None:
    """Return the address of ``GOMP_parallel`` (all OpenMP runtimes export it) of PyTorch; None when it has none.

    Other packages may have loaded another runtime: PyTorch's comes first.
    """
    home = Path(sys.modules["torch"].__file__ or "").parent
    paths = [path for path in _loaded() if Path(path).name.startswith(_RUNTIMES)]
    for path in sorted(paths, key=lambda path: home not in Path(path).parents):
        try:
            runtime = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LOCAL)
            return ctypes.cast(runtime.GOMP_parallel, ctypes.c_void_p).value
        except (OSError, AttributeError):
            continue
    return None


def _loaded() -> list[str]:
    """Return the files of the shared libraries in this process."""
    if sys.platform == "darwin":
        process = ctypes.CDLL(None)
        process._dyld_get_image_name.restype = ctypes.c_char_p
        names = [process._dyld_get_image_name(i) for i in range(process._dyld_image_count())]
        return [name.decode() for name in names if name]
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    return list(dict.fromkeys(line.split(maxsplit=5)[5] for line in lines if line.count("/")))


def share_threads(library: ctypes.CDLL) -> None:
    """Have the library use the threads of PyTorch's OpenMP runtime, once PyTorch is loaded."""
    if "torch" in sys.modules and library._handle not in _sharing:
        library.dsf_set_parallel(gomp_parallel())
        _sharing.add(library._handle)
