"""Sweeps in real worker processes, killed and taken up again."""

import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dsformer.errors import InputError
from dsformer.sweep import Grid, Variant, sweep
from dsformer.sweep.cell import described, model_place
from dsformer.sweep.lines import dense_scores, lines
from dsformer.sweep.page import write_page
from dsformer.sweep.run import RESULTS, finished
from fixtures.training import QUICK, write_base, write_task

FIELDS: dict[str, Any] = {
    "allocation": "uniform",
    "effort": QUICK["effort"],
    "calibration": QUICK["calibration"],
    "training": {"epochs": 1.0, "batch_size": 32, "learning_rate": 1e-3, "bf16": False},
}


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Grid:
    place = tmp_path_factory.mktemp("sweep")
    task = write_task(place / "reviews.csv", 100)
    variants = tuple(map(Variant.parse, ("low_rank", "magnitude@2:4")))
    return Grid(str(write_base(place / "base")), variants, (3.0,), (str(task),), fields=FIELDS)


def started(grid: Grid, place: Path) -> subprocess.Popen[bytes]:
    """The same sweep by the command, in a process group of its own."""
    words = ["sweep", grid.model, "-o", str(place), "--tasks", grid.tasks[0], "--ratios", "3"]
    words += ["--methods", ",".join(map(str, grid.variants)), "--allocation", "uniform", "--iterations", "4"]
    words += ["--screening", "1", "--calibration-count", "16", "--calibration-length", "16", "--epochs", "1"]
    words += ["--batch-size", "32", "--learning-rate", "1e-3", "--no-bf16", "--seconds", "0", "--quiet"]
    program = "from dsformer.cli.main import run; run()"
    return subprocess.Popen([sys.executable, "-c", program, *words], start_new_session=True)


