"""The directory beside an output in which an unfinished run keeps what it has, so that it can go on."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dsformer.errors import WorkError
from dsformer.utils.atomic_io import write_text
from dsformer.utils.distributed import by_one, leading, wait

RECORD = "run.json"


@contextmanager
def working(output: Path, described: dict[str, Any]) -> Iterator[Path]:
    """``OUTPUT.work``, kept if the run stops before its end with something to go on from, and removed otherwise.

    Args:
        output: what the run will write.
        described: what the run is, as JSON values; a run can only go on from one described the same.

    Of several processes the first one keeps it; they begin and end together.

    Raises:
        WorkError: the directory holds another run's work.
    """
    directory = output.with_name(f"{output.name}.work")
    record = directory / RECORD
    by_one(lambda: _begin(directory, record, json.dumps(described, indent=1, sort_keys=True)))
    finished = False
    try:
        yield directory
        wait()
        finished = True
    finally:
        if leading() and (finished or all(file == record or file.is_dir() for file in directory.rglob("*"))):
            shutil.rmtree(directory, ignore_errors=True)


def _begin(directory: Path, record: Path, text: str) -> None:
    if record.is_file():
        if record.read_text(encoding="utf-8") != text:
            raise WorkError(
                f"{directory}: holds an unfinished run with other settings; remove it, or start that run again"
            )
    elif directory.exists() and any(directory.iterdir()):
        raise WorkError(f"{directory}: is not empty and not the work of an unfinished run; remove it")
    else:
        _create(directory, record, text)


def _create(directory: Path, record: Path, text: str) -> None:
    try:
        write_text(record, text)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
