"""DistilBERT: BERT without token types, with other names."""

from dsformer_runtime.families.family import Family, LayerNames, Settings, StepNames, classifier

FAMILY = Family(
    prefix="distilbert",
    words="embeddings.word_embeddings",
    positions="embeddings.position_embeddings",
    embedding_norm="embeddings.LayerNorm",
    layer="transformer.layer.{}",
    names=LayerNames(
        query_key_value=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        attention_output="attention.out_lin",
        attention_norm="sa_layer_norm",
        up=("ffn.lin1",),
        down="ffn.lin2",
        output_norm="output_layer_norm",
    ),
    heads=classifier(StepNames("pre_classifier", "relu")),
    settings=Settings(width="dim", heads="n_heads", layers="n_layers", activation="activation"),
    defaults={
        **{"dim": 768, "n_heads": 12, "n_layers": 6, "hidden_dim": 3072, "activation": "gelu"},
        **{"max_position_embeddings": 512, "layer_norm_eps": 1e-12},
    },
)
