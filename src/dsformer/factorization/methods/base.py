"""The interface of a compression method: its fit function and flags that say what else it needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.search import Budget, Family, Fitted
from dsformer.factorization.target import Target
from dsformer.format.pattern import Pattern

Kind = Literal["free", "grouped", "n:m", "banked"]


@dataclass(frozen=True)
class Method:
    """A way to compress one weight.

    Attributes:
        fit: function that compresses one weight. Its arguments are the weight as a ``Target``, the budget in bits, the
            pattern of the supports and the effort. It returns the chosen form with its error; None: nothing fits.
        about: what it does and where it was published, in one line.
        patterns: kinds of patterns it has forms of; empty: its forms have no supports.
        families: families of shapes that its search goes through. Arguments: the weight's shape (out, in), the pattern,
            and whether layers are stacked. None for methods that do not search.
        operations: operations of a fit beside whitening, at the rate of a matrix product. Arguments: the weight's shape
            (out, in), output features of the stacked layers, the budget, the effort, and whether outputs have a metric.
            None: those of a search over its families.
        quantizes: its forms have integers, of as many bits as fit. Every weight then gets the same ratio, of which the
            type of the values is a part, and forms cannot be trained.
        prunes: its forms are entries of the weight and nothing else.
        structured: whole heads and neurons are removed, chosen for all blocks together (see
            ``allocation.structured_plan``). Blocks then have dense weights of fewer rows and columns.
        drops_layers: whole layers are removed first, as many as the ratio allows.
        sparse_dictionary: its dictionaries are sparse. Embedding tables have no such form, and learners that project do
            not keep it.
        shares_dictionaries: one dictionary can serve several layers (see ``allocation.basis_sharing``).
        per_layer: layers that read the same input are not stacked.
        rank_gain: its errors are about those of low rank at this multiple of the rank that the same bits have. Bits are
            divided between blocks by that (1.6: measured on MiniLM, ``dense_sparse``, free pattern, 2x to 3.57x).
    """

    fit: Callable[[Target, Budget, Pattern, Effort], Fitted | None]
    about: str
    patterns: tuple[Kind, ...] = ()
    families: Callable[[tuple[int, int], Pattern, bool], list[Family]] | None = None
    operations: Callable[[tuple[int, int], tuple[int, ...], Budget, Effort, bool], float] | None = None
    quantizes: bool = False
    prunes: bool = False
    structured: bool = False
    drops_layers: bool = False
    sparse_dictionary: bool = False
    shares_dictionaries: bool = False
    per_layer: bool = False
    rank_gain: float = 1.6

    def refuses(self, pattern: Pattern) -> str | None:
        """Return why the method has no forms of a pattern; None where it has."""
        kind: Kind = "n:m" if pattern.m else "banked" if pattern.bank else "grouped" if pattern.group > 1 else "free"
        if kind in self.patterns or (kind == "free" and not self.patterns):
            return None
        if not self.patterns:
            return f"has no supports to constrain, so no pattern {pattern}"
        return f"has supports that are {' or '.join(self.patterns)}, not {pattern}"
