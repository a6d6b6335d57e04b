"""Stable matching (Gale and Shapley, 1962)."""

import numpy as np


def deferred_acceptance(gain: np.ndarray, capacity: int) -> np.ndarray:
    """Stable assignment of units to groups of ``capacity``: units propose in order of gain, groups keep the best.

    Gale and Shapley (1962), all free units proposing at once. gain: (units, groups), units = groups * capacity.
    Returns the group of every unit.
    """
    units, groups = gain.shape
    preference = np.argsort(-gain, axis=1)
    proposals = np.zeros(units, dtype=np.int64)
    labels = preference[:, 0].copy()
    rows = np.arange(units)
    while True:
        order = np.lexsort((-gain[rows, labels], labels))
        starts = np.searchsorted(labels[order], np.arange(groups))
        rank = np.empty(units, dtype=np.int64)
        rank[order] = rows - starts[labels[order]]
        rejected = np.flatnonzero(rank >= capacity)
        if len(rejected) == 0:
            return labels
        proposals[rejected] += 1
        labels[rejected] = preference[rejected, proposals[rejected]]
