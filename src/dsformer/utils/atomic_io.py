"""Atomic file writes, checks of user paths, and files of JSON lines."""

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

from dsformer.errors import InputError
from dsformer.utils.locks import nobody_writes_in, writing_in
from dsformer.utils.system_errors import as_os_errors

Row = dict[str, Any]

# Removed however the process ends, unless it is killed.
_unfinished: set[Path] = set()


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return a path given by a user, with ``~`` expanded.

    Raises:
        InputError: the path is empty or invalid, or the home directory is unknown.
    """
    text = os.fspath(path)
    if not text or "\0" in text:
        raise InputError("a path is empty" if not text else f"{text!r} is not a path")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise InputError(f"{text}: this user has no home directory; write the path out") from None


def check_writable(path: Path, what: str, inputs: Iterable[Path | str | None] = ()) -> Path:
    """Check that a file can be written, before the work whose results it will hold. The check leaves no file behind.

    Args:
        path: of the file; its folder may be missing.
        what: the option that the path comes from, for the message.
        inputs: files and folders that are read; the file may neither be one of them nor lie in one.

    Returns:
        The path.

    Raises:
        InputError: the path is a directory, is an input or lies in one, or cannot be written.
    """
    path = user_path(path)
    if path.is_dir():
        raise InputError(f"{what}: {path} is a directory; give the name of a file")
    check_apart(path.resolve(), inputs, what)
    there = path if path.exists() else next(folder for folder in path.resolve().parents if folder.exists())
    if not there.is_dir() and there != path:
        raise InputError(f"{what}: {path} cannot be written ({there} is not a directory)")
    try:
        # Permissions are not enough: the file system may be read-only, or made by the kernel.
        with path.open("ab") if there == path else TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise InputError(f"{what}: {path} cannot be written ({error.strerror})") from None
    return path


def check_apart(
    target: Path, inputs: Iterable[Path | str | None], what: str = "output", *, replaced: bool = True
) -> None:
    """Check that the output does not overlap the inputs.

    Args:
        target: what is written, as a resolved path.
        inputs: what is read.
        what: the option that names the target, for the message.
        replaced: the target replaces everything that it contains now.

    Raises:
        InputError: the target is an input, lies in one, or contains one that would be replaced.
    """
    for one in inputs:
        if one is None:
            continue
        place = user_path(one).resolve()
        if not place.exists():
            continue
        if target == place or place in target.parents or (replaced and target in place.parents):
            relation = "is" if target == place else "lies in" if place in target.parents else "contains"
            raise InputError(f"{what}: {target} {relation} what is read, {place}; choose another place")


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Register a file or directory that is removed on leaving, and by :func:`remove_unfinished`."""
    _unfinished.add(path)
    try:
        yield path
    finally:
        _remove(path)
        _unfinished.discard(path)


def remove_unfinished() -> None:
    """Remove everything unfinished: for a process that ends without leaving its ``with`` blocks."""
    for path in list(_unfinished):
        _remove(path)


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """Yield a temporary directory, which is removed on leaving."""
    with TemporaryDirectory(prefix="dsformer-", ignore_cleanup_errors=True) as name, unfinished(Path(name)) as path:
        yield path


def fresh_name(path: Path) -> Path:
    """Return a new name beside a path, for a file or directory that will replace it.

    :func:`leftovers` finds those of killed processes.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def leftovers(path: Path) -> list[Path]:
    """Return the paths named by :func:`fresh_name`, and those moved away to make room for one."""
    named = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.partial(\.old)?")
    return [other for other in path.parent.iterdir() if named.fullmatch(other.name)]


@contextmanager
def write_file_atomically(path: Path) -> Iterator[Path]:
    """Yield a new file that takes the name of ``path`` on leaving, and is removed when an exception is raised.

    Processes may write the same file at the same time: the last one's remains. Files that killed processes left behind
    are removed.

    Raises:
        OSError: the file cannot be written, also where a library raises another exception for that.
    """
    if nobody_writes_in(path.parent):
        for left in leftovers(path):
            left.unlink(missing_ok=True)
    with writing_in(path.parent), unfinished(fresh_name(path)) as fresh, as_os_errors(path):
        yield fresh
        fresh.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a whole file, creating its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_file_atomically(path) as fresh:
        fresh.write_text(text, encoding="utf-8")


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a file of JSON lines; none if there is no file.

    A line that a kill cut short is removed from the file.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows: list[Row] = []
    for line in lines:
        with suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    if len(rows) < len(lines):
        write_rows(path, rows)
    return rows


def add_row(path: Path, row: Row) -> None:
    """Append a row to a file of JSON lines, creating the file and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Replace a whole file of JSON lines: a kill leaves the old file or the new one."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
