"""Every way of learning the factorizations, on the same tasks, teachers, factorizations and steps.

    python benchmarks/optimizers.py --data-dir DIR --work WORK

For every task and seed a dense teacher is trained at each of ``--dense-rates`` and the best of them kept; for every
ratio it is factorized once; every learner starts from that factorization and takes the same number of steps. ``dense``
goes on training the teacher for as many steps, so that nothing beats it by training longer. Scores are of the labelled
development and test examples together; divergence is that of what the model says of them from what the dense one says
(mean KL of classes, mean square of numbers), which tells more than scores do. Teachers, factorizations and finished
rows are kept in WORK; an interrupted run goes on where it stopped; several processes may share WORK if their tasks
differ. Prints tables of means over seeds with their spread, and draws ``optimizers.png``.
"""

import argparse
import json
import shutil
from collections import defaultdict
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import mean, pstdev
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div

import dsformer
from dsformer.cli.demo import find_minilm
from dsformer.data.supervised import SupervisedTask, collator, encode, load_task
from dsformer.evaluation.scoring import score_model
from dsformer.models.source import open_source
from dsformer.recipe import Recipe
from dsformer.training.data import tokenize_task
from dsformer.training.finetune import train_dense
from dsformer.training.learners import LEARNERS
from dsformer.training.loop import learn
from dsformer.training.teacher import Teacher
from dsformer.utils.atomic_io import add_row, read_rows
from dsformer.utils.progress import silent

TASKS = ("mrpc", "rte", "stsb", "cola", "sst2", "banking77", "movie_reviews")
# Those for all forms, not for supports alone.
OF_FORMS = tuple(name for name, kind in LEARNERS.items() if not kind.prunes)
# Examples of SST-2 trained on; the other tasks are trained on all they have.
SUBSETS = {"sst2": 16_000}


@dataclass(frozen=True)
class Bench:
    """What all runs share."""

    data_dir: Path
    work: Path
    epochs: float
    dense_epochs: float
    dense_rates: tuple[float, ...]
    overrides: dict[str, Any]

    def recipe(self, task: str, seed: int, ratio: float = 2.8, **training: Any) -> Recipe:
        fields = {"task": task, "epochs": self.epochs, "seed": seed, "examples": SUBSETS.get(task), **training}
        return Recipe().merged({"ratio": ratio, "training": fields})

    def place(self, *parts: Any) -> Path:
        return self.work / "-".join(str(part) for part in parts)


@torch.inference_mode()
def said(model: Any, tokenizer: Any, task: SupervisedTask) -> Tensor:
    """Logits for everything that is judged."""
    features, collate = encode(task, task.unseen, tokenizer, task.length), collator(task, tokenizer, evaluation=True)
    order = sorted(range(len(features)), key=lambda i: -len(features[i]["input_ids"]))
    model.eval()
    rows = []
    for start in range(0, len(order), 64):
        batch = collate([features[i] for i in order[start : start + 64]])
        rows.append(model(**{name: tensor for name, tensor in batch.items() if name != "labels"}).logits.float())
    return torch.cat(rows)[torch.tensor(order).argsort()]


def divergence(model: Any, dense: Any, tokenizer: Any, task: SupervisedTask) -> float:
    """Of what a model says from what the dense one does."""
    own, wanted = said(model, tokenizer, task), said(dense, tokenizer, task)
    if own.shape[1] == 1:
        return float((own - wanted).square().mean())
    return float(kl_div(own.log_softmax(1), wanted.log_softmax(1), log_target=True, reduction="batchmean"))


def scored(model: Any, tokenizer: Any, task: SupervisedTask) -> float:
    """The task's main metric on what is judged."""
    return score_model(model, tokenizer, task, task.unseen)[task.metric]


def teacher(bench: Bench, task: SupervisedTask, seed: int) -> tuple[Path, float]:
    """The dense model of the best learning rate, and its score."""
    found: list[tuple[float, Path]] = []
    for rate in bench.dense_rates:
        directory = bench.place("teacher", task.name, seed, rate)
        if not (directory / "score.json").is_file():
            recipe = bench.recipe(task.name, seed, learning_rate=rate, epochs=bench.dense_epochs)
            work = bench.place("training", task.name)
            shutil.rmtree(work, ignore_errors=True)
            model, tokenizer = train_dense(find_minilm(), task, recipe.training, work, silent, "")
            model.save_pretrained(directory)
            tokenizer.save_pretrained(directory)
            (directory / "score.json").write_text(json.dumps(scored(model, tokenizer, task)))
        found.append((json.loads((directory / "score.json").read_text()), directory))
    score, directory = max(found)
    return directory, score


def factorized(bench: Bench, task: SupervisedTask, seed: int, ratio: float, dense: Path) -> Path:
    """The teacher, factorized on the task's text."""
    directory = bench.place("factorized", task.name, seed, ratio)
    if not (directory / "config.json").is_file():
        recipe = bench.recipe(task.name, seed, ratio)
        source = open_source(dense)
        data = tokenize_task(task, recipe.training, source.tokenizer, source.model)
        untrained = recipe.merged({"training": {"train": "none"}})
        dsformer.compress(dense, directory, recipe=untrained, texts=data.sample(recipe.calibration))
    return directory


