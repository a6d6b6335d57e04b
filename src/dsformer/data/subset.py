"""Subsets: taking fewer items than there are."""


def even_indices(total: int, count: int | None) -> list[int]:
    """Return `count` ascending, evenly spaced indices below `total`, so that sorted data keeps its proportions.

    All indices are returned if `count` is None or at least `total`.
    """
    if count is None or count >= total:
        return list(range(total))
    return [index * total // count for index in range(count)]
