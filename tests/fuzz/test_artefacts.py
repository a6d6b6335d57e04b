"""A few of the cases of ``artefacts.py``: ``make fuzz`` has many more."""

from collections import Counter

import pytest

from fuzz.judging import FINE, OTHER, REFUSED, SAME, Judge
from fuzz.kinds import build

CASES = 200


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    folder = tmp_path_factory.mktemp("fuzz")
    build(folder / "whole")
    return Judge(folder / "whole", folder)


def test_damage_is_met(judge: Judge):
    verdicts = [judge.judge(seed) for seed in range(CASES)]
    assert [verdict for verdict in verdicts if verdict.outcome not in FINE] == []
    counts = Counter(verdict.outcome for verdict in verdicts)
    assert counts[REFUSED] > counts[SAME] > 0 < counts[OTHER]
    assert judge.judge(3) == verdicts[3]


def test_bad_loads_are_told(judge: Judge, monkeypatch: pytest.MonkeyPatch):
    """With the comparison off, which is what it is there for."""
    monkeypatch.setenv("DSFORMER_VERIFY", "0")
    assert "OTHER OUTPUTS" in {judge.judge(seed).outcome for seed in range(40)}
