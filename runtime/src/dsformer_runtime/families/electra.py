"""ELECTRA: BERT with smaller embeddings and another head."""

from dataclasses import replace

from dsformer_runtime.families import bert
from dsformer_runtime.families.family import StepNames, classifier

FAMILY = replace(
    bert.FAMILY,
    prefix="electra",
    projection="embeddings_project",
    heads=classifier(StepNames("classifier.dense", "gelu"), last="classifier.out_proj"),
    defaults={**bert.DEFAULTS, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024},
)
