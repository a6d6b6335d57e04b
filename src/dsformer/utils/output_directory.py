"""The directory a run writes: checked and locked before the work, whole or not at all after it."""

import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dsformer.errors import InputError
from dsformer.utils.atomic_io import check_apart, fresh_name, leftovers, unfinished, user_path
from dsformer.utils.distributed import run_on_first_rank
from dsformer.utils.locks import TakenError, take
from dsformer.utils.system_errors import as_os_errors

# What this thread holds: within a run each of its steps may reserve the output again.
_held = threading.local()


@contextmanager
def reserve(
    out_dir: str | os.PathLike[str], overwrite: bool = False, inputs: Iterable[str | os.PathLike[str]] = ()
) -> Iterator[Path]:
    """Make sure that a directory can be written, and by nobody else, before hours are spent on what is to be in it.

    Args:
        out_dir: the directory.
        overwrite: it may be there and not empty.
        inputs: what is read; the directory may not be one of these, lie in one or contain one. Names that are no paths
            do not matter.

    Returns:
        The absolute path, while it is reserved.

    Raises:
        InputError: it is a file, or a directory that is not empty (unless ``overwrite``), cannot be created, belongs to
            the inputs, or another run is writing it.
    """
    target = user_path(out_dir).resolve()
    if target.is_mount():
        raise InputError(f"{target}: is the root of a file system, which cannot be replaced; name a directory in it")
    if target.exists() and not target.is_dir():
        raise InputError(f"{target}: is a file")
    check_apart(target, map(Path, inputs))
    with ExitStack() as held:
        try:
            held.enter_context(lock(target))
            full = target.is_dir() and any(target.iterdir())
        except OSError as error:
            raise InputError(f"{target}: cannot be written ({error.strerror})") from None
        if full and not overwrite:
            raise InputError(f"{target}: is not empty; choose another directory or overwrite it")
        yield target


@contextmanager
def reserve_on_first_rank(
    out_dir: str | os.PathLike[str], overwrite: bool = False, inputs: Iterable[str | os.PathLike[str]] = ()
) -> Iterator[Path]:
    """The same where several processes may train together: the first of them holds it for all."""
    with ExitStack() as held:
        run_on_first_rank(lambda: held.enter_context(reserve(out_dir, overwrite, inputs)))
        yield user_path(out_dir).resolve()


@contextmanager
def lock(target: Path) -> Iterator[None]:
    """Be the only one to write a directory; what killed runs left beside it is removed first.

    Raises:
        InputError: another run is writing it.
        OSError: nothing can be written beside it.
    """
    held: set[Path] = vars(_held).setdefault("targets", set())
    if target in held:
        yield
        return
    missing = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f".{target.name}.lock")
    try:
        descriptor = take(lock)
    except TakenError:
        raise InputError(f"{target}: another run is writing it; wait for its end or choose another directory") from None
    held.add(target)
    try:
        with unfinished(lock):
            if descriptor is not None:
                _recover(target)
            yield
    finally:
        held.discard(target)
        if descriptor is not None:
            os.close(descriptor)
        with suppress(OSError):
            for folder in missing:
                folder.rmdir()


@contextmanager
def write_atomically(target: Path) -> Iterator[Path]:
    """A new directory that takes the target's name on leaving, and vanishes when something is raised.

    Raises:
        InputError: another run is writing it.
        OSError: it cannot be written, also where a library says so otherwise.
    """
    with lock(target), unfinished(fresh_name(target)) as partial, as_os_errors(target):
        partial.mkdir()
        yield partial
        _readable(partial)
        _exchange(partial, target)


def _exchange(partial: Path, target: Path) -> None:
    replaced = partial.with_name(f"{partial.name}.old")
    if target.exists():
        target.rename(replaced)
    try:
        partial.rename(target)
    except BaseException:
        if replaced.exists():
            replaced.rename(target)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _recover(target: Path) -> None:
    """Remove what killed runs left; one killed just as it replaced a directory has that one put back."""
    found = leftovers(target)
    for old in (path for path in found if path.suffix == ".old"):
        if not target.exists():
            old.rename(target)
    for path in found:
        shutil.rmtree(path, ignore_errors=True)


def _readable(directory: Path) -> None:
    """Give every file the permissions of a new one; safetensors leaves its own readable by the owner alone."""
    probe = directory / ".permissions"
    probe.touch()
    mode = probe.stat().st_mode
    probe.unlink()
    for file in directory.rglob("*"):
        if file.is_file():
            file.chmod(mode)
