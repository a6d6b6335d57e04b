"""Distillation losses between a compressed model (the student) and the dense model it was made from (the teacher).

logits      temperature-softened cross entropy of the outputs (Hinton et al., arXiv 1503.02531); for a single output,
            the squared difference
hidden      squared difference of every layer's hidden states relative to their size (after TinyBERT, arXiv 1909.10351)
attention   squared difference of every layer's products of queries and keys, before the softmax, relative to their size
            (after TinyBERT)
relations   cross entropy of the last layer's query-query, key-key and value-value relations (MiniLMv2,
            arXiv 2012.15828)
embeddings  cosine distance of pooled sentence embeddings, and squared difference of their similarities within a batch;
            needs no labels
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from dsformer.errors import InputError
from dsformer.models.layer_dropping import teacher_layer
from dsformer.models.pooling import Pooling, mean_pooling

TERMS = ("logits", "hidden", "attention", "relations", "embeddings")
_OUTPUTS = ("logits", "start_logits", "end_logits")
# A decoder reads the same text, so its states have the same length and the same mask.
_STATES = ("hidden_states", "encoder_hidden_states", "decoder_hidden_states")


class Distiller:
    """The distillation loss of a student against a frozen teacher.

    Args:
        teacher: of the student's architecture, with at least as many layers; never trained.
        student: the model to train.
        terms: which of ``TERMS`` to add up.
        temperature: of ``logits``.
        pooling: how ``embeddings`` are computed from hidden states; None: the mean over tokens.
        attention: for every layer of the student, the names of its query, key and value modules, and those of the
            teacher's layer to follow. ``attention`` uses all of them, ``relations`` the last.

    Attributes:
        autocast: the context in which the teacher runs, set by the student's trainer.

    Raises:
        InputError: a term is unknown, or this model cannot have it.
    """

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        terms: Sequence[str],
        temperature: float = 2.0,
        pooling: Pooling | None = None,
        attention: Sequence[tuple[Sequence[str], Sequence[str]]] = (),
    ):
        unknown = sorted(set(terms) - set(TERMS))
        if unknown:
            raise InputError(f"distillation: {unknown[0]!r} is not one of {', '.join(TERMS)}")
        wanted = next((term for term in ("attention", "relations") if term in terms), None)
        if wanted and (not attention or any(len(names) != 3 for pair in attention for names in pair)):
            raise InputError(f"distillation: {wanted} needs separate queries, keys and values, which this model lacks")
        self.teacher = teacher.eval().requires_grad_(False)
        self.autocast: Callable[[], AbstractContextManager[None]] = nullcontext
        self.terms, self.temperature, self.pooling = tuple(terms), temperature, pooling or mean_pooling
        self.heads = getattr(getattr(teacher, "config", None), "num_attention_heads", 1)
        followed = attention if "attention" in terms else attention[-1:] if wanted else []
        self.watched = [(_Watch(student, ours), _Watch(teacher, theirs)) for ours, theirs in followed]
        self.seen: list[tuple[list[Tensor], list[Tensor]]] = []

    @property
    def wants(self) -> dict[str, bool]:
        """Arguments of the forward pass that the terms need."""
        return {"output_hidden_states": True} if "hidden" in self.terms else {}

    def __call__(self, student: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Compute the loss of a student's outputs.

        Args:
            student: outputs of the student.
            inputs: the batch, without labels.
        """
        with torch.no_grad(), self.autocast():
            teacher = self.teacher(**inputs, **self.wants)
        mask = inputs["attention_mask"].bool()
        self.seen = [(ours.taken(), theirs.taken()) for ours, theirs in self.watched]
        loss = torch.zeros((), device=mask.device)
        for term in self.terms:
            loss = loss + getattr(self, f"_{term}")(student, teacher, mask)
        self.seen = []
        return loss

    def _logits(self, student: Any, teacher: Any, mask: Bool[Tensor, "batch time"]) -> Float[Tensor, ""]:
        losses = [self._softened(student[name], teacher[name], mask) for name in _OUTPUTS if name in teacher]
        if not losses:
            raise InputError("distillation: the model gives no logits; distil hidden or embeddings")
        return torch.stack(losses).mean()

    def _softened(self, student: Tensor, teacher: Tensor, mask: Bool[Tensor, "batch time"]) -> Float[Tensor, ""]:
        """Compute the temperature-softened Kullback-Leibler divergence, or the squared error of a single output."""
        if student.ndim == 3:
            student, teacher = student[mask], teacher[mask]
        if student.shape[-1] == 1:
            return functional.mse_loss(student.float(), teacher.float())
        t = self.temperature
        ours, theirs = (student.float() / t).log_softmax(-1), (teacher.float() / t).log_softmax(-1)
        # A softmax over positions (extractive answers) has -inf at padding on both sides.
        return t * t * functional.kl_div(ours, theirs, log_target=True, reduction="none").nan_to_num(0.0).sum(-1).mean()

    def _hidden(self, student: Any, teacher: Any, mask: Bool[Tensor, "batch time"]) -> Float[Tensor, ""]:
        """Sum the relative squared errors of the student's layers against the teacher's layers that they follow."""
        losses = []
        for name in (name for name in _STATES if name in teacher):
            ours, theirs = student[name], teacher[name]
            count, of = len(ours) - 1, len(theirs) - 1
            pairs = [(ours[i], theirs[teacher_layer(i, count, of)]) for i in range(1, count + 1)]
            losses += [_relative(own[mask].float(), wanted[mask].float()) for own, wanted in pairs]
        return torch.stack(losses).sum()

    def _attention(self, student: Any, teacher: Any, mask: Bool[Tensor, "batch time"]) -> Float[Tensor, ""]:
        pairs = mask[:, None, :, None] & mask[:, None, None, :]
        losses = []
        for (queries, keys, _), (wanted_queries, wanted_keys, _) in self.seen:
            if queries.shape[2] != wanted_queries.shape[2] or keys.shape[2] != wanted_keys.shape[2]:
                raise InputError("distillation: attention needs all heads, some of which this model has not any more")
            ours = _products(queries, keys, self.heads).masked_select(pairs)
            theirs = _products(wanted_queries, wanted_keys, self.heads).masked_select(pairs)
            losses.append(_relative(ours, theirs))
        return torch.stack(losses).sum()

    def _embeddings(self, student: Any, teacher: Any, mask: Bool[Tensor, "batch time"]) -> Float[Tensor, ""]:
        if "last_hidden_state" not in teacher:
            raise InputError("distillation: embeddings need a model without a head, such as a sentence encoder")
        weight = mask.float()
        ours, theirs = (
            functional.normalize(self.pooling(out["last_hidden_state"].float(), weight), dim=1)
            for out in (student, teacher)
        )
        apart = 1 - (ours * theirs).sum(1).mean()
        return apart + (ours @ ours.T - theirs @ theirs.T).square().mean()

    def _relations(self, student: Any, teacher: Any, mask: Bool[Tensor, "batch time"]) -> Float[Tensor, ""]:
        ours, theirs = self.seen[-1]
        losses = [_relation_loss(a, b, mask, self.heads) for a, b in zip(ours, theirs, strict=True)]
        return torch.stack(losses).mean()


