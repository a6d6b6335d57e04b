"""The account of a compression: every byte, every block."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from typing import Any

from dsformer.allocation.plan import Plan
from dsformer.allocation.planned_block import FittedBlock, dense_bytes
from dsformer.calibration.left_dense import LeftDense
from dsformer.calibration.trace import Tracing
from dsformer.factorization.methods import METHODS
from dsformer.format.accounting import Types, describe, support_and_permutation_bytes
from dsformer.format.precision import SCALE_BITS, Precision, packed_bytes
from dsformer.format.quantized import RoundedForm
from dsformer.recipe import Recipe

# How far a ratio may be from the one asked for without being worth a word.
NEAR = 0.05


@dataclass(frozen=True)
class BlockSummary:
    """One block: its form, its whitened relative error, its bytes before and after by kind.

    ``kept`` is the shape of what structured pruning left of it, the form's; ``inputs`` how many different ones its
    layers read.
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
    error: float
    bytes_before: int
    dictionary: int
    codes: int
    scales: int
    support: int
    permutation: int
    bias: int
    kept: tuple[int, int] | None = None
    inputs: int = 1
    dictionary_nonzeros: int = 0
    uneven: int = 0

    @classmethod
    def of(cls, one: FittedBlock, types: Types) -> "BlockSummary":
        """Account for a block whose values have these types."""
        planned, fitted = one.planned, one.fitted
        form, spec = fitted.form, fitted.form.spec
        precision = form.precision if isinstance(form, RoundedForm) else types.factors
        supports, permutations = support_and_permutation_bytes(spec, planned.block.members)
        return cls(
            names=planned.block.names,
            kind=planned.block.kind,
            shape=planned.block.shape,
            form=describe(spec),
            orientation=spec.orientation,
            pattern=str(spec.pattern),
            atoms=spec.atoms,
            core=spec.core,
            nonzeros=round(spec.mean_nonzeros),
            canonical=spec.canonical,
            error=fitted.error,
            bytes_before=dense_bytes(planned.block, types),
            dictionary=spec.dictionary_bytes(precision),
            codes=spec.code_bytes(precision),
            scales=spec.scale_bits(precision) // 8,
            support=supports,
            permutation=permutations,
            bias=planned.bias_count * types.rest // 8,
            kept=None if planned.kept is None else planned.kept.shape(planned.block.shape),
            inputs=max(1, len(planned.block.inputs)),
            dictionary_nonzeros=spec.dictionary_nonzeros,
            uneven=spec.code_count if spec.uneven else 0,
        )

    @property
    def values(self) -> int:
        """Numbers stored for the weight, scales aside."""
        shape = self.kept or self.shape
        units, width = shape if self.orientation == "input" else shape[::-1]
        return self.atoms * (self.dictionary_nonzeros or width) + (self.uneven or units * (self.core + self.nonzeros))

    @property
    def bytes_after(self) -> int:
        return self.dictionary + self.codes + self.scales + self.support + self.permutation + self.bias

    @property
    def ratio(self) -> float:
        return self.bytes_before / self.bytes_after


@dataclass(frozen=True)
class TrainingSummary:
    """How factorizations were learned, and what the task's main metric was.

    Attributes:
        task: its name; None for plain text.
        metric: the task's main metric.
        dense, factorized, trained: score of the dense model, after factorization, after training.
        steps: of the optimizer.
        scored: what it was scored on, where that has a name of its own.
        seconds: of learning, fine-tuning of the dense model and factorization aside.
    """

    learner: str
    distill: str
    task: str | None
    metric: str | None
    dense: float | None
    factorized: float | None
    trained: float | None
    steps: int
    seconds: float
    scored: str | None = None