def run(bench: Bench, name: str, seed: int, ratio: float, learner: str, distill: str) -> dict[str, Any]:
    """One row: the score after learning."""
    task = load_task(name, bench.data_dir)
    dense, dense_score = teacher(bench, task, seed)
    work = bench.place("training", name)
    shutil.rmtree(work, ignore_errors=True)
    started = perf_counter()
    if learner == "dense":
        recipe = bench.recipe(name, seed, learning_rate=min(bench.dense_rates))
        model, tokenizer, _ = train_dense(dense, task, recipe.training, work, silent, "")
        score, away = scored(model, tokenizer, task), 0.0
    else:
        directory = factorized(bench, task, seed, ratio, dense)
        source, model = open_source(dense), dsformer.load(directory)
        started = perf_counter()
        if learner != "none":
            recipe = bench.recipe(name, seed, ratio, train=learner, distill=distill, **bench.overrides)
            data = tokenize_task(task, recipe.training, source.tokenizer, source.model)
            learn(model, Teacher(source.model, source.tokenizer), data, recipe.learning, work, True)
        score = scored(model, source.tokenizer, task)
        away = divergence(model, source.model, source.tokenizer, task)
    seconds = round(perf_counter() - started, 1)
    return {
        "metric": task.metric,
        "teacher": dense_score,
        "score": score,
        "divergence": away,
        "seconds": seconds,
    }


def table(rows: list[dict[str, Any]], field: str = "score", digits: int = 2) -> None:
    """Means over seeds, a line a ratio, learner and distillation; the last column is the mean over tasks."""
    print(f"\n{field}")
    tasks = [task for task in TASKS if any(row["task"] == task for row in rows)]
    print("| ratio | learner | distillation | " + " | ".join(tasks) + " | mean |")
    print("|" + "---|" * (len(tasks) + 4))
    lines: dict[tuple[Any, ...], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    teachers: dict[str, dict[int, float]] = defaultdict(dict)
    for row in rows:
        lines[row["ratio"], row["learner"], row["distill"]][row["task"]].append(row[field])
        teachers[row["task"]][row["seed"]] = row["teacher"]
    if field == "score":
        dense = {task: list(found.values()) for task, found in teachers.items()}
        print(line(("1", "dense (teacher)", ""), dense, tasks, digits))
    for key, scores in sorted(lines.items(), key=lambda one: tuple(map(str, one[0]))):
        print(line(key, scores, tasks, digits), flush=True)


def line(key: tuple[Any, ...], scores: dict[str, list[float]], tasks: list[str], digits: int) -> str:
    """One line of the table."""
    known = [scores.get(task) for task in tasks]
    cells = [f"{mean(one):.{digits}f} ± {pstdev(one):.{digits}f}" if one else "" for one in known]
    whole = f"{mean(mean(one) for one in known if one):.{digits}f}" if all(known) else ""
    return "| " + " | ".join([*map(str, key), *cells, whole]) + " |"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Mean score over tasks against the ratio, a line a learner; of those that have learned all tasks there are."""
    from matplotlib import pyplot

    tasks = {row["task"] for row in rows}
    points: dict[tuple[str, str], dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for learner, distill, ratio in sorted({(row["learner"], row["distill"], row["ratio"]) for row in rows}):
        own = [row for row in rows if (row["learner"], row["distill"], row["ratio"]) == (learner, distill, ratio)]
        if learner != "dense" and {row["task"] for row in own} == tasks:
            points[learner, distill][ratio] = [row["score"] - row["teacher"] for row in own]
    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for (learner, distill), found in sorted(points.items()):
        ratios = sorted(found)
        label = learner if distill == "none" else f"{learner}, {distill}"
        axes.plot(ratios, [mean(found[ratio]) for ratio in ratios], marker="o", label=label)
    axes.set(xlabel="stored bytes before / after, encoder", ylabel="mean score minus the dense teacher's")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("optimizers"))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--ratios", type=float, nargs="+", default=[2.8, 3.57])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--learners", nargs="+", choices=("dense", "none", *OF_FORMS), default=["none", *OF_FORMS])
    parser.add_argument("--distill", nargs="+", default=["none", "logits+hidden"])
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--dense-epochs", type=float, default=3.0)
    parser.add_argument("--dense-rates", type=float, nargs="+", default=[5e-5, 1e-4])
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="fields of the training recipe")
    args = parser.parse_args()
    overrides = {name: json.loads(value) for name, _, value in (one.partition("=") for one in args.set)}
    bench = Bench(args.data_dir, args.work, args.epochs, args.dense_epochs, tuple(args.dense_rates), overrides)
    args.work.mkdir(parents=True, exist_ok=True)
    results = args.work / "results.jsonl"
    rows = read_rows(results)
    keys = ("task", "seed", "ratio", "learner", "distill", "set")
    finished = {tuple(json.dumps(row[key]) for key in keys) for row in rows}
    for task, seed, ratio, learner, distill in product(
        args.tasks, args.seeds, args.ratios, args.learners, args.distill
    ):
        distill = "none" if learner in ("dense", "none") else distill
        chosen = {"task": task, "seed": seed, "ratio": 1.0 if learner == "dense" else ratio, "learner": learner}
        chosen |= {"distill": distill, "set": overrides if learner in LEARNERS else {}}
        if tuple(json.dumps(chosen[key]) for key in keys) in finished:
            continue
        rows.append(chosen | run(bench, task, seed, ratio, learner, distill))
        finished.add(tuple(json.dumps(chosen[key]) for key in keys))
        add_row(results, rows[-1])
        print(rows[-1], flush=True)
    shown = [row for row in rows if row["task"] in args.tasks and (not row["set"] or row["set"] == overrides)]
    table(shown)
    table([row for row in shown if "divergence" in row], "divergence", 4)
    draw(shown, args.work / "optimizers.png")


if __name__ == "__main__":
    main()
