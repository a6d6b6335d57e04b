"""A block of two block-diagonal factors, as Monarch matrices have them: batched products of small dense matrices."""

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.factorization.form import Form


class BlockDiagonalPlan:
    """As :class:`CpuPlan`, for a form with ``blocks``: inputs by blocks to atoms, atoms by classes to outputs.

    PyTorch's batched product is as good as there is for this, so that only the permutation in between costs more than a
    product of as many multiply-adds.
    """

    def __init__(self, form: Form, bias: Float[Tensor, " out"] | None, members: Sequence[int]):
        spec, b = form.spec, form.spec.blocks
        self.blocks, self.rank, rows = b, spec.nonzeros, spec.units // b
        own = form.dictionary.view(b, self.rank, b, -1).diagonal(dim1=0, dim2=2)
        self.inputs = own.permute(2, 1, 0).contiguous()
        self.outputs = form.values.view(rows, b, self.rank).permute(1, 2, 0).contiguous()
        self.bias = None if bias is None else bias.view(rows, 1, b).permute(2, 1, 0).contiguous()
        ends = list(accumulate(members, initial=0))
        self.members = [(start // b, end // b) for start, end in pairwise(ends)]

    def __call__(self, x: Float[Tensor, "*batch in"]) -> list[Tensor]:
        """One tensor (..., out_features) for every member."""
        leading, b = x.shape[:-1], self.blocks
        tokens = leading.numel()
        products = torch.bmm(x.reshape(tokens, b, self.inputs.shape[1]).transpose(0, 1), self.inputs)
        # Atom a is of block a // rank and of class a % b.
        atoms = products.transpose(0, 1).reshape(tokens, self.rank, b).permute(2, 0, 1)
        if self.bias is None:
            y = torch.bmm(atoms, self.outputs)
        else:
            y = torch.baddbmm(self.bias, atoms, self.outputs)
        # Output u is of class u % b.
        ys = [y[:, :, start:end].permute(1, 2, 0).reshape(*leading, (end - start) * b) for start, end in self.members]
        return [one.contiguous() for one in ys]
