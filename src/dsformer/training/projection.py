"""Warm projections: from a block's weight to a nearby factorization, starting from the present one."""

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.factorization.dense_sparse import refit
from dsformer.factorization.least_squares import pose_input_problem, pose_output_problem
from dsformer.factorization.metric import Metric
from dsformer.format.spec import FormSpec
from dsformer.training.parametrization import LearnedBlock


class Projection:
    """Projects one block in the metric of its inputs.

    Args:
        block: updated by every projection.
        metric: second moments of the layer's inputs on the task's text, and of its outputs if measured.
        weight: the dense weight the factorization was made from, one row a unit.
    """

    def __init__(self, block: LearnedBlock, metric: Metric, weight: Float[Tensor, "units width"]):
        self.block, self.weight = block, weight
        if block.spec.orientation == "input":
            self.problem = pose_input_problem(weight, metric)
        else:
            self.problem = pose_output_problem(weight.T, metric)

    @torch.no_grad()
    def __call__(self, target: Float[Tensor, "units width"], spec: FormSpec, iterations: int) -> None:
        """Set the block to the factorization near the present one that fits ``target``.

        Args:
            target: the weight to project, one row a unit.
            spec: the block's, with the number of non-zeros wanted.
            iterations: pursuit steps.
        """
        block = self.block
        # Projections run on the CPU, where their least-squares problem is stored.
        problem = self.problem.of(target.cpu())
        codes, dictionary = problem.whitened(block.codes().cpu(), block.dictionary.detach().cpu())
        codes, mask, dictionary = refit(problem, spec, codes, dictionary, block.order.cpu(), iterations)
        codes, dictionary = problem.plain(codes, dictionary)
        norm = dictionary.norm(dim=1, keepdim=True).clamp_min(1e-9)
        codes[:, : spec.atoms] *= norm.T
        block.take(codes, mask, dictionary / norm)


def orient(weight: Float[Tensor, "out in"], spec: FormSpec) -> Float[Tensor, "units width"]:
    """Return a weight with one row a unit: transposed for an output dictionary."""
    return weight if spec.orientation == "input" else weight.T.contiguous()
