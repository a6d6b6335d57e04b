"""Unpacking inside a compiled graph: ``dsformer::unpack_support``.

A graph cannot keep what it derives from a buffer from one run to the next, so the operator does: it unpacks a support
when it first meets it and hands out copies.
"""

import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from dsformer.factorization.form import FormSpec
from dsformer.factorization.pattern import Pattern
from dsformer.layers.derived import Derived
from dsformer.layers.packing import unpack_support

_LIBRARY = torch.library.Library("dsformer", "FRAGMENT")
_LIBRARY.define(
    "unpack_support(Tensor support, int groups, int candidates, int nonzeros, int n, int m) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_known = WeakTensorKeyDictionary()


def traceable_indices(
    spec: FormSpec, support: UInt8[Tensor, " bytes"] | None, device: torch.device
) -> Int[Tensor, "groups nonzeros"]:
    """The selected candidates (int32), by operations that can be part of a graph."""
    if support is None:
        full = torch.arange(spec.nonzeros, dtype=torch.int32, device=device)
        return full.expand(spec.groups, spec.nonzeros)
    pattern = spec.pattern
    return torch.ops.dsformer.unpack_support(support, spec.groups, spec.candidates, spec.nonzeros, pattern.n, pattern.m)


def _unpack(support: Tensor, groups: int, candidates: int, nonzeros: int, n: int, m: int) -> Tensor:
    # Only the support matters here: a spec with as many units as there are groups has the same one.
    spec = FormSpec("input", groups, 1, atoms=candidates, nonzeros=nonzeros, pattern=Pattern(n=n, m=m))
    derived = _known.setdefault(support, Derived())
    # A copy: a graph may write over a result it no longer needs.
    return derived.get((support,), lambda: unpack_support(spec, support).to(support.device)).clone()


def _fake(support: Tensor, groups: int, candidates: int, nonzeros: int, n: int, m: int) -> Tensor:
    return support.new_empty(groups, nonzeros, dtype=torch.int32)


torch.library.impl("dsformer::unpack_support", "default", _unpack, lib=_LIBRARY)
torch.library.register_fake("dsformer::unpack_support", _fake, lib=_LIBRARY)
