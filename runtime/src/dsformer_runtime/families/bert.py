"""BERT, and what was distilled from it with the same modules, as MiniLM was."""

from dsformer_runtime.families.family import Family, LayerNames, StepNames, classifier

LAYER = LayerNames(
    query_key_value=("attention.self.query", "attention.self.key", "attention.self.value"),
    attention_output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    up=("intermediate.dense",),
    down="output.dense",
    output_norm="output.LayerNorm",
)
DEFAULTS = {
    **{"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 12, "intermediate_size": 3072},
    **{"hidden_act": "gelu", "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "pad_token_id": 0},
    **{"is_decoder": False, "position_embedding_type": "absolute", "add_cross_attention": False},
}

FAMILY = Family(
    prefix="bert",
    words="embeddings.word_embeddings",
    positions="embeddings.position_embeddings",
    types="embeddings.token_type_embeddings",
    embedding_norm="embeddings.LayerNorm",
    layer="encoder.layer.{}",
    names=LAYER,
    heads=classifier(StepNames("pooler.dense", "tanh", in_base=True)),
    defaults=DEFAULTS,
)
