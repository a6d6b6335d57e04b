"""Weight files of a directory, in safetensors: their names, and the tensors that their headers list."""

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dsformer.errors import ArtefactError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")

# Longest file name in bytes, on any system.
_LONGEST_NAME = 255
_MAX_JSON_BYTES = 1 << 28
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_INTEGERS = {
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class Header:
    """Type and shape of a stored tensor; the type is named as in safetensors."""

    dtype: str
    shape: tuple[int, ...]


def weight_bytes(directory: Path) -> int:
    """Return the total size of a directory's safetensors files in bytes."""
    return sum(file.stat().st_size for file in directory.glob("*.safetensors"))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ArtefactError: the file is missing, too large, or not JSON.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ArtefactError(f"{path}: too large")
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ArtefactError):
            raise
        raise ArtefactError(f"{path}: not JSON ({first_line(error)})") from None
    except OSError as error:
        raise ArtefactError(f"{path}: {error.strerror}") from None


def weight_files(directory: Path) -> list[Path]:
    """List the safetensors files of a directory, in the order of their names.

    Raises:
        ArtefactError: there are none (a pickled checkpoint is not read), or the index names a missing one.
    """
    if (directory / WEIGHTS).is_file():
        return [directory / WEIGHTS]
    if not (directory / INDEX).is_file():
        pickled = sorted(path.name for pattern in PICKLED for path in directory.glob(pattern))
        if pickled:
            raise ArtefactError(f"{directory}: {pickled[0]} is a pickled checkpoint; only safetensors are read")
        raise ArtefactError(f"{directory}: no {WEIGHTS}")
    shards = sorted(set(_weight_map(directory).values()))
    for name in shards:
        plain = Path(name).name == name and len(name.encode(errors="replace")) <= _LONGEST_NAME
        if not plain or not name.endswith(".safetensors"):
            raise ArtefactError(f"{directory / INDEX}: {name[:99]!r} is not the name of a safetensors file")
        if not (directory / name).is_file():
            raise ArtefactError(f"{directory / name}: a part of the weights is missing")
    return [directory / name for name in shards]


def read_headers(files: Iterable[Path]) -> dict[str, Header]:
    """Read the header of every tensor, by the tensor's name.

    Raises:
        ArtefactError: a file is damaged or truncated, or a tensor is stored twice.
    """
    headers: dict[str, Header] = {}
    for file in files:
        with opened(file) as weights:
            for name in weights.keys():  # noqa: SIM118 (not a mapping)
                if name in headers:
                    raise ArtefactError(f"{file}: {name} is stored twice")
                part = weights.get_slice(name)
                headers[name] = Header(part.get_dtype(), tuple(part.get_shape()))
    return headers


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """Open a weight file, whose tensors are read on demand.

    Raises:
        ArtefactError: it is damaged, or a pickle.
    """
    if len(file.name.encode(errors="replace")) > _LONGEST_NAME:
        raise ArtefactError(f"{file.parent}: no file has a name like {file.name[:99]!r}...")
    if file.suffix != ".safetensors":
        raise ArtefactError(f"{file}: a pickled checkpoint; only safetensors are read")
    try:
        with safe_open(file, framework="pt") as weights:
            yield weights
    except (SafetensorError, OSError) as error:
        raise ArtefactError(f"{file}: damaged or cut short ({first_line(error)})") from None


def read_directory(directory: Path) -> dict[str, Header]:
    """Read the headers of a directory's weights.

    Raises:
        ArtefactError: as for :func:`weight_files` and :func:`read_headers`, or the index disagrees with the files.
    """
    files = weight_files(directory)
    headers = read_headers(files)
    if files[0].name != WEIGHTS:
        listed = set(_weight_map(directory))
        if wrong := sorted(listed ^ set(headers)):
            raise ArtefactError(f"{directory / INDEX}: does not agree with the files about {wrong[0]}")
    return headers


def check_tensor(name: str, header: Header, expected: Tensor) -> None:
    """Check that a stored tensor can be loaded as the expected one; floating-point types are cast.

    Args:
        name: the tensor's name, for the message.
        header: type and shape of the stored tensor.
        expected: a tensor of the expected type and shape.

    Raises:
        ArtefactError: the shape differs, or the type cannot be cast.
    """
    if header.shape != tuple(expected.shape):
        raise ArtefactError(f"{name}: stored shape {list(header.shape)} is not {list(expected.shape)}")
    check_type(name, header, expected)


def check_type(name: str, header: Header, expected: Tensor) -> None:
    """Check that a stored tensor's type can be cast to that of the expected one.

    Arguments as of :func:`check_tensor`.

    Raises:
        ArtefactError: it cannot be cast.
    """
    floating = expected.is_floating_point()
    if header.dtype not in _FLOATS if floating else header.dtype != _INTEGERS.get(expected.dtype):
        wanted = "a floating-point type" if floating else str(expected.dtype).removeprefix("torch.")
        raise ArtefactError(f"{name}: stored as {header.dtype}, not {wanted}")


def find(headers: Mapping[str, Header], name: str, prefix: str) -> Header | None:
    """Find the header of a tensor; the prefix of the base model may be missing from its name or added to it.

    Args:
        headers: the headers by name.
        name: the tensor's name in the model.
        prefix: the prefix of the base model, without the dot.
    """
    return headers.get(name) or headers.get(name.removeprefix(f"{prefix}.")) or headers.get(f"{prefix}.{name}")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, shortened to 300 characters."""
    lines = (line for line in str(error).splitlines() if line.strip())
    return textwrap.shorten(next(lines, type(error).__name__), 300, placeholder=" ...")


def _weight_map(directory: Path) -> dict[str, str]:
    index = read_json(directory / INDEX)
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(v, str) for v in weight_map.values()):
        raise ArtefactError(f"{directory / INDEX}: has no weight_map")
    return weight_map
