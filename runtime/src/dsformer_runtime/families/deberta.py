"""DeBERTa v2 and v3: attention adds terms of content and relative position."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsformer_runtime.errors import UnsupportedModelError
from dsformer_runtime.families.bert import DEFAULTS
from dsformer_runtime.families.family import Family, LayerNames, StepNames, classifier
from dsformer_runtime.families.source import Source
from dsformer_runtime.model import Disentangled, Floats
from dsformer_runtime.reference import normalize, run_linear


def _terms(source: Source) -> set[str]:
    """Return which terms the scores have beside that of content alone."""
    kinds = source.settings.get("pos_att_type")
    if isinstance(kinds, str):
        kinds = [one.strip() for one in kinds.lower().split("|")]
    return {one for one in kinds if one in ("c2p", "p2c")} if isinstance(kinds, list) else set()


def _span(source: Source) -> tuple[int, int, int]:
    """Return rows of relative embeddings on each side, buckets (0: none) and the largest relative position."""
    settings = source.settings
    farthest = settings.integer("max_relative_positions", -1)
    farthest = farthest if farthest > 0 else source.longest
    buckets = max(settings.integer("position_buckets", -1), 0)
    return buckets or farthest, buckets, farthest


def _index(source: Source) -> NDArray[np.int32]:
    """Return the row of every relative position of a query and a key."""
    span, buckets, farthest = _span(source)
    away = np.arange(1 - source.longest, source.longest)
    if buckets:
        middle = max(buckets // 2, 1)
        distance = np.where((away < middle) & (away > -middle), middle - 1, np.abs(away)).astype(np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = np.log(distance / np.float32(middle)) / np.log(np.float32((farthest - 1) / middle)) * (middle - 1)
            far = np.nan_to_num(np.ceil(steps), posinf=span, neginf=-span) + middle
        away = np.where(distance <= middle, away, far * np.sign(away)).astype(np.int64)
    return np.clip(away + span, 0, 2 * span - 1).astype(np.int32)


def _embeddings(source: Source) -> Floats:
    """Return the relative embeddings, (2 span, width)."""
    span = _span(source)[0]
    rows = source.rows("encoder.rel_embeddings")
    if len(rows) < 2 * span:
        raise source.problem("encoder.rel_embeddings", f"{len(rows)} rows are fewer than {2 * span}")
    rows = rows[: 2 * span]
    kind = str(source.settings.get("norm_rel_ebd")).lower().split("|")
    if "layer_norm" not in [one.strip() for one in kind]:
        return rows
    norm = source.norm("encoder.LayerNorm", rows.shape[1])
    return normalize(rows, norm)


def _project(source: Source, name: str, rows: Floats) -> Floats:
    """Return relative embeddings after a linear layer, computed in float32."""
    linear = source.linear(name, rounded=False)
    if linear.in_features != rows.shape[1]:
        raise source.problem(name, f"reads {linear.in_features} numbers instead of {rows.shape[1]}")
    return run_linear(linear, rows)


def _relative(source: Source, number: int) -> dict[str, Any]:
    """Return the relative positions of a layer."""
    terms = _terms(source)
    if not source.settings.get("relative_attention") or not terms:
        return {}
    rows = source.cached("relative embeddings", lambda: _embeddings(source))
    shared = bool(source.settings.get("share_att_key"))
    layer = f"encoder.layer.{number}.attention.self"
    names = ("key_proj", "query_proj") if shared else ("pos_key_proj", "pos_query_proj")
    index = source.cached("relative index", lambda: _index(source))
    keys = _project(source, f"{layer}.{names[0]}", rows) if "c2p" in terms else None
    queries = _project(source, f"{layer}.{names[1]}", rows) if "p2c" in terms else None
    return {"disentangled": Disentangled(index, keys, queries)}


def _extras(source: Source) -> dict[str, Any]:
    """Return the scale of the scores, which depends on the number of terms."""
    if source.settings.integer("conv_kernel_size", 0) > 0:
        raise UnsupportedModelError("DeBERTa with a convolution is not supported; PyTorch runs the model")
    if source.has("embeddings.embed_proj"):
        raise UnsupportedModelError("DeBERTa with smaller embeddings is not supported; PyTorch runs the model")
    return {"scale": (source.head_size * (1 + len(_terms(source)))) ** -0.5}


FAMILY = Family(
    prefix="deberta",
    words="embeddings.word_embeddings",
    positions="embeddings.position_embeddings",
    positions_if="position_biased_input",
    types="embeddings.token_type_embeddings",
    embedding_norm="embeddings.LayerNorm",
    layer="encoder.layer.{}",
    names=LayerNames(
        query_key_value=("attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj"),
        attention_output="attention.output.dense",
        attention_norm="attention.output.LayerNorm",
        up=("intermediate.dense",),
        down="output.dense",
        output_norm="output.LayerNorm",
    ),
    heads=classifier(StepNames("pooler.dense", "config:pooler_hidden_act")),
    defaults={
        **DEFAULTS,
        **{"hidden_size": 1536, "num_attention_heads": 24, "num_hidden_layers": 24, "intermediate_size": 6144},
        **{"layer_norm_eps": 1e-7, "type_vocab_size": 0, "relative_attention": False, "max_relative_positions": -1},
        **{"position_biased_input": True, "pos_att_type": None, "pooler_hidden_act": "gelu", "position_buckets": -1},
        **{"share_att_key": False, "norm_rel_ebd": "none", "conv_kernel_size": 0},
    },
    model_extras=_extras,
    layer_extras=_relative,
)
