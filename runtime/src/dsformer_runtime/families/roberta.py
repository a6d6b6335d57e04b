"""RoBERTa, XLM-R and CamemBERT: BERT whose positions start after that of padding."""

from dataclasses import replace

from dsformer_runtime.families import bert
from dsformer_runtime.families.family import StepNames, classifier

FAMILY = replace(
    bert.FAMILY,
    prefix="roberta",
    padded_positions=True,
    heads=classifier(StepNames("classifier.dense", "tanh"), last="classifier.out_proj"),
    defaults={**bert.DEFAULTS, "pad_token_id": 1},
)
