"""What a method of compression is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.search import Budget, Family, Fitted
from dsformer.factorization.target import Target
from dsformer.format.pattern import Pattern

Kind = Literal["free", "grouped", "n:m"]


@dataclass(frozen=True)
class Method:
    """A way to compress one weight.

    Attributes:
        fit: the form of a weight within a budget of bits; None when it has none that fits.
        patterns: kinds of patterns it has forms of; none: it has no supports.
        families: what a search over shapes would look at, for a weight's shape, a pattern, and whether layers are
            stacked; None for methods that do not search.
        operations: what a fit costs beside whitening, for a weight's shape, its stacked layers' outputs, a budget, an
            effort, and whether outputs have a metric; None: what a search over its families does.
        about: what it does and where it was published, in one line.
        quantizes: its forms have integers, of as many bits as fit: every weight gets the same ratio (types of values
            are a part of it), and they cannot be trained.
        prunes: its forms are entries of the weight and nothing else.
        structured: whole heads and neurons go, so it is about blocks together (see ``channel_plan``), which then have
            dense weights of fewer rows and columns.
        drops_layers: first whole layers go, as many as the ratio allows.
        sparse_dictionary: its dictionaries are sparse, which tables have no form of and projections do not keep.
        shares_dictionaries: its dictionaries can be those of several layers (see ``allocation.basis_sharing``).
        per_layer: layers that read the same input are not stacked.
        rank_gain: its errors are about those of low rank at so many times the rank that the same bits have (1.6:
            measured on MiniLM, ``dense_sparse``, free pattern, 2x to 3.57x); bits are divided between blocks by that.
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
        """Why it has no forms of this pattern; None: it has."""
        kind: Kind = "n:m" if pattern.m else "grouped" if pattern.group > 1 else "free"
        if kind in self.patterns or (kind == "free" and not self.patterns):
            return None
        if not self.patterns:
            return f"has no supports to constrain, so no pattern {pattern}"
        return f"has supports that are {' or '.join(self.patterns)}, not {pattern}"