@dataclass(frozen=True)
class Summary:
    """The whole model. Bytes are of tensors, at the stored value type; a file adds its header.

    Attributes:
        rest_bytes: tensors left as they are.
        types: sizes of stored values.
        type_factor: bytes of a weight's values before / after (1 unless the recipe changes them); not in the ratios.
        embedding_share: part of the file after compression that is embedding tables.
        dropped_bytes: of whole layers that are gone, counted to both ratios.
        vocabulary_bytes: of rows of tokens that are gone, counted to the ratio of the whole file.
        left: what the ``rest_bytes`` are, by why they are as they were.
    """

    model: str
    method: str
    pattern: str
    recipe: dict[str, Any]
    blocks: tuple[BlockSummary, ...]
    rest_bytes: int
    types: Types
    type_factor: float
    embedding_share: float
    silent: tuple[str, ...]
    small: tuple[str, ...]
    excluded: tuple[str, ...]
    calibration_tokens: int
    seconds: float
    training: "TrainingSummary | None" = None
    dropped_bytes: int = 0
    vocabulary_bytes: int = 0
    left: tuple[LeftDense, ...] = ()

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Summary":
        """What :meth:`as_dict` gave."""
        own = {field.name for field in dataclass_fields(cls)}
        block_own = {field.name for field in dataclass_fields(BlockSummary)}
        blocks = tuple(
            BlockSummary(**{key: _tuple(value) for key, value in block.items() if key in block_own})
            for block in fields["blocks"]
        )
        kept = {key: _tuple(value) for key, value in fields.items() if key in own}
        left = tuple(LeftDense(**{key: _tuple(value) for key, value in one.items()}) for one in fields.get("left", ()))
        training = fields.get("training")
        types = Types(Precision(**fields["types"]["factors"]), fields["types"]["rest"])
        known = {"blocks": blocks, "left": left, "types": types}
        return cls(**kept | known | {"training": TrainingSummary(**training) if training else None})

    @property
    def encoder_blocks(self) -> list[BlockSummary]:
        return [block for block in self.blocks if block.kind != "embedding"]

    @property
    def encoder_ratio(self) -> float:
        """Stored bytes before / after over the compressed linear layers."""
        return _ratio(self.encoder_blocks, self.dropped_bytes)

    @property
    def total_ratio(self) -> float:
        """Stored bytes before / after over the whole file."""
        return self.bytes_before / max(1, self.bytes_after)

    @property
    def bytes_before(self) -> int:
        gone = self.dropped_bytes + self.vocabulary_bytes
        return self.rest_bytes + gone + sum(block.bytes_before for block in self.blocks)

    @property
    def bytes_after(self) -> int:
        return self.rest_bytes + sum(block.bytes_after for block in self.blocks)

    @property
    def values_before(self) -> int:
        """Numbers of the model as it came, whatever their type."""
        whole = all(block.kind != "embedding" for block in self.blocks)
        gone = 8 * self.vocabulary_bytes // (self.types.rest if whole else self.types.factors.least)
        tables = sum(self._values_before(block) for block in self.blocks if block.kind == "embedding")
        return 8 * self.rest_bytes // self.types.rest + gone + tables + self._encoder_values_before

    @property
    def original_encoder_ratio(self) -> float:
        """Stored bytes of the linear layers in the type the model came in / after."""
        after = sum(block.bytes_after for block in self.encoder_blocks)
        return self._encoder_values_before * self._original_bits / 8 / after if after else 1.0

    @property
    def original_total_ratio(self) -> float:
        """Bytes of the whole file as it came / after."""
        return self.values_before * self._original_bits / 8 / max(1, self.bytes_after)

    @property
    def ratio_note(self) -> str | None:
        """That a method which cannot give any ratio gave another one than was asked for; None where it did not."""
        asked, scope = self.recipe.get("ratio"), self.recipe.get("scope")
        given = self.total_ratio if scope == "all" else self.encoder_ratio
        if not isinstance(asked, int | float) or abs(given / asked - 1) <= NEAR:
            return None
        numbers = sum(block.values for block in self.encoder_blocks)
        bits = 8 * sum(block.codes + block.dictionary for block in self.encoder_blocks) / max(1, numbers)
        how = f" ({bits:.0f} bits)" if METHODS[self.method].rounds else ""
        return f"Asked for {asked:g}x, {self.method} gives {given:.2f}x{how}: the nearest ratio it has"

    @property
    def _original_bits(self) -> int:
        return round(self.types.factors.least * self.type_factor)

    @property
    def _encoder_values_before(self) -> int:
        dropped = 8 * self.dropped_bytes // self.types.factors.least
        return dropped + sum(self._values_before(block) for block in self.encoder_blocks)

    def _values_before(self, block: BlockSummary) -> int:
        """Of its weight and its biases."""
        (rows, columns), factors = block.shape, self.types.factors
        weight = rows * (packed_bytes(columns, factors.least) + (SCALE_BITS // 8 if factors.rounded else 0))
        return rows * columns + 8 * (block.bytes_before - weight) // self.types.rest

    @property
    def mean_error(self) -> float:
        """Root mean square of the blocks' relative errors."""
        errors = [block.error**2 for block in self.encoder_blocks for _ in range(block.inputs)]
        return (sum(errors) / max(1, len(errors))) ** 0.5

    def as_dict(self) -> dict[str, Any]:
        """Plain data, ratios and totals included."""
        fields = asdict(self)
        fields["blocks"] = [
            {**asdict(block), "bytes_after": block.bytes_after, "ratio": block.ratio} for block in self.blocks
        ]
        if self.training is not None and self.training.task is not None:
            told, scored = self.training, self.training.scored or self.training.task
            values = {"dense": told.dense, "factorized": told.factorized, "compressed": told.trained}
            fields["scores"] = [{"task": scored, "metric": told.metric, **values}]
        ratios = ("encoder_ratio", "total_ratio", "original_encoder_ratio", "original_total_ratio", "ratio_note")
        derived = (*ratios, "bytes_before", "bytes_after", "mean_error")
        return fields | {name: getattr(self, name) for name in derived}


def summarise(
    model: str,
    recipe: Recipe,
    plan: Plan,
    tracing: Tracing,
    blocks: Sequence[BlockSummary],
    tokens: int,
    seconds: float,
) -> Summary:
    """Put the account together."""
    after = plan.rest_bytes + sum(block.bytes_after for block in blocks)
    compressed = {block.names[0]: block.bytes_after for block in blocks if block.kind == "embedding"}
    tables = sum(
        compressed.get(table.name, table.shape[0] * table.shape[1] * plan.types.rest // 8) for table in tracing.tables
    )
    return Summary(
        model=model,
        method=recipe.method,
        pattern=recipe.pattern,
        recipe=recipe.model_dump(mode="json"),
        blocks=tuple(blocks),
        rest_bytes=plan.rest_bytes,
        types=plan.types,
        type_factor=plan.type_factor,
        embedding_share=tables / after,
        silent=tuple(tracing.silent),
        small=tuple(tracing.small),
        excluded=tuple(tracing.excluded),
        calibration_tokens=tokens,
        seconds=seconds,
        dropped_bytes=plan.dropped_bytes,
        vocabulary_bytes=plan.vocabulary_bytes,
        left=plan.left,
    )


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _ratio(blocks: Sequence[BlockSummary], dropped: int) -> float:
    after = sum(block.bytes_after for block in blocks)
    return (dropped + sum(block.bytes_before for block in blocks)) / after if after else 1.0
