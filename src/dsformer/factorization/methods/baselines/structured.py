"""Structured pruning methods: heads and neurons are removed, or whole layers too, and what remains is dense.

Which ones are removed cannot be decided from one weight alone (see ``allocation.structured_plan``).
"""

from dsformer.factorization.channel_removal import remove_channels
from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.methods.base import Method
from dsformer.factorization.search import Budget, Fitted
from dsformer.factorization.target import Target
from dsformer.format.channels import KeptChannels
from dsformer.format.pattern import Pattern


def fit(weight: Target, budget: Budget, pattern: Pattern, effort: Effort) -> Fitted | None:
    """Return the whole dense weight, if it fits. Arguments are as of ``Method.fit``."""
    fitted = remove_channels(weight, KeptChannels())
    return fitted if budget.holds(fitted.form.spec) else None


STRUCTURED = Method(
    fit,
    "whole heads and neurons, by the error of the output once the others make up for them (ZipLM, arXiv 2302.04089)",
    structured=True,
)
STUDENT = Method(
    fit,
    "a student for distillation: evenly spaced layers (DistilBERT, arXiv 1910.01108), without some heads and neurons",
    structured=True,
    drops_layers=True,
)
