"""Operating system errors (full disk, file size limit, no memory), recognized in the exceptions of any library."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

# Libraries in Rust and C++ put it into the text of another exception. Torch's archive writer does not keep the number.
_NUMBERED = re.compile(r"\(os error (\d+)\)|\[Errno (\d+)\]")
_UNNUMBERED = {
    "PytorchStreamWriter failed writing": errno.ENOSPC,
    "can't allocate memory": errno.ENOMEM,
    "CUDA out of memory": errno.ENOMEM,
    "unable to mmap": errno.ENOMEM,
}
_REASONS = {
    errno.ENOSPC: "the disk is full; nothing was kept of what was being written",
    errno.EDQUOT: "the disk quota is used up; nothing was kept of what was being written",
    errno.EFBIG: "files may not grow so large here (ulimit -f); nothing was kept of what was being written",
    errno.ENOMEM: "there is not enough memory",
}


def as_os_error(error: BaseException | None, path: Path | None = None) -> OSError | None:
    """Return the operating system's error that an exception is about, or None.

    Args:
        error: what was raised; the exceptions it was raised from are searched too.
        path: the file that was being written, for exceptions that do not name it.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error
    if isinstance(error, SafetensorError | RuntimeError | OSError | MemoryError) or type(error) is Exception:
        code = errno.ENOMEM if isinstance(error, MemoryError) else _code(str(error))
        if code is not None:
            return OSError(code, os.strerror(code), *([] if path is None else [str(path)]))
    return None if error is None else as_os_error(error.__cause__, path)


def described(error: OSError) -> str:
    """Return an error of the operating system as one line."""
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    return where + (_REASONS.get(error.errno or 0) or error.strerror or str(error))


@contextmanager
def as_os_errors(path: Path) -> Iterator[None]:
    """Raise what the operating system refused while ``path`` is written as the OSError that it is."""
    try:
        yield
    except Exception as error:
        refused = as_os_error(error, path)
        if refused is None or (refused is error and error.filename is not None):
            raise
        raise OSError(refused.errno, refused.strerror, refused.filename or str(path)) from error


def _code(text: str) -> int | None:
    if found := _NUMBERED.search(text):
        return int(found[1] or found[2])
    return next((code for words, code in _UNNUMBERED.items() if words in text), None)
