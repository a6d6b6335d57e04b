"""Inspection of a compressed directory: its bytes counted from file headers, without loading a model."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import chain, compress, product
from math import prod
from pathlib import Path
from typing import Any

from dsformer.calibration.trace import SMALLEST_SIDE, TABLE_ASPECT
from dsformer.errors import ArtefactError
from dsformer.format.accounting import ValueTypes, count_support_bytes, describe_form
from dsformer.format.precision import SCALE_BITS, Precision, packed_bytes
from dsformer.format.schema import BlockConfig
from dsformer.format.spec import FormSpec
from dsformer.models.checkpoint import Header, read_headers, weight_files
from dsformer.models.config import read_config
from dsformer.utils.atomic_io import user_path

# By what they hold, the names of a compressed module's tensors after the module's name.
_TENSORS = {
    "dictionary": ("dictionary",),
    "codes": ("weight",),
    "scales": ("dictionary_scale", "weight_scale"),
    "support": ("support", "dictionary_support"),
    "permutation": ("permutation",),
    "bias": ("bias",),
}
KINDS = tuple(_TENSORS)
_SIZES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}
_TABLE_NAMES = ("embed", "wte", "shared")


@dataclass(frozen=True)
class StoredBlock:
    """One block: its form, and its bytes by kind.

    Attributes:
        stored: bytes by kind in the files.
        expected: bytes by kind that follow from its form.
    """

    names: tuple[str, ...]
    kind: str
    shape: tuple[int, int]
    form: str
    orientation: str
    pattern: str
    atoms: int
    core: int
    nonzeros: int
    canonical: bool
    error: float | None
    bytes_before: int
    stored: dict[str, int]
    expected: dict[str, int]

    @property
    def bytes_after(self) -> int:
        """Bytes of the block in the files."""
        return sum(self.stored.values())

    @property
    def ratio(self) -> float:
        """Bytes before / after."""
        return self.bytes_before / max(1, self.bytes_after)


@dataclass(frozen=True)
class Inspection:
    """The bytes of a compressed directory.

    Attributes:
        directory: its path.
        blocks: its compressed blocks.
        rest_bytes: tensors that are not of compressed blocks.
        embedding_bytes: embedding tables, compressed or not.
        file_bytes: the weight files on disk; larger than the tensors by the files' headers.
        type_factor: bytes of a value before / after, from the configuration.
        original_ratios: ratios over the model in its original type, by name, from the configuration.
        checksums: whether the configuration has checksums.
        dropped_bytes: bytes of whole layers that were removed, from the configuration.
        vocabulary_bytes: bytes of tokens' rows that were removed, from the configuration.
    """

    directory: str
    blocks: tuple[StoredBlock, ...]
    rest_bytes: int
    embedding_bytes: int
    file_bytes: int
    type_factor: float
    original_ratios: dict[str, float]
    checksums: bool = False
    dropped_bytes: int = 0
    vocabulary_bytes: int = 0

    @property
    def bytes_before(self) -> int:
        """Bytes of all tensors before compression, including removed layers and tokens."""
        gone = self.dropped_bytes + self.vocabulary_bytes
        return self.rest_bytes + gone + sum(block.bytes_before for block in self.blocks)

    @property
    def bytes_after(self) -> int:
        """Bytes of all tensors."""
        return self.rest_bytes + sum(block.bytes_after for block in self.blocks)

    @property
    def encoder_ratio(self) -> float:
        """Bytes before / after of the linear layers."""
        linear = [block for block in self.blocks if block.kind != "embedding"]
        return (self.dropped_bytes + sum(b.bytes_before for b in linear)) / max(1, sum(b.bytes_after for b in linear))

    @property
    def total_ratio(self) -> float:
        """Bytes before / after of all tensors."""
        return self.bytes_before / max(1, self.bytes_after)

    @property
    def embedding_share(self) -> float:
        """Embedding tables as a fraction of all bytes after compression."""
        return self.embedding_bytes / max(1, self.bytes_after)

    @property
    def differences(self) -> list[str]:
        """Blocks whose files hold another number of bytes than the configuration implies, a line each."""
        return [
            f"{block.names[0]}: {kind} takes {block.stored[kind]:,} bytes, its form says {block.expected[kind]:,}"
            for block in self.blocks
            for kind in KINDS
            if block.stored[kind] != block.expected[kind]
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the inspection as plain data, totals included."""
        derived = ("bytes_before", "bytes_after", "encoder_ratio", "total_ratio", "embedding_share", "differences")
        blocks = [{**asdict(b), "bytes_after": b.bytes_after, "ratio": b.ratio} for b in self.blocks]
        return {**asdict(self), "blocks": blocks, **{name: getattr(self, name) for name in derived}}


