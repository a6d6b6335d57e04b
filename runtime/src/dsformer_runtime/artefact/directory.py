"""The JSON files of a model directory, and the files that hold its weights."""

import json
from pathlib import Path
from typing import Any

from dsformer_runtime.errors import RuntimeInputError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_MAX_JSON_BYTES = 1 << 28
_LONGEST_NAME = 255


def open_directory(directory: str | Path) -> Path:
    """Return the path of a directory that exists.

    Raises:
        RuntimeInputError: there is no such directory.
    """
    path = Path(directory).expanduser()
    try:
        there = path.is_dir()
    except (OSError, ValueError):
        there = False
    if not there:
        raise RuntimeInputError(f"{directory}: no such directory (models are not downloaded)")
    return path


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        RuntimeInputError: the file is missing, too large, or not JSON.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise RuntimeInputError(f"{path}: too large")
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RuntimeInputError(f"{path}: {error.strerror}") from None
    except RuntimeInputError:
        raise
    except (ValueError, RecursionError) as error:
        raise RuntimeInputError(f"{path}: not JSON ({str(error)[:100]})") from None


def read_object(path: Path, needed: bool = True) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Args:
        path: of the file.
        needed: whether the file has to exist; an empty object is returned for one that need not.

    Raises:
        RuntimeInputError: the file is missing, damaged, or holds something else.
    """
    if not needed and not path.is_file():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        raise RuntimeInputError(f"{path}: not a JSON object")
    return value


def child_directory(directory: Path, name: Any) -> Path:
    """Return the folder of a module; ``name`` comes from ``modules.json``.

    Raises:
        RuntimeInputError: the name leads out of the directory.
    """
    if not isinstance(name, str) or len(name) > _LONGEST_NAME or "\0" in name:
        raise RuntimeInputError(f"{directory}: a module has no path")
    parts = Path(name).parts
    if ".." in parts or Path(name).is_absolute():
        raise RuntimeInputError(f"{directory}: the module {name!r} is outside of the directory")
    return directory / name


def weight_files(directory: Path) -> list[Path]:
    """List the safetensors files of a directory, in the order of their names.

    Raises:
        RuntimeInputError: there are none (a pickled checkpoint is not read), or the index names a missing one.
    """
    if (directory / WEIGHTS).is_file():
        return [directory / WEIGHTS]
    if not (directory / INDEX).is_file():
        pickled = sorted(path.name for pattern in _PICKLED for path in directory.glob(pattern))
        if pickled:
            raise RuntimeInputError(f"{directory}: {pickled[0]} is a pickled checkpoint; only safetensors are read")
        raise RuntimeInputError(f"{directory}: no {WEIGHTS}")
    names = read_object(directory / INDEX).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise RuntimeInputError(f"{directory / INDEX}: has no weight_map")
    shards = sorted(set(names.values()))
    for name in shards:
        plain = "\0" not in name and Path(name).name == name and len(name.encode(errors="replace")) <= _LONGEST_NAME
        if not plain or not name.endswith(".safetensors"):
            raise RuntimeInputError(f"{directory / INDEX}: {name[:99]!r} is not the name of a safetensors file")
        if not (directory / name).is_file():
            raise RuntimeInputError(f"{directory / name}: a part of the weights is missing")
    return [directory / name for name in shards]
