import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer

import dsformer
from dsformer.errors import InputError, MissingExtraError
from dsformer.models.pooling import mean_pooling
from dsformer.models.source import open_source
from dsformer.training import loop
from dsformer.training.learners import DEFAULT_LEARNER
from fixtures.models import tiny_model
from fixtures.training import QUICK, reviews, write_sentence_encoder

LEARNING = {"batch_size": 32, "learning_rate": 1e-3, "bf16": False}
# Two epochs of twelve steps.
FIELDS: dict[str, dict[str, Any]] = {
    "fixed": {"train": "fixed", "distill": "logits+hidden+relations"},
    "stf": {"train": "stf", "latent_rate": 1e-3, "ramp_until": 0.9, "projections": 7, "distill": "none"},
}
EPOCH = 12
KILLED = """
import json, os, signal, sys
import dsformer

words, step = json.loads(sys.argv[1]), int(sys.argv[2])

def follow(stage, done, total):
    if stage == "train" and done == step:
        os.kill(os.getpid(), signal.SIGKILL)

dsformer.compress(words.pop("model"), words.pop("output"), progress=follow, **words)
"""


@pytest.fixture(scope="module")
def command(teacher: Path, task_file: Path) -> Callable[[str], dict[str, Any]]:
    """A compression with training that writes a checkpoint every four steps."""

    def of(learner: str) -> dict[str, Any]:
        training = {"task": str(task_file), "epochs": 2, "save_steps": 4, **LEARNING, **FIELDS[learner]}
        return {"model": str(teacher), **QUICK, "training": training}

    return of


def run(words: dict[str, Any], output: Path, **more: Any) -> dsformer.Compressed:
    words = dict(words)
    return dsformer.compress(words.pop("model"), output, **words, **more)


def kill(words: dict[str, Any], output: Path, step: int) -> Path:
    """Run the command in a process of its own that is killed after a step; returns the work it leaves."""
    given = json.dumps(words | {"output": str(output)})
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, given, str(step)], env=os.environ | threads, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not output.exists()
    return output.with_name(f"{output.name}.work")


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    for key, tensor in second.items():
        torch.testing.assert_close(first[key], tensor, rtol=1e-5, atol=1e-6, msg=key)


# In the first epoch, and in the second.
@pytest.mark.parametrize(("learner", "step", "newest"), [("fixed", 10, 8), ("stf", 18, 16)])
def test_a_killed_run_ends_as_if_nothing_had_happened(
    learner: str, step: int, newest: int, command: Callable, tmp_path: Path
):
    words = command(learner)
    work = kill(words, tmp_path / "out", step)
    checkpoints = work / "training"
    assert (checkpoints / f"checkpoint-{newest}" / "trainer_state.json").is_file()
    whole = run(words, tmp_path / "whole")

    other = words | {"training": words["training"] | {"epochs": 3}}
    with pytest.raises(InputError, match=r"out\.work: holds an unfinished run with other settings"):
        run(other, tmp_path / "out")

    shutil.copytree(work, tmp_path / "torn.work")
    (tmp_path / "torn.work" / "training" / f"checkpoint-{newest}" / "trainer_state.json").unlink()
    for name, start in (("out", newest), ("torn", newest - 4)):
        steps: list[int] = []
        resumed = run(words, tmp_path / name, progress=only("train", steps))
        assert steps == list(range(start, 2 * EPOCH + 1))
        assert_same_weights(resumed.model, whole.model)
        assert resumed.summary.training.trained == whole.summary.training.trained
        assert_same_weights(dsformer.load(tmp_path / name), whole.model)
    assert {path.name for path in tmp_path.iterdir()} == {"out", "torn", "whole"}


def only(wanted: str, steps: list[int]) -> Callable[[str, int, int], None]:
    """Progress that notes the steps of one stage."""

    def follow(stage: str, done: int, total: int) -> None:
        if stage == wanted:
            steps.append(done)

    return follow


def stopping(wanted: str, step: int) -> Callable[[str, int, int], None]:
    def follow(stage: str, done: int, total: int) -> None:
        if (stage, done) == (wanted, step):
            raise KeyboardInterrupt

    return follow


