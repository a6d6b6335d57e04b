"""The least-squares problem of dictionary learning, the same for input and output dictionaries.

Find codes C (units x positions, sparse rows) and a dictionary D that minimise ``tr Eᵀ M E`` with ``E = X - C A``. The
rows of A are the atoms of D followed, if allowed, by the canonical atoms.

* Input dictionary: units are output rows, and ``X = W L``, where L whitens the inputs. M is the metric of the outputs
  if there is one, else I.
* Output dictionary: units are input columns, and ``X = Wᵀ L'``, where L' whitens the outputs if they have a metric.
  Here ``M = L Lᵀ``.

A metric M that is not I couples the units. Units are scaled to ``M_ii = 1`` and atoms to norm 1, so that one penalty
suits all of them.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.factorization.linalg import decompose_symmetric, to_low_precision
from dsformer.factorization.metric import Metric
from dsformer.format.form import Form
from dsformer.format.row_spans import RowSpan, stack_spans
from dsformer.format.spec import FormSpec

# Above this width the start is computed by a randomized range finder (Halko et al., arXiv 0909.4061).
RANDOMIZED_ABOVE = 1024


@dataclass(frozen=True)
class OutputMetric:
    """The metric M that couples units, scaled to a unit diagonal."""

    gram: Float[Tensor, "units units"]

    @cached_property
    def eigen(self) -> tuple[Float[Tensor, " units"], Float[Tensor, "units units"]]:
        """Eigenvalues and eigenvectors (columns) of M; only the pursuit needs them."""
        values, vectors = decompose_symmetric(self.gram)
        return values.clamp_min(0), vectors

    @cached_property
    def spread(self) -> float:
        """Fraction of the directions over which M is spread: 1 for the identity, 1 / units for a single direction."""
        return len(self.gram) / float(self.gram.square().sum())

    @cached_property
    def rough_vectors(self) -> Float[Tensor, "units units"]:
        """The eigenvectors in low precision."""
        return to_low_precision(self.eigen[1])

    def rotated(self, rows: Float[Tensor, "units width"]) -> Float[Tensor, "units width"]:
        """Rotate the units to the eigenbasis of M, in low precision."""
        return (self.rough_vectors.T @ to_low_precision(rows)).float()

    def rotated_back(self, rows: Float[Tensor, "units width"]) -> Float[Tensor, "units width"]:
        """Rotate the units back from the eigenbasis of M, in low precision."""
        return (self.rough_vectors @ to_low_precision(rows)).float()


@dataclass(frozen=True)
class LeastSquares:
    """Least-squares problem of one weight in one orientation, with the letters of the module's docstring.

    Attributes:
        target: X, unit-scaled and whitened.
        canonical: the canonical atoms in whitened coordinates, norm 1, one a row; None: the unit vectors.
        canonical_norm: the norms they had.
        whiten: maps atoms to whitened coordinates (``row @ whiten``); None: the identity.
        unwhiten: maps whitened atoms back; None: the identity.
        unit_scale: factor by which every row of X was scaled.
        coupling: M; None: the identity.
        spans: spans of units that may share a group.
    """

    target: Float[Tensor, "units width"]
    canonical: Float[Tensor, "width width"] | None
    canonical_norm: Float[Tensor, " width"]
    whiten: Float[Tensor, "width width"] | None
    unwhiten: Float[Tensor, "width width"] | None
    unit_scale: Float[Tensor, " units"]
    coupling: OutputMetric | None
    spans: tuple[RowSpan, ...]

    def of(self, weight: Float[Tensor, "units width"]) -> "LeastSquares":
        """Pose the same problem for another weight, given with one unit a row."""
        target = weight if self.whiten is None else weight @ self.whiten
        return replace(self, target=target * self.unit_scale[:, None])

    @cached_property
    def weighted_target(self) -> Float[Tensor, "units width"]:
        """The product ``M X``."""
        return self.target if self.coupling is None else self.coupling.gram @ self.target

    @cached_property
    def energy(self) -> float:
        """``tr Xᵀ M X``, the squared error of approximating X by zero."""
        return float((self.target * self.weighted_target).sum())

    @cached_property
    def canonical_gram(self) -> Float[Tensor, "width width"]:
        """Gram matrix ``CCᵀ`` of the canonical atoms C, one a row."""
        return torch.eye(self.target.shape[1]) if self.canonical is None else self.canonical @ self.canonical.T

    @cached_property
    def canonical_moment(self) -> Float[Tensor, "width width"]:
        """``CᵀC`` of the canonical atoms C, one a row."""
        assert self.canonical is not None
        return self.canonical.T @ self.canonical

    @cached_property
    def turned(self) -> tuple[Float[Tensor, " width"], Float[Tensor, "width width"], Float[Tensor, "units width"]]:
        """Eigenvalues of ``CᵀC``, and C and X in its eigenbasis. Constant in pruning, which learns no atoms."""
        assert self.canonical is not None
        values, basis = decompose_symmetric(self.canonical_moment)
        return values.clamp_min(0), self.canonical @ basis, self.target @ basis

    @cached_property
    def rough_turned(self) -> Float[Tensor, "width width"]:
        """The canonical atoms in the coordinates of ``turned``, in low precision."""
        return to_low_precision(self.turned[1])

    @cached_property
    def rough_canonical(self) -> Float[Tensor, "width width"] | None:
        """The canonical atoms in low precision; None: the unit vectors."""
        return None if self.canonical is None else to_low_precision(self.canonical)

    @cached_property
    def atom_gram(self) -> Float[Tensor, "width width"]:
        """``L Lᵀ``, the metric of atoms before they are whitened."""
        return torch.eye(self.target.shape[1]) if self.whiten is None else self.whiten @ self.whiten.T

    @cached_property
    def atom_eigen(self) -> tuple[Float[Tensor, " width"], Float[Tensor, "width width"]]:
        """Eigenvalues and eigenvectors (columns) of ``atom_gram``."""
        values, vectors = torch.linalg.eigh(self.atom_gram.double())
        return values.clamp_min(0).float(), vectors.float()

    @cached_property
    def plain_product(self) -> Float[Tensor, "units width"]:
        """Inner products of X with the unit vectors of plain coordinates."""
        return self.along_plain(self.target)

    def along_plain(self, rows: Float[Tensor, "units width"]) -> Float[Tensor, "units width"]:
        """Compute inner products with the unit vectors of plain coordinates, whose norms are not 1 (rows times Lᵀ)."""
        return rows if self.whiten is None else rows @ self.whiten.T

    @cached_property
    def canonical_product(self) -> Float[Tensor, "units width"]:
        """Inner products of X with the canonical atoms."""
        return self.along_canonical(self.target)

    def along_canonical(self, rows: Float[Tensor, "units width"]) -> Float[Tensor, "units width"]:
        """Compute inner products with the canonical atoms."""
        return rows if self.canonical is None else rows @ self.canonical.T

    def mix_canonical(self, codes: Float[Tensor, "units width"]) -> Float[Tensor, "units width"]:
        """Combine the canonical atoms with codes."""
        return codes if self.canonical is None else codes @ self.canonical

    def error(self, approximation: Float[Tensor, "units width"]) -> float:
        """Compute the relative error ``sqrt(tr EᵀME / tr XᵀMX)``, with E the residual of an approximation of X."""
        residual = self.target - approximation
        weighted = residual if self.coupling is None else self.coupling.gram @ residual
        return max(0.0, float((residual * weighted).sum()) / max(self.energy, 1e-30)) ** 0.5

    @cached_property
    def principal(self) -> tuple[Float[Tensor, " width"], Float[Tensor, "width width"]]:
        """Eigenvalues of ``XᵀMX``, descending, and its eigenvectors as rows: the unrotated SVD start."""
        moment = self.target.T @ self.weighted_target
        if len(moment) > RANDOMIZED_ABOVE:
            return randomized_eigh(moment, RANDOMIZED_ABOVE // 2)
        values, vectors = torch.linalg.eigh(moment.double())
        return values.flip(0).clamp_min(0).float(), vectors.flip(1).T.contiguous().float()

    def start(self, atoms: int) -> Float[Tensor, "atoms width"]:
        """Return the first ``atoms`` principal directions."""
        vectors = self.principal[1]
        if atoms > len(vectors):
            vectors = torch.linalg.eigh((self.target.T @ self.weighted_target).double()).eigenvectors
            vectors = vectors.flip(1).T.float()
        return vectors[:atoms].clone()

    def form(
        self,
        spec: FormSpec,
        codes: Float[Tensor, "units positions"],
        dictionary: Float[Tensor, "atoms width"],
        indices: Tensor,
        permutation: Tensor | None,
    ) -> Form:
        """Undo the scalings and pack codes and dictionary into a :class:`Form`.

        Args:
            spec: shape of the form.
            codes: dense codes, with units in the order of the weight.
            dictionary: learned atoms in whitened coordinates.
            indices: selected candidates of every group of units, ascending.
            permutation: units in the order of their groups; None: as in the weight.
        """
        codes, plain = self.plain(codes, dictionary)
        if permutation is not None:
            codes = codes[permutation]
        columns = spec.core + indices.repeat_interleave(spec.pattern.group, 0)
        values = torch.cat([codes[:, : spec.core], codes.gather(1, columns)], 1)
        oriented = plain if spec.orientation == "input" else plain.T
        return Form(spec, oriented.contiguous(), values.contiguous(), indices, permutation)

    def whitened(
        self, codes: Float[Tensor, "units positions"], dictionary: Float[Tensor, "atoms width"]
    ) -> tuple[Float[Tensor, "units positions"], Float[Tensor, "atoms width"]]:
        """Map codes and atoms (one a row) of the weight itself to this problem's coordinates, atoms at norm 1."""
        atoms = dictionary if self.whiten is None else dictionary @ self.whiten
        norm = atoms.norm(dim=1).clamp_min(1e-9)
        scale = torch.cat([norm, self.canonical_norm])[: codes.shape[1]]
        return codes * self.unit_scale[:, None] * scale, atoms / norm[:, None]

    def plain(
        self, codes: Float[Tensor, "units positions"], dictionary: Float[Tensor, "atoms width"]
    ) -> tuple[Float[Tensor, "units positions"], Float[Tensor, "atoms width"]]:
        """Map codes and atoms back to the weight's coordinates: inverse of :meth:`whitened` up to atom scales."""
        scale = torch.cat([self.canonical_norm.new_ones(len(dictionary)), self.canonical_norm])[: codes.shape[1]]
        atoms = dictionary if self.unwhiten is None else dictionary @ self.unwhiten
        return codes / self.unit_scale[:, None] / scale, atoms


