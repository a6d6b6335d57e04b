"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def appearing_file(path: Path) -> Iterator[Path]:
    """A new file that takes the path's name on leaving, and vanishes when something is raised.

    Processes that write the same file at the same time do not meet: the last one's stays.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield fresh
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