class _Watch:
    """Keeps the outputs of some modules from the last forward pass."""

    def __init__(self, model: nn.Module, names: Sequence[str]):
        self._kept: dict[str, Tensor] = {}
        for name in names:
            model.get_submodule(name).register_forward_hook(self._keeper(name))

    def _keeper(self, name: str) -> Callable[..., None]:
        def keep(module: nn.Module, args: Any, output: Tensor) -> None:
            self._kept[name] = output

        return keep

    def taken(self) -> list[Tensor]:
        """Return the outputs kept and forget them."""
        kept, self._kept = list(self._kept.values()), {}
        return kept


def _relative(ours: Float[Tensor, "*values"], theirs: Float[Tensor, "*values"]) -> Float[Tensor, ""]:
    """Compute the squared error relative to the teacher's mean square."""
    return (ours - theirs).square().mean() / theirs.square().mean().clamp_min(1e-12)


def _relation_loss(
    ours: Float[Tensor, "batch time width"],
    theirs: Float[Tensor, "batch time other"],
    mask: Bool[Tensor, "batch time"],
    heads: int,
) -> Float[Tensor, ""]:
    """Compute the divergence of self-relations (softmax of scaled products of a tensor with itself) at real tokens."""
    # The most relation heads that divide both widths: the student may have fewer attention heads.
    heads = next(count for count in range(heads, 0, -1) if not (ours.shape[2] % count or theirs.shape[2] % count))

    def relation(x: Float[Tensor, "batch time own"]) -> Float[Tensor, "batch heads time time"]:
        return _products(x, x, heads).masked_fill(~mask[:, None, None, :], -1e4).log_softmax(-1)

    each = functional.kl_div(relation(ours), relation(theirs), log_target=True, reduction="none").sum(-1)
    rows = mask[:, None, :].expand(each.shape)
    return each[rows].mean()


def _products(
    queries: Float[Tensor, "batch time width"], keys: Float[Tensor, "batch time own"], heads: int
) -> Float[Tensor, "batch heads time time"]:
    """Compute the scaled products of queries and keys in every head; several heads may share keys."""
    batch, time, width = queries.shape
    size = width // heads
    left, right = (x.float().view(batch, time, -1, size).transpose(1, 2) for x in (queries, keys))
    right = right.repeat_interleave(heads // right.shape[1], 1)
    return left @ right.transpose(2, 3) / size**0.5
