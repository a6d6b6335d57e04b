"""Unpacking of supports inside a compiled graph: ``dsformer::unpack_support``, ``unpack_uneven``, ``unpack_banked``.

A graph cannot keep between runs what it derives from a buffer, so the operator keeps it: it unpacks a support when it
first meets it, and returns copies.
"""

from dataclasses import replace

import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from dsformer.format.indices import implied_support
from dsformer.format.pattern import Pattern
from dsformer.format.ragged import unpack_ragged_support
from dsformer.format.spec import FormSpec
from dsformer.format.support_codec import unpack_support
from dsformer.utils.tensor_cache import TensorCache

_LIBRARY = torch.library.Library("dsformer", "FRAGMENT")
_LIBRARY.define(
    "unpack_support(Tensor support, int groups, int candidates, int nonzeros, int n, int m) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_LIBRARY.define(
    "unpack_uneven(Tensor support, int units, int candidates, int nonzeros, int entries) -> (Tensor, Tensor)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_LIBRARY.define(
    "unpack_banked(Tensor support, int units, int candidates, int nonzeros, int entries, int atoms, bool output, "
    "int bank, int bits) -> (Tensor, Tensor)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_known = WeakTensorKeyDictionary()


def unpack_support_traceable(
    spec: FormSpec, support: UInt8[Tensor, " bytes"] | None, device: torch.device
) -> Int[Tensor, "groups nonzeros"]:
    """Return the selected candidates (int32) by operations that can be traced into a graph.

    Args:
        spec: of the form.
        support: the stored bytes; None where no support is stored.
        device: of the result, where no support is stored.
    """
    if support is None:
        return implied_support(spec, device)
    pattern = spec.pattern
    return torch.ops.dsformer.unpack_support(support, spec.groups, spec.candidates, spec.nonzeros, pattern.n, pattern.m)


def unpack_ragged_traceable(
    spec: FormSpec, support: UInt8[Tensor, " bytes"]
) -> tuple[Int[Tensor, "units nonzeros"], Int[Tensor, " entries"]]:
    """Return the results of ``unpack_ragged_support`` by operations that can be traced into a graph."""
    sizes = (spec.units, spec.candidates, spec.nonzeros, spec.code_count)
    if spec.pattern.bank:
        return torch.ops.dsformer.unpack_banked(
            support, *sizes, spec.atoms, spec.orientation == "output", spec.pattern.bank, sum(spec.support_bits)
        )
    return torch.ops.dsformer.unpack_uneven(support, *sizes)


def _unpack(support: Tensor, groups: int, candidates: int, nonzeros: int, n: int, m: int) -> Tensor:
    # Only the support matters here: a spec with one unit for each group has the same support.
    spec = FormSpec("input", groups, 1, atoms=candidates, nonzeros=nonzeros, pattern=Pattern(n=n, m=m))
    derived = _known.setdefault(support, TensorCache())
    # A copy, because a graph may write over a result that it no longer needs.
    return derived.get((support,), lambda: unpack_support(spec, support).to(support.device)).clone()


def _unpack_uneven(support: Tensor, units: int, candidates: int, nonzeros: int, entries: int) -> tuple[Tensor, Tensor]:
    spec = FormSpec("input", units, 1, atoms=candidates, nonzeros=nonzeros, ragged=((units, entries),))
    return _unpack_ragged(spec, support)


def _unpack_banked(
    support: Tensor,
    units: int,
    candidates: int,
    nonzeros: int,
    entries: int,
    atoms: int,
    output: bool,
    bank: int,
    bits: int,
) -> tuple[Tensor, Tensor]:
    canonical, width = candidates > atoms, max(1, candidates - atoms)
    blank = FormSpec("output", width, units, atoms) if output else FormSpec("input", units, width, atoms)
    ragged, pattern = ((units, entries),), Pattern(bank=bank)
    spec = replace(blank, canonical=canonical, nonzeros=nonzeros, pattern=pattern, ragged=ragged, support_bits=(bits,))
    return _unpack_ragged(spec, support)


def _unpack_ragged(spec: FormSpec, support: Tensor) -> tuple[Tensor, Tensor]:
    derived = _known.setdefault(support, TensorCache())
    indices, slots = derived.get((support,), lambda: unpack_ragged_support(spec, support))
    return indices.to(support.device).clone(), slots.to(support.device).clone()


def _fake_ragged(
    support: Tensor, units: int, candidates: int, nonzeros: int, entries: int, *_: int
) -> tuple[Tensor, Tensor]:
    indices = support.new_empty(units, nonzeros, dtype=torch.int32)
    return indices, support.new_empty(entries, dtype=torch.int64)


def _fake(support: Tensor, groups: int, candidates: int, nonzeros: int, n: int, m: int) -> Tensor:
    return support.new_empty(groups, nonzeros, dtype=torch.int32)


torch.library.impl("dsformer::unpack_support", "default", _unpack, lib=_LIBRARY)
torch.library.register_fake("dsformer::unpack_support", _fake, lib=_LIBRARY)
torch.library.impl("dsformer::unpack_uneven", "default", _unpack_uneven, lib=_LIBRARY)
torch.library.register_fake("dsformer::unpack_uneven", _fake_ragged, lib=_LIBRARY)
torch.library.impl("dsformer::unpack_banked", "default", _unpack_banked, lib=_LIBRARY)
torch.library.register_fake("dsformer::unpack_banked", _fake_ragged, lib=_LIBRARY)