def test_every_stage_is_taken_up_again(base: Path, task_file: Path, tmp_path: Path):
    training = {"train": "fixed", "task": str(task_file), "epochs": 1, "save_steps": 4, **LEARNING}
    words = {"model": str(base), **QUICK, "training": training}
    whole = run(words, tmp_path / "whole")
    work = tmp_path / "out.work"
    for stage, step, left in (
        ("finetune", 6, {"finetuning"}),
        ("factorize", 2, {"finetuning", "teacher", "blocks"}),
        ("train", 6, {"finetuning", "teacher", "blocks", "factorized", "training"}),
    ):
        with pytest.raises(KeyboardInterrupt):
            run(words, tmp_path / "out", progress=stopping(stage, step))
        assert {path.name for path in work.iterdir()} == {"run.json", *left}
        assert not (tmp_path / "out").exists()
    seen: list[int] = []
    resumed = run(words, tmp_path / "out", progress=only("finetune", seen))
    assert seen == []
    assert_same_weights(resumed.model, whole.model)
    assert not work.exists()


def test_a_base_model_is_given_a_teacher(base: Path, task_file: Path, tmp_path: Path):
    finetuned = list[int]()
    training = {"train": "stf", "task": str(task_file), "epochs": 4, "train_embeddings": True, **LEARNING}
    done = run(
        {"model": str(base), **QUICK, "training": training}, tmp_path / "out", progress=only("finetune", finetuned)
    )
    assert finetuned[-1] == 4 * EPOCH
    account = done.summary.training
    assert (account.learner, account.distill) == ("stf", "logits+hidden")
    assert (account.task, account.metric, account.steps) == ("reviews.csv", "accuracy", 4 * EPOCH)
    assert account.dense > 90
    assert account.trained > 90
    assert 0 <= account.factorized <= 100
    assert account.seconds > 0
    loaded = dsformer.load(tmp_path / "out")
    assert type(loaded).__name__ == "BertForSequenceClassification"
    stored = loaded.config.quantization_config.summary
    assert stored["training"]["trained"] == account.trained
    assert stored["model"] == base.name
    card = (tmp_path / "out" / "README.md").read_text()
    values = [f"{value:.4g}" for value in (account.dense, account.factorized, account.trained)]
    assert f"| reviews.csv | accuracy | {' | '.join(values)} |" in card
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_a_model_with_the_head_is_its_own_teacher(teacher: Path, task_file: Path, tmp_path: Path):
    stages: set[str] = set()
    training = {"train": "fixed", "task": str(task_file), "epochs": 1, **LEARNING}
    done = run(
        {"model": str(teacher), **QUICK, "training": training},
        tmp_path / "out",
        progress=lambda stage, *_: stages.add(stage),
    )
    assert "train" in stages
    assert "finetune" not in stages
    assert done.summary.training.dense > 90


