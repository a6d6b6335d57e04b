"""``OUTPUT.work``: the directory in which an unfinished run keeps its work beside its output, to be resumed."""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dsformer.errors import DSFormerError, WorkError
from dsformer.utils.atomic_io import write_text
from dsformer.utils.distributed import is_first_rank, run_on_first_rank, wait_for_all

_log = logging.getLogger("dsformer")

RECORD = "run.json"


@contextmanager
def working(output: Path, described: dict[str, Any], discards: bool = False) -> Iterator[Path]:
    """Provide ``OUTPUT.work``; keep it if the run stops early with work to resume from, and remove it otherwise.

    Of several processes the first one keeps it; they begin and end together.

    Args:
        output: what the run will write.
        described: description of the run, as JSON values; only a run with the same description can resume the work.
        discards: the work is cheap to redo. Work of a run with other settings that discards too is replaced, and a run
            that ends by its own error leaves none.

    Raises:
        WorkError: the directory holds another run's work.
    """
    directory = output.with_name(f"{output.name}.work")
    record = directory / RECORD
    text = json.dumps(described | ({"discards": True} if discards else {}), indent=1, sort_keys=True)
    run_on_first_rank(lambda: _begin(directory, record, text))
    over = False
    try:
        yield directory
        wait_for_all()
        over = True
    except (DSFormerError, OSError):
        over = discards
        raise
    finally:
        if is_first_rank() and (over or all(file == record or file.is_dir() for file in directory.rglob("*"))):
            shutil.rmtree(directory, ignore_errors=True)


def _begin(directory: Path, record: Path, text: str) -> None:
    if record.is_file():
        found = record.read_text(encoding="utf-8")
        if found == text:
            return
        if not (_discards(found) and _discards(text)):
            raise WorkError(
                f"{directory}: holds an unfinished run with other settings; remove it, or start that run again"
            )
        _log.warning("%s: an unfinished run with other settings is discarded", directory)
        shutil.rmtree(directory)
    elif directory.exists() and any(directory.iterdir()):
        raise WorkError(f"{directory}: is not empty and not the work of an unfinished run; remove it")
    _create(directory, record, text)


def _discards(record: str) -> bool:
    """Return whether a record is that of a run whose work is cheap to redo."""
    try:
        return json.loads(record).get("discards") is True
    except (ValueError, AttributeError):
        return False


def _create(directory: Path, record: Path, text: str) -> None:
    try:
        write_text(record, text)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
