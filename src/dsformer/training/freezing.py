"""Freezing of embedding tables: they are half of a small model, and training them takes a third of a step's time."""

from torch import nn

from dsformer.nn.embedding import DenseSparseEmbedding


def freeze_embeddings(model: nn.Module) -> None:
    """Turn off gradients of all embedding tables, compressed or not, and of weights tied to them."""
    for module in model.modules():
        if isinstance(module, (nn.Embedding, DenseSparseEmbedding)):
            module.requires_grad_(False)
