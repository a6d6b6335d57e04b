"""Output directory of a run: checked and locked before the work, written atomically after it."""

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

# Directories that this thread holds: each step of a run may reserve the output again.
_held = threading.local()


@contextmanager
def reserve(
    out_dir: str | os.PathLike[str], overwrite: bool = False, inputs: Iterable[str | os.PathLike[str]] = ()
) -> Iterator[Path]:
    """Check that a directory can be written, and lock it, before hours are spent on its contents.

    Args:
        out_dir: the directory.
        overwrite: the directory may exist and have contents.
        inputs: what is read. The directory may not be one of these, lie in one or contain one. Names that are no paths
            are ignored.

    Returns:
        The absolute path, while it is reserved.

    Raises:
        InputError: the path is a file, a mount point, or a directory with contents (unless ``overwrite``), it cannot be
            created, it overlaps the inputs, or another run is writing it.
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
    """Reserve a directory where several processes may train together: the first one holds the lock for all.

    Arguments and errors as of :func:`reserve`.
    """
    with ExitStack() as held:
        run_on_first_rank(lambda: held.enter_context(reserve(out_dir, overwrite, inputs)))
        yield user_path(out_dir).resolve()


@contextmanager
def lock(target: Path) -> Iterator[None]:
    """Lock a directory for writing, after removing what killed runs left beside it.

    A thread that holds the lock may take it again.

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
    """Yield a new directory that takes the name of ``target`` on leaving, and is removed when an exception is raised.

    Raises:
        InputError: another run is writing it.
        OSError: it cannot be written, also where a library raises another exception for that.
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
    """Remove what killed runs left; a directory that one had moved away in order to replace it is restored."""
    found = leftovers(target)
    for old in (path for path in found if path.suffix == ".old"):
        if not target.exists():
            old.rename(target)
    for path in found:
        shutil.rmtree(path, ignore_errors=True)


def _readable(directory: Path) -> None:
    """Give every file the default permissions; safetensors makes its files readable by the owner alone."""
    probe = directory / ".permissions"
    probe.touch()
    mode = probe.stat().st_mode
    probe.unlink()
    for file in directory.rglob("*"):
        if file.is_file():
            file.chmod(mode)
