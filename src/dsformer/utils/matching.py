"""Stable matching of units and groups (Gale and Shapley, 1962)."""

import numpy as np


def deferred_acceptance(gain: np.ndarray, capacity: int) -> np.ndarray:
    """Compute a stable assignment of units to groups of ``capacity``.

    Units propose in order of gain, and groups keep the best (Gale and Shapley, 1962). All free units propose at once.

    Args:
        gain: (units, groups) of each unit in each group; units = groups * capacity.
        capacity: units of a group.

    Returns:
        The group of every unit.
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
