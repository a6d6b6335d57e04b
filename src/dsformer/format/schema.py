"""What an artefact says about its compressed blocks, and the bounds it is held to before anything is allocated."""

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
    """One module of a block."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Name
    out_features: Size
    replaces: Count = 0


class BlockConfig(BaseModel):
    """One block: its modules, in the order in which they are stacked, and its form.

    ``tied`` names further modules that read a compressed embedding (output layers, a decoder's embedding).
    ``code_bits`` and ``dictionary_bits`` are those of whole numbers, 0 where they are floating-point; ``scale_span``
    says how many of a row share a scale, 0 for all.

    After structured pruning layers are narrower than those they replace: ``replaces`` of a member is the number of
    output features that one has, ``replaces_inputs`` of the block that of inputs, 0 where they are the same. With
    ``heads`` the rows are those of heads of attention, which is told how many are left.

    Where members read different inputs and only share the dictionary, ``inputs`` says how many of them, one after
    another, read the same one. ``dictionary_nonzeros`` is the number of entries of every atom of a sparse dictionary, 0
    for a dense one; with ``blocks`` both factors are those of a Monarch matrix of so many blocks. ``entries`` are the
    numbers of selected atoms of every member, where its units have different ones, at most ``nonzeros`` each.
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
        """The description of a stacked block.

        Args:
            kind: what its modules are.
            members: name and number of output features of each, in the order in which they are stacked.
            spec: of the whole block.
            tied: names of the modules that share a compressed embedding.
            precision: of rounded factors.
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
                **({} if precision is None else _bits(precision)),
            )
        except ValidationError as error:
            raise InputError(first_problem(error)) from None

    @model_validator(mode="after")
    def _check(self) -> "BlockConfig":
        if self.entries and (len(self.entries) != len(self.members) or self.kind == "embedding"):
            raise ValueError("entries: not a number for every linear layer")
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
        """Of rounded factors."""
        return Precision(self.code_bits, self.dictionary_bits, self.scale_span) if self.code_bits else None

    def rounded(self, precision: Precision) -> "BlockConfig":
        """The same block with rounded factors."""
        return self.model_copy(update=_bits(precision))

    def replacing(self, out_features: Sequence[int], in_features: int, heads: bool) -> "BlockConfig":
        """The same block, narrower than the layers of these sizes that it replaces."""
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
        return [member.name for member in self.members]

    @property
    def readers(self) -> list[list[Member]]:
        """The members that read each input."""
        starts = [0, *accumulate(self.inputs or [len(self.members)])]
        return [self.members[start:end] for start, end in pairwise(starts)]

    def spec(self) -> FormSpec:
        """The spec of the whole block."""
        return self._spec(self.members, self.entries)

    def member_specs(self) -> list[FormSpec]:
        """The spec of each member."""
        each = [[entries] for entries in self.entries] or [[] for _ in self.members]
        return [self._spec([member], entries) for member, entries in zip(self.members, each, strict=True)]

    def _spec(self, members: Sequence[Member], entries: Sequence[int]) -> FormSpec:
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
        )


def _bits(precision: Precision) -> dict[str, Any]:
    return {"code_bits": precision.codes, "dictionary_bits": precision.dictionary, "scale_span": precision.span}


def parse_blocks(blocks: Any) -> list[BlockConfig]:
    """Blocks read from an artefact. Raises ArtefactError, naming the first thing that is wrong."""
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
    """One line about the first problem pydantic found."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
