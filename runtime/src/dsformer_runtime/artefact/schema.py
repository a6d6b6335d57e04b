"""The compressed blocks that ``config.json`` describes in ``quantization_config``.

Sizes are checked against each other and against upper bounds before anything is allocated.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import Any

from dsformer_runtime.artefact.spec import Pattern, Spec, byte_count
from dsformer_runtime.errors import RuntimeInputError

METHOD = "dsformer"
FORMAT_VERSION = 1
_MOST = 2**31 - 1
_FIELDS = frozenset({"quant_method", "format_version", "package_version", "blocks", "summary", "written"})


@dataclass(frozen=True)
class Member:
    """One module of a block.

    Attributes:
        name: of the module in the model.
        out_features: of the compressed module; of an embedding, the number of rows.
        replaces: output features of the layer it replaces, where structured pruning removed some; 0: the same number.
    """

    name: str
    out_features: int
    replaces: int = 0


@dataclass(frozen=True)
class Block:
    """One block: its modules, in the order in which they are stacked, and its form.

    ``docs/artefact.md`` explains the fields.
    """

    kind: str
    members: tuple[Member, ...]
    in_features: int
    orientation: str
    atoms: int
    tied: tuple[str, ...] = ()
    core: int = 0
    nonzeros: int = 0
    canonical: bool = False
    pattern: str = "free"
    permuted: bool = False
    code_bits: int = 0
    dictionary_bits: int = 0
    scale_span: int = 0
    replaces_inputs: int = 0
    heads: bool = False
    inputs: tuple[int, ...] = ()
    dictionary_nonzeros: int = 0
    blocks: int = 0
    entries: tuple[int, ...] = ()
    support_bits: tuple[int, ...] = ()

    def specs(self) -> list[Spec]:
        """Return the spec of each member.

        Raises:
            RuntimeInputError: no form can have it.
        """
        entries = self.entries or (0,) * len(self.members)
        pattern = Pattern.parse(self.pattern)
        form = (self.in_features, self.atoms, self.core, self.nonzeros, self.canonical, pattern, self.permuted)
        rest = (self.dictionary_nonzeros, self.blocks)
        bits = self.support_bits or (0,) * len(self.members)
        counted = zip(self.members, entries, bits, strict=True)
        return [Spec(self.orientation, member.out_features, *form, *rest, *counts) for member, *counts in counted]

    def scales_of(self, numbers: int) -> int:
        """Return the number of scales of a row of ``numbers`` quantized numbers."""
        return -(-numbers // self.scale_span) if self.scale_span and numbers else 1


@dataclass(frozen=True)
class Compression:
    """The blocks of a compressed model, and the record of its checksums; of another model both are empty."""

    blocks: tuple[Block, ...] = ()
    written: Mapping[str, Any] | None = None


def parse_compression(config: Mapping[str, Any]) -> Compression:
    """Parse the ``quantization_config`` of a model's configuration.

    Raises:
        RuntimeInputError: it is damaged, of a newer format, or of another library.
    """
    stored = config.get("quantization_config")
    if stored is None:
        return Compression()
    if not isinstance(stored, dict):
        raise RuntimeInputError("quantization_config: not an object")
    if stored.get("quant_method") != METHOD:
        method = str(stored.get("quant_method"))[:40]
        raise RuntimeInputError(f"quantized by {method!r}, which this runtime does not read; use PyTorch")
    version = stored.get("format_version", FORMAT_VERSION)
    if type(version) is not int or version < 1:
        raise RuntimeInputError(f"format_version: {version!r:.40} is not a positive whole number")
    if version > FORMAT_VERSION:
        newer = f"written by a newer DSFormer (format {version})"
        raise RuntimeInputError(f"{newer}; upgrade: pip install -U dsformer-runtime")
    if unknown := sorted(stored.keys() - _FIELDS):
        raise RuntimeInputError(f"quantization_config: unknown field {unknown[0]!r:.60}")
    written = stored.get("written")
    if written is not None and not isinstance(written, dict):
        raise RuntimeInputError("written: not an object")
    return Compression(parse_blocks(stored.get("blocks") or []), written)


def parse_blocks(stored: Any) -> tuple[Block, ...]:
    """Parse the list of blocks.

    Raises:
        RuntimeInputError: names the first problem.
    """
    if not isinstance(stored, list) or len(stored) > 100_000:
        raise RuntimeInputError("blocks: not a list of blocks")
    blocks = []
    for position, one in enumerate(stored):
        try:
            block = _parse(Block, one, _BLOCK)
            _check(block)
        except (RuntimeInputError, TypeError) as error:
            raise RuntimeInputError(f"blocks.{position}: {error}") from None
        blocks.append(block)
    names = [name for block in blocks for name in (*(member.name for member in block.members), *block.tied)]
    if len(set(names)) < len(names):
        raise RuntimeInputError("blocks: a module is named twice")
    return tuple(blocks)


def digest(blocks: Sequence[Block]) -> str:
    """Compute the digest of the blocks that a record of checksums holds."""
    described = [_described(block) for block in blocks]
    return blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=8).hexdigest()


def _described(part: Block | Member) -> dict[str, Any]:
    """Return the fields that are not at their defaults."""
    own = {field.name: getattr(part, field.name) for field in fields(part)}
    chosen = {field.name: own[field.name] for field in fields(part) if own[field.name] != field.default}
    if isinstance(part, Block):
        chosen["members"] = [_described(member) for member in part.members]
    return chosen


def _check(block: Block) -> None:
    """Check the fields of a block against each other, as ``dsformer.format.schema`` does."""
    several, table = len(block.members) > 1, block.kind == "embedding"
    least = 0 if block.support_bits else 1
    if block.entries and (len(block.entries) != len(block.members) or table or min(block.entries) < least):
        raise RuntimeInputError("entries: not a number for every linear layer")
    if block.support_bits and (len(block.support_bits) != len(block.entries) or block.permuted):
        raise RuntimeInputError("support_bits: not a number for every layer, or not in their own order")
    specs = block.specs()
    if several and (block.orientation == "output" or table):
        raise RuntimeInputError("only linear layers with an input dictionary can share one")
    if (block.code_bits > 0) != (block.dictionary_bits > 0) or (block.scale_span and not block.code_bits):
        raise RuntimeInputError("codes and dictionary are both rounded or neither, and only then have scales")
    if table:
        stored = byte_count((block.core + block.nonzeros) * (block.code_bits or 8))
        if block.dictionary_nonzeros or block.orientation == "output" or stored == specs[0].width:
            raise RuntimeInputError("not a form that an embedding can have")
    if block.inputs and (len(block.inputs) < 2 or sum(block.inputs) != len(block.members)):
        raise RuntimeInputError("inputs: not all of its layers, or only one input")
    if block.tied and not table:
        raise RuntimeInputError("only an embedding can have tied modules")


Reader = Callable[[Any], Any]


def _whole(low: int, high: int = _MOST) -> Reader:
    def read(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise RuntimeInputError(f"{str(value)[:40]} is not a whole number from {low} to {high}")
        return value

    return read


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise RuntimeInputError(f"{str(value)[:40]} is not true or false")
    return value


def _text(longest: int, allowed: tuple[str, ...] = ()) -> Reader:
    def read(value: Any) -> str:
        if not isinstance(value, str) or not 1 <= len(value) <= longest or (allowed and value not in allowed):
            raise RuntimeInputError(f"{str(value)[:40]!r} is not possible")
        return value

    return read


def _list(each: Reader, least: int, most: int) -> Reader:
    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise RuntimeInputError(f"not a list of {least} to {most} values")
        return tuple(each(one) for one in value)

    return read


def _bits(value: Any) -> int:
    bits = _whole(0, 8)(value)
    if bits == 1:
        raise RuntimeInputError("1 bit is not possible")
    return bits


def _parse(kind: type, stored: Any, readers: Mapping[str, Reader]) -> Any:
    """Return a Block or a Member of a JSON object."""
    if not isinstance(stored, dict):
        raise RuntimeInputError("not an object")
    if unknown := sorted(stored.keys() - readers.keys()):
        raise RuntimeInputError(f"unknown field {unknown[0]!r:.60}")
    values = {}
    for name, value in stored.items():
        try:
            values[name] = readers[name](value)
        except RuntimeInputError as error:
            raise RuntimeInputError(f"{name}: {error}") from None
    return kind(**values)


_NAME, _SIZE, _NUMBER = _text(500), _whole(1), _whole(0)
_MEMBER: dict[str, Reader] = {"name": _NAME, "out_features": _SIZE, "replaces": _NUMBER}
_BLOCK: dict[str, Reader] = {
    "kind": _text(20, ("linear", "conv1d", "embedding")),
    "members": _list(lambda one: _parse(Member, one, _MEMBER), 1, 1000),
    "tied": _list(_NAME, 0, 100),
    "in_features": _SIZE,
    "orientation": _text(10, ("input", "output")),
    "pattern": _text(30),
    "code_bits": _bits,
    "dictionary_bits": _bits,
    "inputs": _list(_SIZE, 0, 1000),
    "entries": _list(_NUMBER, 0, 1000),
    "support_bits": _list(_whole(0, 2**40), 0, 1000),
    **dict.fromkeys(("canonical", "permuted", "heads"), _flag),
    **dict.fromkeys(("atoms", "core", "nonzeros", "scale_span", "replaces_inputs"), _NUMBER),
    **dict.fromkeys(("dictionary_nonzeros", "blocks"), _NUMBER),
}