def test_without_an_output(teacher: Path, task_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    training = {"train": "fixed", "task": str(task_file), "epochs": 0.5, **LEARNING}
    done = run({"model": str(teacher), **QUICK, "training": training}, None)
    assert done.output is None
    assert done.summary.training.steps == 6
    assert list(tmp_path.iterdir()) == []


def test_compressed_tables_are_left_alone(teacher: Path, task_file: Path, tmp_path: Path):
    training = {"train": "fixed", "task": str(task_file), "epochs": 1, **LEARNING}
    words = {"model": str(teacher), **QUICK, "ratio": 1.5, "embeddings": True, "training": training}
    tables: list[dict[str, torch.Tensor]] = []
    learn = loop.learn

    def watched(network: nn.Module, *arguments: Any) -> None:
        for _ in range(2):
            tables.append({k: v.clone() for k, v in network.state_dict().items() if ".embeddings." in k})
            if len(tables) == 1:
                learn(network, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "learn", watched)
        run(words, tmp_path / "out")
    before, after = tables
    stored = [key for key in before if "word_embeddings" in key]
    assert any(key.endswith("support") for key in stored)
    assert all(torch.equal(after[key], before[key]) for key in stored)


def test_the_type_of_the_values_is_kept(teacher: Path, task_file: Path, tmp_path: Path):
    training = {"train": "stf", "task": str(task_file), "epochs": 1, **LEARNING}
    done = run({"model": str(teacher), **QUICK, "dtype": "bfloat16", "training": training}, tmp_path / "out")
    for model in (done.model, dsformer.load(tmp_path / "out", dtype="auto")):
        assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_a_teacher_in_bfloat16(teacher: Path, task_file: Path, tmp_path: Path):
    source = Path(shutil.copytree(teacher, tmp_path / "half"))
    open_source(teacher).model.to(torch.bfloat16).save_pretrained(source)
    training = {"train": "stf", "task": str(task_file), "epochs": 1, **LEARNING}
    done = run({"model": str(source), **QUICK, "training": training}, tmp_path / "out")
    assert {p.dtype for p in done.model.parameters()} == {torch.bfloat16}


def fidelity(model: nn.Module, teacher: nn.Module, directory: Path) -> float:
    """Mean cosine of the sentence embeddings of both."""
    batch = AutoTokenizer.from_pretrained(directory)(
        [text for text, _ in reviews(64, seed=1)], padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        ours, theirs = (
            mean_pooling(one.eval()(**batch).last_hidden_state, batch["attention_mask"].float())
            for one in (model, teacher)
        )
    return float(nn.functional.cosine_similarity(ours, theirs).mean())


def test_a_sentence_encoder_learns_to_follow_itself(sentence_encoder: Path, text_file: Path, tmp_path: Path):
    training = {"train": "distill", "text": str(text_file), "epochs": 4, **LEARNING}
    quick = {**QUICK, "ratio": 4}
    dsformer.compress(sentence_encoder, tmp_path / "plain", texts=[text for text, _ in reviews(64)], **quick)
    done = run({"model": str(sentence_encoder), **quick, "training": training}, tmp_path / "out")
    for name in ("modules.json", "1_Pooling/config.json", "sentence_bert_config.json"):
        assert json.loads((tmp_path / "out" / name).read_text()) == json.loads((sentence_encoder / name).read_text())
    account = done.summary.training
    assert (account.task, account.metric, account.dense, account.trained) == (None, None, None, None)
    assert (account.learner, account.distill, account.steps) == (DEFAULT_LEARNER, "embeddings+hidden", 28)
    assert "| task |" not in (tmp_path / "out" / "README.md").read_text()
    dense = AutoModel.from_pretrained(sentence_encoder).eval()
    before, after = (fidelity(dsformer.load(tmp_path / name), dense, sentence_encoder) for name in ("plain", "out"))
    assert 1 - after < 0.8 * (1 - before)
    sentence_transformers = pytest.importorskip("sentence_transformers")
    vectors = sentence_transformers.SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(["a good film"])
    batch = done.tokenizer(["a good film"], return_tensors="pt")
    with torch.no_grad():
        expected = mean_pooling(done.model(**batch).last_hidden_state, batch["attention_mask"].float())
    torch.testing.assert_close(torch.from_numpy(vectors), expected, rtol=1e-5, atol=1e-5)


def test_recipes_that_lack_something(teacher: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"^recipe: training: train distill needs plain text: text$"):
        dsformer.compress(teacher, tmp_path / "out", training={"train": "distill"})
    with pytest.raises(InputError, match=r"^recipe: training: train stf needs a task: task$"):
        dsformer.compress(teacher, tmp_path / "out", training={"train": "stf"})
    with pytest.raises(InputError, match=r"^recipe: training\.train: 'all' is not one of none, distill, fixed"):
        dsformer.compress(teacher, tmp_path / "out", training={"train": "all"})
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_trained_leaves_nothing(
    teacher: Path, task_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    training = {"train": "stf", "task": str(task_file)}
    with pytest.raises(InputError, match="not from a model in memory"):
        dsformer.compress(tiny_model("BertForMaskedLM"), tmp_path / "out", tokenizer=None, training=training)
    for model, fields, message in (
        (tmp_path / "nowhere", {}, "nowhere"),
        (teacher, {"task": "nothing"}, "Unknown task 'nothing'"),
        (teacher, {"label_column": "class"}, "'class'"),
    ):
        with pytest.raises(InputError, match=message):
            dsformer.compress(model, tmp_path / "out", training=training | fields)
    wrong = write_sentence_encoder(tmp_path / "sentences", "max_tokens")
    with pytest.raises(InputError, match="knows mean and first-token pooling"):
        dsformer.compress(
            wrong, tmp_path / "out", **QUICK, training={"train": "distill", "text": str(task_file), **LEARNING}
        )
    shutil.rmtree(wrong)
    shutil.rmtree(tmp_path / "out.work", ignore_errors=True)
    monkeypatch.setattr("dsformer.training.schedule.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"dsformer\[train\]"):
        dsformer.compress(teacher, tmp_path / "out", training=training)
    assert list(tmp_path.iterdir()) == []
