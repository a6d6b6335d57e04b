import pytest

from dsformer.data.subset import even_indices


@pytest.mark.parametrize(
    ("total", "count", "expected"),
    [(6, 3, [0, 2, 4]), (5, 2, [0, 2]), (3, 3, [0, 1, 2]), (3, 9, [0, 1, 2]), (3, None, [0, 1, 2]), (9, 1, [0])],
)
def test_even_indices(total: int, count: int | None, expected: list[int]):
    assert even_indices(total, count) == expected
