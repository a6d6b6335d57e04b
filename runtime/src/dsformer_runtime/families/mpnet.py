"""MPNet: positions start after that of padding, and relative ones are added to the scores of attention."""

from typing import Any

import numpy as np

from dsformer_runtime.families.bert import DEFAULTS
from dsformer_runtime.families.family import Family, LayerNames, StepNames, classifier
from dsformer_runtime.families.source import Source

_FARTHEST = 128


def _extras(source: Source) -> dict[str, Any]:
    """Return the bias of the scores by relative position (buckets as in T5)."""
    table = source.rows("encoder.relative_attention_bias")
    buckets = len(table)
    away = np.arange(1 - source.longest, source.longest)
    half = buckets // 2
    near = max(half // 2, 1)
    distance = np.abs(away)
    spread = np.log(np.maximum(distance, 1) / near, dtype=np.float32) / np.log(_FARTHEST / near) * (half - near)
    far = np.minimum(near + spread.astype(np.int64), half - 1)
    # What lies after the query is in the upper half.
    index = np.where(distance < near, distance, far) + np.where(away > 0, half, 0)
    return {"bias": np.ascontiguousarray(table[np.clip(index, 0, buckets - 1)].T)}


FAMILY = Family(
    prefix="mpnet",
    words="embeddings.word_embeddings",
    positions="embeddings.position_embeddings",
    embedding_norm="embeddings.LayerNorm",
    layer="encoder.layer.{}",
    names=LayerNames(
        query_key_value=("attention.attn.q", "attention.attn.k", "attention.attn.v"),
        attention_output="attention.attn.o",
        attention_norm="attention.LayerNorm",
        up=("intermediate.dense",),
        down="output.dense",
        output_norm="output.LayerNorm",
    ),
    heads=classifier(StepNames("classifier.dense", "tanh"), last="classifier.out_proj"),
    padded_positions=True,
    defaults={**DEFAULTS, "pad_token_id": 1, "relative_attention_num_buckets": 32},
    model_extras=_extras,
)