def inspect_directory(directory: str | Path) -> Inspection:
    """Count the bytes that a compressed directory stores.

    Raises:
        ArtefactError: not a compressed model, or a tensor is missing.
    """
    path = user_path(directory)
    if not (path / "config.json").is_file():
        raise ArtefactError(f"{path}: not a compressed model (it has no config.json)")
    config = read_config(path)[1]
    files = weight_files(path)
    headers = read_headers(files)
    errors = _errors(config.summary)
    blocks = tuple(_stored_block(block, headers, errors) for block in config.blocks)
    own = {f"{name}.{part}" for block in config.blocks for name in block.names for part in chain(*_TENSORS.values())}
    rest = {name: header for name, header in headers.items() if name not in own}
    tables = sum(tensor_bytes(header) for name, header in rest.items() if _is_table(name, header))
    factor = config.summary.get("type_factor")
    gone = {name: config.summary.get(name) for name in ("dropped_bytes", "vocabulary_bytes")}
    return Inspection(
        directory=str(path),
        blocks=blocks,
        rest_bytes=sum(map(tensor_bytes, rest.values())),
        embedding_bytes=tables + sum(block.bytes_after for block in blocks if block.kind == "embedding"),
        file_bytes=sum(file.stat().st_size for file in files),
        type_factor=float(factor) if isinstance(factor, int | float) else 1.0,
        checksums=config.written is not None,
        original_ratios={
            f"{name} ratio": float(ratio)
            for name in ("encoder", "total")
            if isinstance(ratio := config.summary.get(f"original_{name}_ratio"), int | float)
        },
        **{name: size for name, size in gone.items() if isinstance(size, int)},
    )


def tensor_bytes(header: Header) -> int:
    """Return the bytes of a tensor from its header."""
    return prod(header.shape) * _SIZES.get(header.dtype, 1)


def _stored_block(
    block: BlockConfig, headers: Mapping[str, Header], errors: Mapping[tuple[str, ...], float]
) -> StoredBlock:
    spec, names = block.spec(), tuple(block.names)
    missing = next((name for name in names if f"{name}.weight" not in headers), None)
    if missing:
        raise ArtefactError(f"{missing}.weight is not in the weights")
    value = _SIZES.get(headers[f"{names[0]}.weight"].dtype, 1)
    stored = {kind: _total(headers, names, tensors) for kind, tensors in _TENSORS.items()}
    biased = [f"{name}.bias" in headers for name in names]
    members = [member.out_features for member in block.members]
    biases, full_biases = sum(compress(members, biased)), sum(compress(block.full_members, biased))
    shape = (sum(block.full_members), block.full_inputs)
    rest = next((_SIZES.get(headers[f"{name}.bias"].dtype, 1) for name in names if f"{name}.bias" in headers), value)
    precision = block.precision or Precision.of(8 * value)
    weight = packed_bytes(shape[1], precision.least) + (SCALE_BITS // 8 if precision.rounded else 0)
    return StoredBlock(
        names=names,
        kind=block.kind,
        shape=shape,
        form=describe_form(spec),
        orientation=spec.orientation,
        pattern=str(spec.pattern),
        atoms=spec.atoms,
        core=spec.core,
        nonzeros=round(spec.mean_nonzeros),
        canonical=spec.canonical,
        error=errors.get(names),
        bytes_before=shape[0] * weight + full_biases * rest,
        stored=stored,
        expected=_expected(spec, members, ValueTypes(precision, 8 * rest), biases),
    )


def _expected(spec: FormSpec, members: list[int], types: ValueTypes, biases: int) -> dict[str, int]:
    support, permutation = count_support_bytes(spec, members)
    return {
        "dictionary": spec.dictionary_bytes(types.factors),
        "codes": spec.code_bytes(types.factors),
        "scales": spec.scale_bits(types.factors) // 8,
        "support": support,
        "permutation": permutation,
        "bias": biases * types.rest // 8,
    }


def _total(headers: Mapping[str, Header], names: Iterable[str], tensors: Iterable[str]) -> int:
    wanted = [f"{name}.{tensor}" for name, tensor in product(names, tensors)]
    return sum(tensor_bytes(headers[name]) for name in wanted if name in headers)


def _errors(summary: Mapping[str, Any]) -> dict[tuple[str, ...], float]:
    """Return the blocks' errors from the configuration's summary, which is not validated and may hold anything."""
    found = {}
    blocks = summary.get("blocks")
    for block in blocks if isinstance(blocks, list) else []:
        if isinstance(block, dict) and isinstance(block.get("error"), float) and isinstance(block.get("names"), list):
            found[tuple(map(str, block["names"]))] = block["error"]
    return found


def _is_table(name: str, header: Header) -> bool:
    """Return whether a tensor is an embedding table that could be compressed (with the bounds of tracing)."""
    if len(header.shape) != 2 or not any(part in name.lower() for part in _TABLE_NAMES):
        return False
    rows, width = header.shape
    return width >= SMALLEST_SIDE and rows >= TABLE_ASPECT * width
