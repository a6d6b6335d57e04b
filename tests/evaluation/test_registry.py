from collections.abc import Iterator
from pathlib import Path

import pytest

from dsformer.errors import InputError
from dsformer.evaluation import TASKS, Inputs, Score, Task, evaluate


@pytest.fixture
def counting_task() -> Iterator[str]:
    """A task added from outside, which gives back the limit as its value."""

    def measure(inputs: Inputs) -> Score:
        return Score("counting", "limit", float(inputs.limit or 0), None, len(inputs.encode(["a", "b"])))

    TASKS["counting"] = Task(measure)
    yield "counting"
    del TASKS["counting"]


def test_a_registered_task_runs_and_is_timed(counting_task: str, word_encoder):
    score = evaluate(word_encoder(), [counting_task], limit=7)[counting_task]
    assert (score.value, score.count) == (7, 2)
    assert score.seconds > 0


def test_scores_come_in_the_order_asked_for(counting_task: str, word_encoder):
    encoder = word_encoder()
    assert list(evaluate(encoder, ["fidelity", counting_task], original=encoder, limit=2)) == ["fidelity", "counting"]


def test_fidelity_of_a_model_to_itself_and_to_a_noisy_copy(word_encoder):
    encoder = word_encoder()
    same = evaluate(encoder, ["fidelity"], original=encoder, limit=20)["fidelity"]
    assert same.value == pytest.approx(100, abs=1e-4)
    assert same.spread == pytest.approx(0, abs=1e-3)
    assert same.count == 20
    noisy = evaluate(word_encoder(noise=1.0), ["fidelity"], original=encoder, limit=20)["fidelity"]
    assert 50 < noisy.value < 99


def test_fidelity_of_models_of_different_width(word_encoder):
    with pytest.raises(InputError, match="differ in width: 8 and 4"):
        evaluate(word_encoder(8), ["fidelity"], original=word_encoder(4), limit=2)


@pytest.mark.parametrize(
    ("tasks", "options", "message"),
    [
        (["bank"], {}, "Unknown task 'bank'; the tasks are: banking77, stsb, scifact, fidelity"),
        ([], {}, "Give a list of tasks out of: banking77"),
        ("stsb", {}, "Give a list of tasks out of: banking77"),
        (["banking77"], {"limit": 0}, "limit must be at least 1, not 0"),
        (["fidelity"], {}, "'fidelity' compares the model to the one it was made from: give the original too"),
        (["banking77", "stsb"], {}, "'glue-stsb' is not bundled: --data-dir"),
        (["scifact"], {}, "'scifact' is not bundled: --data-dir"),
    ],
)
def test_bad_requests_are_refused_before_the_model_is_loaded(tasks, options, message, tmp_path: Path):
    with pytest.raises(InputError, match=message):
        evaluate(tmp_path / "no model here", tasks, **options)
