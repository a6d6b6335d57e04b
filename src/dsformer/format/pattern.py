"""Sparsity patterns of the codes: free, grouped, n:m, banked."""

from typing import Self

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dsformer.errors import InputError
from dsformer_runtime.artefact import pattern as artefact_pattern
from dsformer_runtime.artefact.banked import LARGEST_BANK, STEP
from dsformer_runtime.errors import RuntimeInputError


class Pattern(artefact_pattern.Pattern):
    """A constraint on supports, as the runtime reads it."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``free``, ``grouped(8)``, ``2:4`` or ``banked(64)``.

        Raises:
            InputError: the text is none of these.
        """
        try:
            return super().parse(text)
        except RuntimeInputError:
            raise InputError(
                f"pattern: {text[:40]!r} is not one of free, grouped(g) with g from 2 to {artefact_pattern.LARGEST}, "
                f"n:m with 1 <= n < m, banked(b) with b a multiple of {STEP} up to {LARGEST_BANK}"
            ) from None


FREE = Pattern()


def largest(scores: Float[Tensor, "units candidates"], count: int) -> Bool[Tensor, "units candidates"]:
    """Return a mask of exactly the ``count`` largest entries of every row.

    Args:
        scores: what is compared.
        count: true entries of a row.
    """
    rows, width = scores.shape
    if not 0 < count < width:
        return torch.full((rows, width), count > 0, dtype=torch.bool, device=scores.device)
    # On CPU, NumPy's vectorised partition of values is many times faster than any selection of indices.
    table = scores.cpu().numpy()
    threshold = np.partition(table, width - count, axis=1)[:, width - count]
    mask = table >= threshold[:, None]
    tied = np.flatnonzero(np.count_nonzero(mask, axis=1) != count)
    if len(tied):
        mask[tied] = False
        index = np.argpartition(table[tied], width - count, axis=1)[:, width - count :]
        mask[tied[:, None], index] = True
    return torch.from_numpy(mask).to(scores.device)


def n_of_m(scores: Float[Tensor, "units candidates"], n: int, m: int) -> Bool[Tensor, "units candidates"]:
    """Return a mask of the ``n`` largest of every set of ``m`` atoms.

    Set j holds the atoms j, j + q, j + 2q, ... with q = candidates / m. Sets are taken by stride because SVD atoms are
    sorted by energy: neighbours have about the same energy and would compete.

    Args:
        scores: what is compared.
        n: true entries of a set.
        m: atoms of a set.
    """
    units, width = scores.shape
    strided = scores.reshape(units, m, width // m).transpose(1, 2)
    mask = largest(strided.reshape(-1, m), n).reshape(units, width // m, m)
    return mask.transpose(1, 2).reshape(units, width)
