"""How many threads a process may use."""

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
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