def randomized_eigh(moment: Float[Tensor, "width width"], count: int) -> tuple[Tensor, Tensor]:
    """Compute the ``count`` leading eigenpairs (vectors as rows) of a PSD matrix; fixed seed, four power iterations."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(len(moment), min(len(moment), count + 16), generator=generator, dtype=moment.dtype)
    for _ in range(5):
        basis = torch.linalg.qr(moment @ basis).Q
    values, rotation = torch.linalg.eigh((basis.T @ moment @ basis).double())
    vectors = basis @ rotation.float()
    return values.flip(0)[:count].clamp_min(0).float(), vectors.flip(1).T[:count].contiguous()


def pose_input_problem(
    weight: Float[Tensor, "out in"],
    metric: Metric,
    spans: tuple[RowSpan, ...] | None = None,
    unit_weights: Float[Tensor, " out"] | None = None,
) -> LeastSquares:
    """Pose the problem of an input dictionary: output rows are approximated by atoms of the input space.

    Args:
        weight: the stacked weight.
        metric: metric of its error.
        spans: spans of rows that may share a group; None: all rows may.
        unit_weights: weight (> 0) of each row's squared error; not used where the outputs have a metric.
    """
    scale = torch.ones(len(weight)) if unit_weights is None else unit_weights.float().sqrt()
    coupling = None
    if metric.output is not None:
        scale, coupling = _coupling(metric.output)
    return LeastSquares(
        target=weight.float() @ metric.factor * scale[:, None],
        **_whitening(metric),
        unit_scale=scale,
        coupling=coupling,
        spans=spans or stack_spans([len(weight)]),
    )


def pose_output_problem(weight: Float[Tensor, "out in"], metric: Metric) -> LeastSquares:
    """Pose the problem of an output dictionary: input columns, coupled by the metric, in atoms of the output space."""
    scale, coupling = _coupling(metric)
    target, whitening = weight.float().T, _PLAIN | {"canonical_norm": torch.ones(len(weight))}
    if metric.output is not None:
        target, whitening = target @ metric.output.factor, _whitening(metric.output)
    return LeastSquares(
        target=target * scale[:, None],
        **whitening,
        unit_scale=scale,
        coupling=coupling,
        spans=stack_spans([weight.shape[1]]),
    )


_PLAIN: dict[str, Any] = {"canonical": None, "whiten": None, "unwhiten": None}


def _coupling(metric: Metric) -> tuple[Float[Tensor, " units"], OutputMetric]:
    """Return the scale of units that gives M a unit diagonal, and the scaled M."""
    scale = metric.gram.diagonal().sqrt()
    return scale, OutputMetric(metric.gram / scale[:, None] / scale[None])


def _whitening(metric: Metric) -> dict[str, Any]:
    """Return the fields of a problem that map atoms and unit vectors to the coordinates of a metric."""
    norm = metric.factor.norm(dim=1)
    identity = torch.eye(len(metric.factor))
    return {
        "canonical": metric.factor / norm[:, None],
        "canonical_norm": norm,
        "whiten": metric.factor,
        "unwhiten": torch.linalg.solve_triangular(metric.factor, identity, upper=False),
    }