def running(group: int) -> list[str]:
    """Processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                found.append(path.parent.name)
    return found


def test_a_killed_sweep_goes_on_and_refusals_are_rows(grid: Grid, tmp_path: Path):
    process = started(grid, tmp_path)
    deadline = time.monotonic() + 200
    while not (tmp_path / RESULTS).is_file() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    assert len(running(process.pid)) > 1
    process.kill()
    process.wait()
    while running(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(process.pid), "workers go on without their sweep"
    first = finished(tmp_path)
    assert len(first) == 1
    teachers = {path: path.stat().st_mtime_ns for path in (tmp_path / "teachers").glob("*/model.safetensors")}
    rows = sweep(grid, tmp_path, seconds=0.05)
    assert [row["method"] for row in rows] == ["low_rank", "magnitude@2:4"]
    done, refused = rows
    assert all(done[name] == value for name, value in first[done["key"]].items())
    assert {path: path.stat().st_mtime_ns for path in teachers} == teachers
    assert done["encoder_ratio"] == pytest.approx(3.0, rel=0.05)
    assert done["bytes"] < done["bytes_before"]
    assert set(done["scores"]) == set(done["dense"]) == {"reviews.csv"}
    assert done["speedup"]["middle"] > 0
    assert "with pattern 2:4 fits in" in refused["refused"]
    assert finished(tmp_path) == {row["key"]: row for row in rows}
    assert sweep(grid, tmp_path, seconds=0.05) == rows
    assert len(list((tmp_path / "calibrations").iterdir())) == 1
    another_run_is_in_the_way(grid, tmp_path)
    assert finished(tmp_path) == {row["key"]: row for row in rows}


def another_run_is_in_the_way(grid: Grid, place: Path) -> None:
    """That says nothing of the method: no row, and the same sweep can make it later."""
    fields = {**FIELDS, "training": {**FIELDS["training"], "train": "fixed"}}
    trained = replace(grid, variants=(Variant("low_rank"),), fields=fields)
    (cell,) = trained.cells()
    model = model_place(cell, place)
    work = model.with_name(f"{model.name}.work")
    work.mkdir()
    (work / "run.json").write_text("{}")
    with pytest.raises(InputError, match=f"{cell.key}: .* holds an unfinished run with other settings"):
        sweep(trained, place)


def test_rounded_weights_stand_beside_what_is_trained(grid: Grid):
    training = {**FIELDS["training"], "train": "fixed", "rounding_aware": True}
    fields = {**FIELDS, "factors": "int8", "training": training}
    variants = tuple(map(Variant.parse, ("low_rank", "gptq")))
    trained, rounded = Grid(grid.model, variants, (3.0,), grid.tasks, fields=fields).cells()
    assert (trained.recipe.training.train, trained.recipe.factors) == ("fixed", "int8")
    assert (rounded.recipe.training.train, rounded.recipe.factors) == ("none", "float")
    assert trained.teacher_key == rounded.teacher_key
    assert trained.recipe.training.rounding_aware
    assert not {"train", "rounding_aware"} & set(trained.dense_training)


def test_learners_of_one_method_alone(grid: Grid):
    fields = {**FIELDS, "training": {**FIELDS["training"], "train": "fixed"}}
    variants = tuple(map(Variant.parse, ("magnitude", "magnitude+movement", "magnitude@2:4+codes")))
    assert [str(one) for one in variants] == ["magnitude", "magnitude+movement", "magnitude@2:4+codes"]
    cells = list(Grid(grid.model, variants, (3.0,), grid.tasks, fields=fields).cells())
    assert [cell.recipe.training.train for cell in cells] == ["fixed", "movement", "codes"]
    assert len({cell.key for cell in cells}) == 3
    assert len({cell.teacher_key for cell in cells}) == 1


def test_which_weights_stay_is_learned_along_with_the_task(grid: Grid):
    fields = {**FIELDS, "training": {**FIELDS["training"], "train": "fixed", "examples": 50}}
    variants = tuple(map(Variant.parse, ("magnitude", "magnitude+movement", "dense_sparse+codes")))
    longer = replace(grid, variants=variants, fields=fields, dense={"epochs": 7.0, "examples": 80})
    plain, moving, codes = (cell.recipe.training for cell in longer.cells())
    assert (moving.start, moving.epochs, moving.examples) == (grid.model, 8.0, 80)
    assert [(one.start, one.epochs, one.examples) for one in (plain, codes)] == [(None, 1.0, 50)] * 2


def test_rows_say_how_fast_they_learned(grid: Grid):
    fields = {**FIELDS, "training": {**FIELDS["training"], "train": "fixed", "learning_rate": 3e-4}}
    variants = tuple(map(Variant.parse, ("magnitude", "gptq")))
    rows = [described(cell) for cell in Grid(grid.model, variants, (3.0,), grid.tasks, fields=fields).cells()]
    assert [row["learning_rate"] for row in rows] == [3e-4, None]


def test_dense_models_trained_for_longer(grid: Grid):
    longer = replace(grid, dense={"epochs": 7.0})
    (cell, _), (other, _) = longer.cells(), grid.cells()
    assert cell.dense_training["epochs"] == 7.0
    assert cell.recipe.training.epochs == other.recipe.training.epochs != 7.0
    assert cell.teacher_key != other.teacher_key
    assert cell.key != other.key


def test_keys_tell_cells_apart(grid: Grid):
    (cell, other) = grid.cells()
    again = next(grid.cells())
    assert (cell.key, cell.teacher_key) == (again.key, again.teacher_key)
    assert cell.key != other.key
    assert cell.teacher_key == other.teacher_key
    assert cell.key.startswith("low-rank-3x-")


def test_one_seed_alone_is_the_same_cell(grid: Grid):
    both, second = (list(replace(grid, **changes).cells()) for changes in ({"seeds": 2}, {"first_seed": 1}))
    assert [cell.seed for cell in both] == [0, 0, 1, 1]
    assert second == both[2:]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first_seed": -1}, "first_seed: -1 is not 0 or more"),
        ({"variants": ()}, "at least one method"),
        ({"tasks": ()}, "give tasks to score on"),
        ({"ratios": (0.5,)}, "recipe: ratio"),
        ({"fields": {"surprise": 1}}, "recipe: surprise"),
        ({"variants": (Variant("gptq", learner="fixed"),)}, "gives integers"),
        ({"model": "no/where"}, "no/where: neither a directory nor a model of the hub"),
    ],
)
def test_grids_that_make_no_sense(grid: Grid, tmp_path: Path, changes: dict[str, Any], message: str):
    wrong = Grid(**{**vars(grid), **changes})
    with pytest.raises(InputError, match=message):
        sweep(wrong, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_as_many_workers_as_there_can_be(grid: Grid, tmp_path: Path):
    with pytest.raises(InputError, match="workers: 0 is not from 1 to"):
        sweep(grid, tmp_path / "out", workers=0)


def test_what_is_wrong_with_the_run_is_no_refusal_of_the_method(grid: Grid, tmp_path: Path):
    """It is said, and nothing is kept that would hinder the next run."""
    encoder = replace(grid, tasks=(), evaluate=("mrpc",), variants=(Variant("low_rank"),))
    (cell,) = encoder.cells()
    with pytest.raises(InputError, match=f"{cell.key}: .*no head|{cell.key}: .*has none"):
        sweep(encoder, tmp_path)
    assert not finished(tmp_path)


def test_teachers_differ_by_what_they_learn_from(grid: Grid):
    (cell, _) = grid.cells()
    other = {"train_embeddings": True, "warmup": 0.2, "accumulate": 2, "train": "fixed", "distill": "none"}
    keys = set()
    for name, value in other.items():
        fields = {**FIELDS, "training": {**FIELDS["training"], name: value}}
        keys.add(next(replace(grid, fields=fields).cells()).teacher_key)
    assert len(keys) == 4  # how the compressed model is trained changes nothing
    assert cell.teacher_key in keys
    assert next(replace(grid, data_dir="elsewhere").cells()).teacher_key != cell.teacher_key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("svdd", "not one of"),
        ("svd@2:4", "no supports"),
        ("wanda@x", "pattern"),
        ("svd+stff", "'stff' is not one of fixed"),
    ],
)
def test_methods_that_are_not_there(text: str, message: str):
    with pytest.raises(InputError, match=message):
        Variant.parse(text)


def rows_of(*scores: float, method: str = "svd", ratio: float = 2.0) -> list[dict[str, Any]]:
    return [
        {
            "method": method,
            "ratio": ratio,
            "seed": seed,
            "bytes": 5e6,
            "bytes_before": 10_000_000,
            "encoder_ratio": ratio,
            "error": 0.2,
            "errors": {"layer 0": 0.25},
            "scores": {"mrpc": score},
            "dense": {"mrpc": 90.0 + seed},
        }
        for seed, score in enumerate(scores)
    ]


def test_lines_are_means_over_seeds_and_the_page_has_them(tmp_path: Path):
    rows = [*rows_of(80.0, 84.0), *rows_of(88.0, method="<best>")]
    rows[0]["speedup"] = {"middle": 1.5, "low": 1.4, "high": 1.6}
    rows.append({"method": "magnitude@2:4", "ratio": 2.0, "seed": 0, "refused": "does not fit"})
    best, mean, refused = lines(rows)
    assert (best.method, best.scores, best.speedup) == ("<best>", {"mrpc": (88.0, None)}, None)
    assert (mean.scores, mean.mean, mean.speedup) == ({"mrpc": (82.0, 2.0)}, 82.0, rows[0]["speedup"])
    assert refused.refused == "does not fit"
    assert dense_scores(rows) == {"mrpc": 90.5}
    write_page(tmp_path / "sweep.html", rows, "some/model", "dsformer sweep some/model")
    page = (tmp_path / "sweep.html").read_text()
    for text in ("82.00 ± 2.00", "1.50 (1.40 to 1.60)", "does not fit", "&lt;best&gt;", "90.50", "layer 0", "0.2500"):
        assert text in page
    assert page.count("<svg") == 2
    assert "<script" not in page
