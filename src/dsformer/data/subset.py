"""Taking fewer items than there are."""


def even_indices(total: int, count: int | None) -> list[int]:
    """`count` ascending indices below `total` at even distances, so that sorted data keeps its proportions.

    All of them if `count` is None or at least `total`.
    """
    if count is None or count >= total:
        return list(range(total))
    return [index * total // count for index in range(count)]
