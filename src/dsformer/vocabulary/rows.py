"""Rows of a model's embedding tables and heads: selecting those of the remaining tokens."""

from collections.abc import Mapping

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from dsformer.vocabulary.ids import renumber

RECORD = "pruned_vocabulary"
"""Field of a model's configuration that counts the values removed with pruned rows."""


def table_rows(model: PreTrainedModel) -> int:
    """Return the number of rows of the embedding table, which often exceeds the size of the vocabulary."""
    return model.get_input_embeddings().weight.shape[0]  # type: ignore[return-value, index]


def select_rows(model: PreTrainedModel, kept: Int[Tensor, " kept"], numbers: Mapping[int, int]) -> None:
    """Select the rows of the remaining tokens in the embedding table, the head and its bias, and renumber ids.

    Args:
        model: changed in place, with its configurations.
        kept: the rows to keep, ascending.
        numbers: new ids by old ones, also of tokens that have no row.
    """
    rows, before = table_rows(model), _values(model)
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    assert isinstance(table, nn.Embedding)
    tied = isinstance(head, nn.Linear) and head.weight is table.weight
    for module in list(model.modules()):
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is not None and tensor.shape[-1:] == (rows,) and tensor.numel() == rows:
                _set(module, name, tensor.detach()[..., kept])
    _shorten(table, kept, numbers)
    if isinstance(head, nn.Linear):
        _set(head, "weight", table.weight if tied else head.weight.detach()[kept])
        head.out_features = len(kept)
    renumber(model, rows, len(kept), numbers)
    model.tie_weights()
    setattr(model.config, RECORD, before - _values(model) + pruned_values(model))


def pruned_values(model: nn.Module) -> int:
    """Return how many values of a model were removed with the tokens that it lost."""
    found = getattr(getattr(model, "config", None), RECORD, 0)
    return found if isinstance(found, int) else 0


def _values(model: nn.Module) -> int:
    """Count the stored values of a model; shared parameters count once."""
    return sum({id(one): one.numel() for one in model.parameters()}.values())


def _shorten(table: nn.Embedding, kept: Tensor, numbers: Mapping[int, int]) -> None:
    """Select the rows of an embedding table, and renumber its padding index."""
    _set(table, "weight", table.weight.detach()[kept])
    table.num_embeddings = len(kept)
    if table.padding_idx is not None:
        table.padding_idx = numbers.get(table.padding_idx)


def _set(module: nn.Module, name: str, tensor: Tensor) -> None:
    if name in module._buffers:
        module._buffers[name] = tensor.clone()
    else:
        shared = isinstance(tensor, nn.Parameter)
        module._parameters[name] = tensor if shared else nn.Parameter(tensor.clone())  # type: ignore[assignment]


@torch.no_grad()
def gives_same_outputs(
    before: nn.Module,
    after: nn.Module,
    batch: Mapping[str, Tensor],
    renumbered: Mapping[str, Tensor],
    kept: Int[Tensor, " kept"],
) -> bool:
    """Return whether a model and its pruned copy give the same outputs for a batch.

    The largest difference may be 1e-4 of the largest output.

    Args:
        before: the original model.
        after: the pruned model.
        batch: inputs of the original model.
        renumbered: the same inputs, with the ids of the pruned model.
        kept: ids of the original model that are kept; of logits over the vocabulary only these are compared.
    """
    first, second = before(**batch)[0].float(), after(**renumbered)[0].float()
    if first.shape[-1] != second.shape[-1]:
        first = first[..., kept]
    return first.shape == second.shape and bool((first - second).abs().max() <= 1e-4 * first.abs().max())
