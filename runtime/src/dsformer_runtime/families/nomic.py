"""Nomic: rotary positions and a gated feed-forward layer; names as in transformers, or as first published."""

from dataclasses import replace
from typing import Any

from dsformer_runtime.errors import UnsupportedModelError
from dsformer_runtime.families.bert import DEFAULTS
from dsformer_runtime.families.family import Family, LayerNames, StepNames, classifier
from dsformer_runtime.families.source import Source

# Fields of the published configurations that have other values in none of these models.
_OTHERS = {
    **{"rotary_emb_interleaved": False, "rotary_emb_scale_base": None, "rotary_scaling_factor": None},
    **{"prenorm": False, "use_rms_norm": False, "causal": False},
}


def _rotary(source: Source, number: int) -> dict[str, Any]:
    """Return the base of rotary positions, which turn whole heads."""
    settings = source.settings
    rotary = settings.get("rope_parameters")
    if isinstance(rotary, dict):
        kind, base = rotary.get("rope_type", "default"), rotary.get("rope_theta", settings.get("rotary_emb_base"))
    else:
        kind, base = "default", settings.get("rotary_emb_base")
    plain = kind == "default" and settings.get("rotary_emb_fraction") == 1.0
    plain = plain and all(not settings.get(name) for name in _OTHERS)
    if not plain:
        raise UnsupportedModelError("this kind of Nomic model is not supported; PyTorch runs it")
    return {"rotary": settings.check_number("rope_theta", base, 1.0)}


_DEFAULTS = {
    **DEFAULTS,
    **{"hidden_act": "silu", "max_position_embeddings": 2048, "rope_parameters": None, "rotary_emb_base": 1000.0},
    **{"rotary_emb_fraction": 1.0, **_OTHERS},
}

PUBLISHED = Family(
    prefix="bert",
    words="embeddings.word_embeddings",
    types="embeddings.token_type_embeddings",
    embedding_norm="emb_ln",
    layer="encoder.layers.{}",
    names=LayerNames(
        query_key_value=("attn.Wqkv",),
        attention_output="attn.out_proj",
        attention_norm="norm1",
        up=("mlp.fc12", "mlp.fc11"),
        down="mlp.fc2",
        output_norm="norm2",
    ),
    gated=True,
    aliases={
        **{"n_embd": "hidden_size", "n_head": "num_attention_heads", "n_layer": "num_hidden_layers"},
        **{"n_positions": "max_position_embeddings", "activation_function": "hidden_act"},
        **{"layer_norm_epsilon": "layer_norm_eps"},
    },
    heads=classifier(StepNames("pooler.dense", "tanh", in_base=True)),
    defaults=_DEFAULTS,
    layer_extras=_rotary,
)
FAMILY = replace(
    PUBLISHED,
    prefix="nomic_bert",
    embedding_norm="embeddings.LayerNorm",
    layer="layers.{}",
    names=LayerNames(
        query_key_value=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        attention_output="self_attn.o_proj",
        attention_norm="post_attention_layernorm",
        up=("mlp.gate_proj", "mlp.up_proj"),
        down="mlp.down_proj",
        output_norm="post_mlp_layernorm",
    ),
    variants=(PUBLISHED,),
)
