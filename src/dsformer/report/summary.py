"""Summary of a compression: bytes, ratios and errors of the whole model and of every block."""

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

# Relative difference between the ratio asked for and the ratio reached up to which nothing is noted.
NEAR = 0.05


@dataclass(frozen=True)
class TrainingSummary:
    """How the factors were trained, and the task's main metric before and after.

    Attributes:
        learner: its name.
        distill: terms of the distillation, joined by +.
        task: its name; None for plain text.
        metric: the task's main metric.
        dense, factorized, trained: score of the dense model, after factorization, and after training.
        steps: of the optimizer.
        seconds: of training, without fine-tuning of the dense model and factorization.
        scored: name of the data scored on, where it differs from the task's.
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
        model: name or path.
        method: of the compression.
        pattern: constraint on supports.
        recipe: all its fields.
        blocks: the compressed blocks.
        rest_bytes: tensors that stay as they are.
        types: sizes of stored values.
        type_factor: bytes of a weight's values before / after (1 unless the recipe changes them); not in the ratios.
        embedding_share: embedding tables as a fraction of the file after compression.
        silent, small, excluded: linear layers left dense, as of ``Tracing``.
        calibration_tokens: tokens seen in calibration.
        seconds: of the whole compression.
        training: how the factors were trained; None: they were not.
        dropped_bytes: of whole layers that were removed, counted in both ratios.
        vocabulary_bytes: of tokens' rows that were removed, counted in the ratio of the whole file.
        left: the tensors of ``rest_bytes``, by the reason why they stay.
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
        """Restore a summary from the result of :meth:`as_dict`."""
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
        """The blocks of linear layers."""
        return [block for block in self.blocks if block.kind != "embedding"]

    @property
    def encoder_ratio(self) -> float:
        """Stored bytes before / after of the compressed linear layers."""
        return _ratio(self.encoder_blocks, self.dropped_bytes)

    @property
    def total_ratio(self) -> float:
        """Stored bytes before / after of the whole file."""
        return self.bytes_before / max(1, self.bytes_after)

    @property
    def bytes_before(self) -> int:
        """Bytes of all tensors before compression, including removed layers and tokens."""
        gone = self.dropped_bytes + self.vocabulary_bytes
        return self.rest_bytes + gone + sum(block.bytes_before for block in self.blocks)

    @property
    def bytes_after(self) -> int:
        """Bytes of all tensors after compression."""
        return self.rest_bytes + sum(block.bytes_after for block in self.blocks)

    @property
    def values_before(self) -> int:
        """Number of values of the original model, whatever their type."""
        whole = all(block.kind != "embedding" for block in self.blocks)
        gone = 8 * self.vocabulary_bytes // (self.types.rest if whole else self.types.factors.least)
        tables = sum(self._values_before(block) for block in self.blocks if block.kind == "embedding")
        return 8 * self.rest_bytes // self.types.rest + gone + tables + self._encoder_values_before

    @property
    def values_after(self) -> int:
        """Number of values stored, whatever their type; supports and permutations are bytes, not values."""
        others = (self.rest_bytes + sum(block.bias for block in self.blocks)) // (self.types.rest // 8)
        return others + sum(block.values for block in self.blocks)

    @property
    def embedding_share_before(self) -> float:
        """Embedding tables as a fraction of the file before compression."""
        tables = [block for block in self.blocks if block.kind == "embedding"]
        untouched = self.embedding_share * self.bytes_after - sum(block.bytes_after for block in tables)
        return (untouched + sum(block.bytes_before for block in tables)) / self.bytes_before

    @property
    def original_encoder_ratio(self) -> float:
        """Bytes of the linear layers in the model's original type / stored bytes after."""
        after = sum(block.bytes_after for block in self.encoder_blocks)
        return self._encoder_values_before * self._original_bits / 8 / after if after else 1.0

    @property
    def original_total_ratio(self) -> float:
        """Bytes of the whole file in the model's original type / stored bytes after."""
        return self.values_before * self._original_bits / 8 / max(1, self.bytes_after)

    @property
    def ratio_note(self) -> str | None:
        """A note if the ratio reached is not the one asked for (some methods have only some ratios); otherwise None."""
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
        """Bits of a value in the model's original type."""
        return round(self.types.factors.least * self.type_factor)

    @property
    def _encoder_values_before(self) -> int:
        """Number of values of the linear layers before compression, including removed layers."""
        dropped = 8 * self.dropped_bytes // self.types.factors.least
        return dropped + sum(self._values_before(block) for block in self.encoder_blocks)

    def _values_before(self, block: BlockSummary) -> int:
        """Count the values of a block's weight and biases before compression."""
        (rows, columns), factors = block.shape, self.types.factors
        weight = rows * (packed_bytes(columns, factors.least) + (SCALE_BITS // 8 if factors.rounded else 0))
        return rows * columns + 8 * (block.bytes_before - weight) // self.types.rest

    @property
    def mean_error(self) -> float:
        """Root mean square of the blocks' relative errors."""
        errors = [block.error**2 for block in self.encoder_blocks for _ in range(block.inputs)]
        return (sum(errors) / max(1, len(errors))) ** 0.5

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as plain data, ratios and totals included."""
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
    """Put the summary of a compression together.

    Args:
        model: name or path.
        recipe: of the compression.
        plan: the budgets, and the bytes outside blocks.
        tracing: of the dense model.
        blocks: summaries of the fitted blocks.
        tokens: tokens seen in calibration.
        seconds: of the whole compression.
    """
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
