import json
import pwd
import stat
from functools import partial
from pathlib import Path

import pytest
import torch

from dsformer.format.pattern import Pattern
from dsformer.format.spec import FormSpec
from dsformer.ops.cpu import CpuPlan, tune, tuning
from fixtures.forms import random_form
from fixtures.native import native_library  # noqa: F401

pytestmark = pytest.mark.usefixtures("native_library")
SPEC = FormSpec("input", 64, 48, atoms=16, nonzeros=12)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DSFORMER_AUTOTUNE", "1")
    monkeypatch.setenv("DSFORMER_CACHE", str(tmp_path / "cache"))
    tuning.forget()
    yield tmp_path / "cache" / "tuning.json"
    tuning.forget()


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Measures nothing: panels of 2 take half as long as others, the kernels for few tokens are twice as fast up to 16.
    Holds the numbers of tokens that were asked for."""
    asked: list[int] = []

    def shortest(plans: list[CpuPlan], tokens: int) -> list[float]:
        asked.append(tokens)
        settings = [plan.tuning() for plan in plans]
        if tokens == tuning.PANEL_TOKENS:
            return [0.5 if one["panel_vectors"] == 2 else 1.0 for one in settings]
        return [0.5 if one["small_tokens"] > 0 else 1.0 for one in settings]

    monkeypatch.setattr(tuning, "_times", shortest)
    return asked


def plan(spec: FormSpec = SPEC, dtype: torch.dtype = torch.float32) -> CpuPlan:
    return tune(spec, dtype, partial(CpuPlan.of, random_form(spec), None, None, "none"))


def test_pairs_of_bfloat16_are_not_taken_where_single_precision_is_faster(cache: Path, monkeypatch: pytest.MonkeyPatch):
    def shortest(plans: list[CpuPlan], tokens: int) -> list[float]:
        return [0.5 if plan.tuning()["unpaired"] else 1.0 for plan in plans]

    monkeypatch.setattr(tuning, "_times", shortest)
    make = partial(CpuPlan.of, random_form(SPEC, dtype=torch.bfloat16), None, None, "none", dtype=torch.bfloat16)
    assert tune(SPEC, torch.bfloat16, make).tuning()["unpaired"] == 1
    tuning.forget()
    assert tune(SPEC, torch.bfloat16, make).tuning()["unpaired"] == 1
    assert plan().tuning()["unpaired"] == 0


def test_what_is_clearly_faster_is_taken_and_remembered(cache: Path, times: list[int]):
    found = plan().tuning()
    assert (found["panel_vectors"], found["small_tokens"]) == (2, 16)
    measured = len(times)
    assert measured == len(tuning.PANELS) - 1 + len(tuning.FEW)
    plan(FormSpec("input", 64, 48, atoms=20, nonzeros=9))  # the same kind
    tuning.forget()
    assert plan().tuning() == found
    assert len(times) == measured
    plan(FormSpec("input", 64, 48, atoms=16, nonzeros=12, pattern=Pattern(group=8)))
    assert len(times) == 2 * measured
    assert len(json.loads(cache.read_text())) == 2


def test_real_times_change_no_result():
    x = torch.randn(40, 48)
    usual = CpuPlan.of(random_form(SPEC))
    torch.testing.assert_close(plan()(x)[0], usual(x)[0], rtol=1e-5, atol=1e-5)


def test_the_usual_is_kept_unless_another_is_clearly_faster(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tuning, "_times", lambda plans, tokens: [1.0, 0.97])
    usual = CpuPlan.of(random_form(SPEC)).tuning()
    assert plan().tuning() == usual
    assert list(json.loads(cache.read_text()).values()) == [{}]


@pytest.mark.parametrize(
    ("few", "limit"), [((0.5, 0.5, 2, 2), {"small_tokens": 4}), ((2, 2, 2, 2), {"small_tokens": 1}), ((1, 1, 1, 1), {})]
)
def test_limits_of_few_tokens(few: tuple[float, ...], limit: dict[str, int]):
    pairs = {tokens: [time, 1.0] for tokens, time in zip(tuning.FEW, few, strict=True)}
    assert tuning._limit(pairs, usual=8) == limit


def test_large_layers_are_not_measured(times: list[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tuning, "LARGEST", 1000)
    assert plan().tuning() == CpuPlan.of(random_form(SPEC)).tuning()
    assert not times


def test_it_can_be_turned_off(cache: Path, times: list[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DSFORMER_AUTOTUNE", "0")
    assert plan().tuning() == CpuPlan.of(random_form(SPEC)).tuning()
    assert not times
    assert not cache.exists()


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1', '{"a": {"panel_vectors": "x"}, "b": {"c": 1}, "d": 2}'])
def test_a_damaged_file_is_written_anew(cache: Path, times: list[int], content: str):
    cache.parent.mkdir()
    cache.write_text(content)
    assert plan().tuning()["panel_vectors"] == 2
    assert list(json.loads(cache.read_text()).values()) == [{"panel_vectors": 2, "small_tokens": 16}]


def test_a_directory_that_cannot_be_written_does_no_harm(cache: Path, times: list[int]):
    cache.parent.write_text("a file")
    assert plan().tuning()["panel_vectors"] == 2
    assert stat.S_ISREG(cache.parent.stat().st_mode)


def test_nowhere_to_keep_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """As in a container whose user has no entry in the list of users."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DSFORMER_CACHE", "~/kept")
    assert tuning.file() == tmp_path / "kept" / "tuning.json"

    def unknown(_: int) -> None:
        raise KeyError("no such user")

    for name in ("HOME", "DSFORMER_CACHE", "XDG_CACHE_HOME", "DSFORMER_AUTOTUNE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert tuning.file() is None
    tuning._write({"kind": {"panel_vectors": 2}})
    assert tuning._read() == {}
