import pytest

from dsformer.benchmarking.timing import LEAST_ROUNDS, Ratio, in_turn


def test_everybody_has_a_turn_every_round_and_another_begins():
    order: list[str] = []

    def run(name: str, seconds: float):
        return lambda: order.append(name) or seconds

    times = in_turn([run("a", 1.0), run("b", 2.0)], seconds=0)
    assert times == [[1.0] * LEAST_ROUNDS, [2.0] * LEAST_ROUNDS]
    assert order[:6] == ["a", "b", "a", "b", "b", "a"]


def test_rounds_end():
    assert len(in_turn([lambda: 0.0], seconds=60, most=7)[0]) == 7


def test_ratios_are_paired():
    ratio = Ratio.of([2.0, 40.0, 600.0], [1.0, 10.0, 100.0])
    assert (ratio.low, ratio.middle, ratio.high) == pytest.approx((3.0, 4.0, 5.0))
    assert str(ratio) == "4.00 (3.00 to 5.00)"
