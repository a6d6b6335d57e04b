"""Monarch matrices: fit two block-diagonal factors with a fixed permutation between them.

With b blocks, the rows ``u % b == j`` of the weight and the i-th block of its inputs are a low-rank matrix of their
own. Without correlations between blocks of inputs the optimum is therefore an SVD of each (Dao et al., arXiv
2204.00595, where ranks are 1 and b is the square root of the width). That is the start here, each in its own part of
the metric. Alternating between the factors then takes correlations into account, by conjugate gradients
preconditioned with the systems of single blocks.

All products are of blocks. The letters of their indices: j class of rows, i block of inputs, p row within its class,
r rank, s input within its block, o all rows class by class, x all inputs.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.factorization.least_squares import LeastSquares
from dsformer.factorization.linalg import conjugate_gradients
from dsformer.format.form import Form
from dsformer.format.indices import implied_support
from dsformer.format.spec import FormSpec
from dsformer.utils.threads import raise_if_cancelled

# Conjugate-gradient steps in each update of a factor: twice as many end 0.05 % lower for half as much time again.
STEPS = 2
# Damping of a block's own system, relative to its mean diagonal: there may be nothing that the last ranks can explain.
# With less, rounding errors in directions of no weight grow until the error does (1e-5, in layers whose metric is about
# few outputs).
DAMPING = 1e-3


def fit_monarch(problem: LeastSquares, spec: FormSpec, rounds: int) -> tuple[Form, float]:
    """Fit a form with blocks to a least-squares problem. Deterministic.

    Args:
        problem: posed for an input dictionary.
        spec: shape of the form, which has blocks.
        rounds: alternations between the two factors.

    Returns:
        The form and its relative whitened error.
    """
    factors = Factors(problem, spec)
    factors.mix()
    for _ in range(rounds):
        raise_if_cancelled()
        factors.turn()
        factors.mix()
    return factors.form(), factors.error()


class Factors:
    """Both factors of one weight as they alternate.

    Args:
        problem: least-squares problem of the weight.
        spec: shape of the form.

    Attributes:
        left: factor of the outputs, with a block for each class of rows and block of inputs.
        right: factor of the inputs, with the same blocks.
    """

    left: Float[Tensor, "j i p r"]
    right: Float[Tensor, "j i r s"]

    def __init__(self, problem: LeastSquares, spec: FormSpec):
        self.problem, self.spec, b = problem, spec, spec.blocks
        each, self.size, self.rows = spec.atoms // b, spec.width // b, spec.units // b
        self.order = torch.arange(spec.units).view(self.rows, b).T.reshape(-1)
        # Position of every atom: its class of rows, its block of inputs, and its place within both. Some pairs of class
        # and block may have one atom less than others.
        atoms = torch.arange(spec.atoms)
        first = atoms // each * each
        self.places = (atoms % b, atoms // each, (atoms - first) // b)
        self.rank = -(-each // b)
        self.inputs = problem.atom_gram.view(b, self.size, spec.width)
        self.own_inputs = torch.stack([self.inputs[i, :, i * self.size : (i + 1) * self.size] for i in range(b)])
        self.of_inputs = _inverse(self.own_inputs)
        if problem.coupling is not None:
            self.outputs = problem.coupling.gram[self.order][:, self.order].view(b, self.rows, spec.units)
        self.wanted = self._pairs(problem.along_plain(problem.weighted_target))
        self.right = self._projected()
        self.left = torch.zeros(b, b, self.rows, self.rank)

    def _pairs(self, weight: Float[Tensor, "out in"]) -> Float[Tensor, "j i p s"]:
        """Cut a weight into its blocks: one for each class of rows and block of inputs."""
        b = self.spec.blocks
        return weight[self.order].view(b, self.rows, b, self.size).transpose(1, 2)

    def _projected(self) -> Float[Tensor, "j i r s"]:
        """Return the leading right singular vectors of every block of the weight, in the metric of its inputs."""
        unwhiten = self.problem.unwhiten
        weight = self._pairs(self.problem.target if unwhiten is None else self.problem.target @ unwhiten)
        factor = torch.linalg.cholesky(self.own_inputs)
        singular = torch.linalg.svd(weight @ factor, full_matrices=False).Vh[:, :, : self.rank]
        # Small blocks have fewer singular vectors than atoms.
        right = torch.zeros(*singular.shape[:2], self.rank, self.size)
        right[:, :, : singular.shape[2]] = torch.linalg.solve_triangular(factor, singular, upper=False, left=False)
        there = torch.zeros(right.shape[:3])
        there[self.places] = 1
        return right * there[..., None]

    def mix(self) -> None:
        """Update the left factor for the present right one, to the optimum where the metric does not couple rows."""
        b, r, coupled = self.spec.blocks, self.rank, self.problem.coupling is not None
        along = torch.einsum("jirs,isx->jirx", self.right, self.inputs).reshape(-1, b, self.size)
        gram = torch.einsum("nis,kirs->nkir", along, self.right).reshape(b, b * r, -1)
        own = torch.stack([gram[j, :, j * b * r : (j + 1) * b * r] for j in range(b)])
        inverse = _inverse(own)

        def apply(left: Float[Tensor, "j p ir"]) -> Float[Tensor, "j p ir"]:
            if not coupled:
                return left @ own
            every = (left @ gram).reshape(self.spec.units, b, b * r)
            return torch.einsum("jpo,ojn->jpn", self.outputs, every)

        wanted = torch.einsum("jips,jirs->jpir", self.wanted, self.right).reshape(b, self.rows, b * r)
        start = self.left.transpose(1, 2).reshape(b, self.rows, b * r)
        found = conjugate_gradients(apply, wanted, start, STEPS, lambda rest: rest @ inverse)
        self.left = found.view(b, self.rows, b, r).transpose(1, 2)

    def turn(self) -> None:
        """Update the right factor for the present left one, then scale its atoms to norm 1."""
        b, r = self.spec.blocks, self.rank
        system = self._system()
        own = torch.stack([system[j, i, :, j, i] for j in range(b) for i in range(b)]).view(b, b, r, r)
        of_codes = _inverse(own)

        def apply(right: Float[Tensor, "j i r s"]) -> Float[Tensor, "j i r s"]:
            mixed = torch.einsum("nkir,kirs->nis", system.reshape(-1, b, b, r), right)
            return torch.einsum("jirx,isx->jirs", mixed.reshape(b, b, r, -1), self.inputs)

        wanted = torch.einsum("jipr,jips->jirs", self.left, self.wanted)
        found = conjugate_gradients(apply, wanted, self.right, STEPS, lambda rest: of_codes @ rest @ self.of_inputs)
        # For an atom near zero, rounding errors may make the energy negative.
        energy = torch.einsum("jirs,ist,jirt->jir", found, self.own_inputs, found)
        norm = energy.clamp_min(1e-18).sqrt()[..., None]
        self.right, self.left = found / norm, self.left * norm.transpose(2, 3)

    def _system(self) -> Float[Tensor, "j i r j i r"]:
        """Compute ``CᵀMC`` of the left factor C."""
        b, r = self.spec.blocks, self.rank
        if self.problem.coupling is None:
            own = torch.einsum("jipr,jkpq->jirkq", self.left, self.left)
            return torch.einsum("jirkq,jl->jirlkq", own, torch.eye(b))
        metric = self.outputs.view(-1, b, self.rows)
        weighted = torch.einsum("ojp,jipr->ojir", metric, self.left).reshape(b, self.rows, -1)
        return torch.einsum("jipr,jpn->jirn", self.left, weighted).view(b, b, r, b, b, r)

    def error(self) -> float:
        """Compute the relative whitened error."""
        pairs = (self.left @ self.right).transpose(1, 2).reshape(self.spec.units, self.spec.width)
        whole = torch.empty_like(pairs)
        whole[self.order] = pairs
        return self.problem.error(whole if self.problem.whiten is None else whole @ self.problem.whiten)

    def form(self) -> Form:
        """Return the form of the present factors."""
        spec = self.spec
        group, block, place = self.places
        dictionary = torch.zeros(spec.atoms, spec.blocks, self.size)
        dictionary[torch.arange(spec.atoms), block] = self.right[self.places]
        values = torch.empty(self.rows, spec.blocks, spec.nonzeros)
        for j in range(spec.blocks):
            own = group == j
            values[:, j] = self.left[j, block[own], :, place[own]].T
        values = values.view(spec.units, -1) / self.problem.unit_scale[:, None]
        return Form(spec, dictionary.view(spec.atoms, spec.width), values, implied_support(spec).clone())


def _inverse(systems: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """Invert symmetric matrices with damping, accurately enough for a preconditioner."""
    scale = systems.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-30)
    damped = systems + DAMPING * scale[..., None, None] * torch.eye(systems.shape[-1])
    return torch.cholesky_inverse(torch.linalg.cholesky(damped))
