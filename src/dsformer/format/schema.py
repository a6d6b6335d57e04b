"""JSON schema of the compressed blocks of an artefact.

Sizes are checked against each other and against upper bounds before anything is allocated.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dsformer.errors import ArtefactError, InputError
from dsformer.format.pattern import Pattern
from dsformer.format.precision import Precision, packed_bytes
from dsformer.format.spec import FormSpec, Orientation

LayerKind = Literal["linear", "conv1d", "embedding"]
Name = Annotated[str, Field(min_length=1, max_length=500)]
Size = Annotated[int, Field(ge=1, le=2**31 - 1)]
Bits = Literal[0, 2, 3, 4, 5, 6, 7, 8]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Member(BaseModel):
    """One module of a block.

    Attributes:
        name: of the module in the model.
        out_features: of the compressed module; for an embedding, the number of rows.
        replaces: output features of the layer it replaces, where structured pruning removed some; 0: the same number.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Name
    out_features: Size
    replaces: Count = 0


class BlockConfig(BaseModel):
    """One block: its modules, in the order in which they are stacked, and its form.

    These fields are those of :class:`FormSpec`: ``orientation``, ``atoms``, ``core``, ``nonzeros``, ``canonical``,
    ``pattern``, ``permuted``, ``dictionary_nonzeros`` and ``blocks``.

    Attributes:
        kind: what the modules are: linear layers, GPT-2's ``Conv1D`` or an embedding.
        members: the modules that hold the block's units.
        tied: further modules that read a compressed embedding (output layers, a decoder's embedding).
        in_features: of every member.
        code_bits: bits of quantized codes; 0: floating-point.
        dictionary_bits: bits of a quantized dictionary; 0: floating-point.
        scale_span: numbers of a row that share a scale; 0: the whole row.
        replaces_inputs: inputs of the layers replaced, where structured pruning removed some; 0: the same number.
        heads: the rows removed belong to attention heads. The attention module is notified with the new number.
        inputs: numbers of consecutive members that read the same tensor, where the members read different ones and only
            share the dictionary; empty: all read one.
        entries: number of selected atoms of every member, where its units select different numbers of them, at most
            ``nonzeros`` each; empty: every unit selects ``nonzeros``.
        support_bits: with the banked pattern, bits of every member's support.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    kind: LayerKind
    members: list[Member] = Field(min_length=1, max_length=1000)
    tied: list[Name] = Field(default=[], max_length=100)
    in_features: Size
    orientation: Orientation
    atoms: Count
    core: Count = 0
    nonzeros: Count = 0
    canonical: bool = False
    pattern: Annotated[str, Field(max_length=30)] = "free"
    permuted: bool = False
    code_bits: Bits = 0
    dictionary_bits: Bits = 0
    scale_span: Count = 0
    replaces_inputs: Count = 0
    heads: bool = False
    inputs: list[Size] = Field(default=[], max_length=1000)
    dictionary_nonzeros: Count = 0
    blocks: Count = 0
    entries: list[Count] = Field(default=[], max_length=1000)
    support_bits: list[Annotated[int, Field(ge=0, le=2**40)]] = Field(default=[], max_length=1000)

    @classmethod
    def of(
        cls,
        kind: LayerKind,
        members: Sequence[tuple[str, int]],
        spec: FormSpec,
        tied: Sequence[str] = (),
        precision: Precision | None = None,
        inputs: Sequence[int] = (),
    ) -> "BlockConfig":
        """Describe a stacked block.

        Args:
            kind: class of its modules.
            members: name and number of output features of each, in the order in which they are stacked.
            spec: of the whole block.
            tied: names of the modules that share a compressed embedding.
            precision: of quantized factors; None: they are floating-point.
            inputs: how many members read each input, where there are several.

        Raises:
            InputError: the members and the spec do not fit.
        """
        try:
            return cls(
                kind=kind,
                members=[Member(name=name, out_features=count) for name, count in members],
                tied=list(tied),
                in_features=spec.in_features,
                orientation=spec.orientation,
                atoms=spec.atoms,
                core=spec.core,
                nonzeros=spec.nonzeros,
                canonical=spec.canonical,
                pattern=str(spec.pattern),
                permuted=spec.permuted,
                inputs=list(inputs),
                dictionary_nonzeros=spec.dictionary_nonzeros,
                blocks=spec.blocks,
                entries=[entries for _, entries in spec.ragged],
                support_bits=list(spec.support_bits),
                **({} if precision is None else _bits(precision)),
            )
        except ValidationError as error:
            raise InputError(first_problem(error)) from None

    @model_validator(mode="after")
    def _check(self) -> "BlockConfig":
        if self.entries and (len(self.entries) != len(self.members) or self.kind == "embedding"):
            raise ValueError("entries: not a number for every linear layer")
        if self.support_bits and (len(self.support_bits) != len(self.entries) or self.permuted):
            raise ValueError("support_bits: not a number for every layer, or not in their own order")
        spec = self.spec()
        if not spec.atoms and not spec.canonical:
            raise ValueError("no atoms")
        if spec.atoms > spec.units + spec.width:
            raise ValueError(f"{spec.atoms} atoms are more than the weight has rows and columns")
        if spec.value_count > 2 * spec.out_features * spec.in_features:
            raise ValueError("holds more than twice the values of the dense weight")
        if len(self.members) > 1 and (spec.orientation == "output" or self.kind == "embedding"):
            raise ValueError("only linear layers with an input dictionary can share one")
        if (self.code_bits > 0) != (self.dictionary_bits > 0) or (self.scale_span and not self.code_bits):
            raise ValueError("codes and dictionary are both rounded or neither, and only then have scales")
        stored = packed_bytes(spec.core + spec.nonzeros, self.code_bits or 8)
        if self.kind == "embedding" and spec.dictionary_nonzeros:
            raise ValueError("an embedding's dictionary is dense")
        if self.kind == "embedding" and (spec.orientation == "output" or stored == spec.width):
            raise ValueError("an embedding needs an input dictionary and codes of another length than its vectors")
        narrower = [(self.in_features, self.replaces_inputs)]
        narrower += [(member.out_features, member.replaces) for member in self.members]
        if any(full and (full <= own or self.kind == "embedding") for own, full in narrower):
            raise ValueError("only linear layers can replace wider ones")
        if self.heads and not any(member.replaces for member in self.members):
            raise ValueError("heads, but all output features")
        if self.inputs and (len(self.inputs) < 2 or sum(self.inputs) != len(self.members)):
            raise ValueError("inputs: not all of its layers, or only one input")
        if self.tied and self.kind != "embedding":
            raise ValueError("only an embedding can have tied modules")
        names = [*self.names, *self.tied]
        if len(set(names)) < len(names):
            raise ValueError("names a module twice")
        self.member_specs()
        return self

    @property
    def precision(self) -> Precision | None:
        """Precision of quantized factors; None: they are floating-point."""
        return Precision(self.code_bits, self.dictionary_bits, self.scale_span) if self.code_bits else None

    def rounded(self, precision: Precision) -> "BlockConfig":
        """Return the same block with quantized factors."""
        return self.model_copy(update=_bits(precision))

    def counting(self, spec: FormSpec) -> "BlockConfig":
        """Return the same block with other numbers of entries, those of a spec."""
        entries = [entries for _, entries in spec.ragged]
        update = {"nonzeros": spec.nonzeros, "entries": entries, "support_bits": list(spec.support_bits)}
        return self.model_copy(update=update)

    def replacing(self, out_features: Sequence[int], in_features: int, heads: bool) -> "BlockConfig":
        """Return the same block as the replacement of wider layers.

        Args:
            out_features: of every layer replaced.
            in_features: of the layers replaced.
            heads: the rows removed belong to attention heads.
        """
        members = [
            member.model_copy(update={"replaces": full if full != member.out_features else 0})
            for member, full in zip(self.members, out_features, strict=True)
        ]
        inputs = in_features if in_features != self.in_features else 0
        heads = heads and any(member.replaces for member in members)
        return self.model_copy(update={"members": members, "replaces_inputs": inputs, "heads": heads})

    @property
    def full_members(self) -> list[int]:
        """Output features of the layers that are replaced."""
        return [member.replaces or member.out_features for member in self.members]

    @property
    def full_inputs(self) -> int:
        """Inputs of the layers that are replaced."""
        return self.replaces_inputs or self.in_features

    @property
    def names(self) -> list[str]:
        """Names of the members."""
        return [member.name for member in self.members]

    @property
    def readers(self) -> list[list[Member]]:
        """Members that read each input."""
        starts = [0, *accumulate(self.inputs or [len(self.members)])]
        return [self.members[start:end] for start, end in pairwise(starts)]

    def spec(self) -> FormSpec:
        """Return the spec of the whole block."""
        return self._spec(self.members, slice(None))

    def member_specs(self) -> list[FormSpec]:
        """Return the spec of each member."""
        return [self._spec([member], slice(i, i + 1)) for i, member in enumerate(self.members)]

    def _spec(self, members: Sequence[Member], part: slice) -> FormSpec:
        entries = self.entries[part]
        sizes = [self.in_features] if self.orientation == "output" else [member.out_features for member in members]
        return FormSpec(
            self.orientation,
            sum(member.out_features for member in members),
            self.in_features,
            atoms=self.atoms,
            core=self.core,
            nonzeros=self.nonzeros,
            canonical=self.canonical,
            pattern=Pattern.parse(self.pattern),
            permuted=self.permuted,
            dictionary_nonzeros=self.dictionary_nonzeros,
            blocks=self.blocks,
            ragged=tuple(zip(sizes, entries, strict=True)) if entries else (),
            support_bits=tuple(self.support_bits[part]),
        )


def _bits(precision: Precision) -> dict[str, Any]:
    return {"code_bits": precision.codes, "dictionary_bits": precision.dictionary, "scale_span": precision.span}


def parse_blocks(blocks: Any) -> list[BlockConfig]:
    """Parse the blocks of an artefact.

    Raises:
        ArtefactError: names the first problem.
    """
    if not isinstance(blocks, list) or len(blocks) > 100_000:
        raise ArtefactError("blocks: not a list of blocks")
    parsed = []
    for position, block in enumerate(blocks):
        try:
            parsed.append(block if isinstance(block, BlockConfig) else BlockConfig.model_validate(block))
        except ValidationError as error:
            raise ArtefactError(f"blocks.{position}: {first_problem(error)}") from None
    names = [name for block in parsed for name in (*block.names, *block.tied)]
    if len(set(names)) < len(names):
        raise ArtefactError("blocks: a module is in two of them")
    return parsed


def first_problem(error: ValidationError) -> str:
    """Return the first problem that pydantic found, as one line."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
