"""File locks of the kernel, which are released when their process dies.

On a file system without locks nothing is locked.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class TakenError(Exception):
    """Another process, or another thread, holds the lock."""


def take(path: Path) -> int | None:
    """Lock a file, creating it if it is missing.

    Whoever holds the lock removes the file first, then closes the descriptor.

    Returns:
        The descriptor; None where the file system has no locks.

    Raises:
        TakenError: another process or thread holds the lock.
        OSError: the file cannot be created.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            if not _locked(descriptor, wait=False):
                path.unlink(missing_ok=True)
                os.close(descriptor)
                return None
            # The previous holder may have removed the file in the meantime. A lock on a removed file excludes nobody.
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:
            pass
        except BlockingIOError:
            os.close(descriptor)
            raise TakenError from None
        os.close(descriptor)


def nobody_writes_in(folder: Path) -> bool:
    """Return whether no process writes a file in this folder under :func:`writing_in`.

    Limit: False where that is not known.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        return _locked(descriptor, wait=False)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


@contextmanager
def writing_in(folder: Path) -> Iterator[None]:
    """Hold a shared lock on a folder while a new file is written in it."""
    descriptor = None
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        _locked(descriptor, shared=True)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _locked(descriptor: int, *, wait: bool = True, shared: bool = False) -> bool:
    """Lock a descriptor, and return whether there are locks here.

    Raises:
        BlockingIOError: another process or thread holds the lock.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True
