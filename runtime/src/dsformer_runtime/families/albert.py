"""ALBERT: all layers of a group are one, and embeddings are smaller than hidden states."""

from dsformer_runtime.families.bert import DEFAULTS
from dsformer_runtime.families.family import Family, LayerNames, StepNames, classifier
from dsformer_runtime.families.source import Source


def _layer(source: Source, number: int) -> str:
    """Return the name of a layer: every group of layers has one, or a few one after another."""
    settings = source.settings
    groups, inside = settings.integer("num_hidden_groups", 1), settings.integer("inner_group_num", 1)
    group = int(number // inside / (settings.integer("num_hidden_layers", 1) / groups))
    return f"encoder.albert_layer_groups.{group}.albert_layers.{number % inside}"


FAMILY = Family(
    prefix="albert",
    words="embeddings.word_embeddings",
    positions="embeddings.position_embeddings",
    types="embeddings.token_type_embeddings",
    embedding_norm="embeddings.LayerNorm",
    projection="encoder.embedding_hidden_mapping_in",
    layer=_layer,
    names=LayerNames(
        query_key_value=("attention.query", "attention.key", "attention.value"),
        attention_output="attention.dense",
        attention_norm="attention.LayerNorm",
        up=("ffn",),
        down="ffn_output",
        output_norm="full_layer_layer_norm",
    ),
    heads=classifier(StepNames("pooler", "tanh", in_base=True)),
    defaults={
        **DEFAULTS,
        **{"hidden_size": 4096, "num_attention_heads": 64, "intermediate_size": 16384, "hidden_act": "gelu_new"},
        **{"num_hidden_groups": 1, "inner_group_num": 1},
    },
)
