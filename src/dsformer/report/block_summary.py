"""Summary of one block: its form, its error and its bytes."""

from dataclasses import dataclass

from dsformer.allocation.planned_block import FittedBlock, dense_bytes
from dsformer.format.accounting import ValueTypes, count_support_bytes, describe_form
from dsformer.format.quantized import QuantizedForm


@dataclass(frozen=True)
class BlockSummary:
    """One block: its form, its whitened relative error, and its bytes before and after, by kind.

    Attributes:
        names: of its modules.
        kind: type of its layers.
        shape: of the stacked dense weight, (out, in).
        form: a description of the form.
        orientation: ``input`` or ``output``: the space of the dictionary's atoms.
        pattern: constraint on supports.
        atoms: learned atoms.
        core: atoms that every unit uses.
        nonzeros: further atoms of a unit, on average.
        canonical: whether unit vectors are atoms too.
        error: relative, whitened.
        bytes_before: of weights and biases.
        dictionary, codes, scales, support, permutation, bias: bytes of each.
        kept: shape that structured pruning leaves, that of the form; None: not pruned.
        inputs: number of different inputs of its layers.
        dictionary_nonzeros: entries of an atom of a sparse dictionary; 0: it is dense.
        uneven: number of codes, if units have different numbers of them; 0: they do not.
    """

    names: tuple[str, ...]
    kind: str
    shape: tuple[int, int]
    form: str
    orientation: str
    pattern: str
    atoms: int
    core: int
    nonzeros: int
    canonical: bool
    error: float
    bytes_before: int
    dictionary: int
    codes: int
    scales: int
    support: int
    permutation: int
    bias: int
    kept: tuple[int, int] | None = None
    inputs: int = 1
    dictionary_nonzeros: int = 0
    uneven: int = 0

    @classmethod
    def of(cls, one: FittedBlock, types: ValueTypes) -> "BlockSummary":
        """Summarize a fitted block whose values have these types."""
        planned, fitted = one.planned, one.fitted
        form, spec = fitted.form, fitted.form.spec
        precision = form.precision if isinstance(form, QuantizedForm) else types.factors
        supports, permutations = count_support_bytes(spec, planned.block.members)
        return cls(
            names=planned.block.names,
            kind=planned.block.kind,
            shape=planned.block.shape,
            form=describe_form(spec),
            orientation=spec.orientation,
            pattern=str(spec.pattern),
            atoms=spec.atoms,
            core=spec.core,
            nonzeros=round(spec.mean_nonzeros),
            canonical=spec.canonical,
            error=fitted.error,
            bytes_before=dense_bytes(planned.block, types),
            dictionary=spec.dictionary_bytes(precision),
            codes=spec.code_bytes(precision),
            scales=spec.scale_bits(precision) // 8,
            support=supports,
            permutation=permutations,
            bias=planned.bias_count * types.rest // 8,
            kept=None if planned.kept is None else planned.kept.shape(planned.block.shape),
            inputs=max(1, len(planned.block.inputs)),
            dictionary_nonzeros=spec.dictionary_nonzeros,
            uneven=spec.code_count if spec.ragged else 0,
        )

    @property
    def values(self) -> int:
        """Number of values stored for the weight, without scales."""
        shape = self.kept or self.shape
        units, width = shape if self.orientation == "input" else shape[::-1]
        return self.atoms * (self.dictionary_nonzeros or width) + (self.uneven or units * (self.core + self.nonzeros))

    @property
    def bytes_after(self) -> int:
        """Bytes of the compressed block."""
        return self.dictionary + self.codes + self.scales + self.support + self.permutation + self.bias

    @property
    def ratio(self) -> float:
        """Bytes before / after."""
        return self.bytes_before / self.bytes_after
