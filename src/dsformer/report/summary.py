"""The account of a compression: every byte, every block."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from typing import Any

from dsformer.allocation.plan import Plan
from dsformer.calibration.left_dense import LeftDense
from dsformer.calibration.trace import Tracing
from dsformer.factorization.methods import METHODS
from dsformer.format.accounting import ValueTypes
from dsformer.format.precision import SCALE_BITS, Precision, packed_bytes
from dsformer.recipe import Recipe
from dsformer.report.block_summary import BlockSummary

# How far a ratio may be from the one asked for without being worth a word.
NEAR = 0.05


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
    types: ValueTypes
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
        types = ValueTypes(Precision(**fields["types"]["factors"]), fields["types"]["rest"])
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
    def values_after(self) -> int:
        """Numbers stored, whatever their type; supports and permutations are bytes, not values."""
        others = (self.rest_bytes + sum(block.bias for block in self.blocks)) // (self.types.rest // 8)
        return others + sum(block.values for block in self.blocks)

    @property
    def embedding_share_before(self) -> float:
        """Part of the file before compression that is embedding tables."""
        tables = [block for block in self.blocks if block.kind == "embedding"]
        untouched = self.embedding_share * self.bytes_after - sum(block.bytes_after for block in tables)
        return (untouched + sum(block.bytes_before for block in tables)) / self.bytes_before

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
        how = f" ({bits:.0f} bits)" if METHODS[self.method].quantizes else ""
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


def summarize(
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
