"""ModernBERT: norms first, rotary positions, a gated feed-forward layer, and local attention in most layers."""

from typing import Any

from dsformer_runtime.errors import UnsupportedModelError
from dsformer_runtime.families.family import Family, HeadNames, LayerNames, Settings, StepNames
from dsformer_runtime.families.source import Source

_BASES = {"full_attention": "global_rope_theta", "sliding_attention": "local_rope_theta"}


def _attention(source: Source, number: int) -> dict[str, Any]:
    """Return window and base of rotary positions of a layer."""
    settings = source.settings
    kinds, every = settings.get("layer_types"), settings.integer("global_attn_every_n_layers", 1)
    if isinstance(kinds, list):
        kind = kinds[number] if number < len(kinds) else None
    else:
        kind = "sliding_attention" if number % every else "full_attention"
    if kind not in _BASES:
        raise UnsupportedModelError(f"layer {number}: attention of the kind {str(kind)[:40]!r} is not supported")
    by_kind = settings.get("rope_parameters")
    rotary = by_kind.get(kind) if isinstance(by_kind, dict) else None
    rotary = rotary if isinstance(rotary, dict) else {}
    if rotary.get("rope_type", "default") != "default" or settings.get("rope_scaling") is not None:
        raise UnsupportedModelError("scaled rotary positions are not supported; PyTorch runs the model")
    base = rotary.get("rope_theta", settings.get(_BASES[kind]))
    local = settings.integer("local_attention", 2) // 2 if kind == "sliding_attention" else 0
    return {"window": local, "rotary": settings.check_number("rope_theta", base, 1.0)}


_STEP = StepNames("head.dense", "config:classifier_activation", "head.norm")

FAMILY = Family(
    prefix="model",
    words="embeddings.tok_embeddings",
    embedding_norm="embeddings.norm",
    layer="layers.{}",
    names=LayerNames(
        query_key_value=("attn.Wqkv",),
        attention_output="attn.Wo",
        attention_norm="attn_norm",
        up=("mlp.Wi",),
        down="mlp.Wo",
        output_norm="mlp_norm",
    ),
    final_norm="final_norm",
    pre_norm=True,
    gated=True,
    heads={
        "ForSequenceClassification": HeadNames("config:classifier_pooling", (_STEP, StepNames("classifier"))),
        "ForTokenClassification": HeadNames("none", (_STEP, StepNames("classifier"))),
        "ForQuestionAnswering": HeadNames("none", (_STEP, StepNames("classifier"))),
    },
    settings=Settings(activation="hidden_activation", epsilon="norm_eps"),
    defaults={
        **{"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 22, "intermediate_size": 1152},
        **{"hidden_activation": "gelu", "norm_eps": 1e-5, "max_position_embeddings": 8192, "local_attention": 128},
        **{"global_attn_every_n_layers": 3, "global_rope_theta": 160_000.0, "local_rope_theta": 10_000.0},
        **{"layer_types": None, "rope_parameters": None, "rope_scaling": None, "classifier_pooling": "cls"},
        **{"classifier_activation": "gelu"},
    },
    layer_extras=_attention,
)
