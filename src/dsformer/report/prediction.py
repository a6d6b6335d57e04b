"""Predicted bytes of an artefact, before anything is factorized."""

from dsformer.allocation.plan import Plan
from dsformer.allocation.planned_block import dense_bytes
from dsformer.calibration.trace import Tracing
from dsformer.format.accounting import ValueTypes
from dsformer.format.precision import Precision


def predict_bytes(plan: Plan, tracing: Tracing) -> dict[str, float]:
    """Compute the bytes and ratios that follow from the budgets; blocks may stay slightly below theirs."""
    after = plan.rest_bytes + sum(planned.budget_bytes(plan.types) for planned in plan.blocks)
    before = plan.rest_bytes + plan.dropped_bytes + plan.vocabulary_bytes + plan.dense_bytes()
    linear = plan.linear_blocks()
    tables = {
        planned.block.name: planned.budget_bytes(plan.types)
        for planned in plan.blocks
        if planned.block.kind == "embedding"
    }
    embeddings = sum(
        tables.get(block.name, dense_bytes(block, ValueTypes(Precision.of(plan.types.rest), plan.types.rest)))
        for block in tracing.tables
    )
    bits = plan.types.factors.least * plan.type_factor
    values = 8 * plan.dropped_bytes / plan.types.factors.least
    values += sum(planned.block.shape[0] * planned.block.shape[1] + planned.block.bias_count for planned in linear)
    return {
        "original_encoder_ratio": values
        * bits
        / 8
        / max(1, sum(planned.budget_bytes(plan.types) for planned in linear)),
        "bytes_before": before,
        "bytes_after": after,
        "encoder_ratio": (plan.dropped_bytes + sum(dense_bytes(planned.block, plan.types) for planned in linear))
        / max(1, sum(planned.budget_bytes(plan.types) for planned in linear)),
        "total_ratio": before / after,
        "embedding_share": embeddings / after,
    }
