"""What a step of learning costs against a step of dense fine-tuning: time, alternating in one run, and peak memory.

    python benchmarks/training_cost.py --learners fixed stf

Same batches of movie reviews for all, bf16 autocast where it is fast, no distillation (it would add the teacher's
forward pass to both). A learner's steps include its projections, of which a run has a fixed number: the ratio is that
of a run of ``--steps`` steps.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from transformers import set_seed

import dsformer
from dsformer.benchmarking.timing import Ratio
from dsformer.cli.demo import find_minilm
from dsformer.data.supervised import load_task
from dsformer.models.heads import open_for_task
from dsformer.recipe import Recipe
from dsformer.training.data import TrainingData, tokenize_task
from dsformer.training.freezing import freeze_embeddings
from dsformer.training.loop import make_trainer
from dsformer.training.teacher import Teacher
from dsformer.training.trainer import FactorizationTrainer, training_arguments
from dsformer.utils.progress import silent

CHUNK = 10
# How good the factorization is does not matter here.
QUICK = {"effort": {"iterations": 4, "screening": 2}, "calibration": {"count": 16}}


def dense_trainer(settings: Any, data: TrainingData, model: Any, scratch: Path) -> FactorizationTrainer:
    freeze_embeddings(model)
    return FactorizationTrainer(
        model=model,
        args=training_arguments(settings, scratch, len(data.features)),
        train_dataset=data.features,
        data_collator=data.collate,
        settings=settings,
        progress=silent,
    )


def stepper(trainer: FactorizationTrainer, batches: list[Any]) -> Callable[[int], float]:
    """A function that takes so many steps and returns the seconds it took."""
    trainer.create_optimizer()
    model, learner, source = trainer.model.train(), trainer.learner, cycle(batches)
    if learner is not None:
        learner.start()
        learner.resume(0)
    taken = 0

    def take(count: int) -> float:
        nonlocal taken
        started = perf_counter()
        for _ in range(count):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=trainer.args.bf16):
                loss = trainer.compute_loss(model, next(source))
            loss.backward()
            del loss  # its graph would hold the values to their present size
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            trainer.optimizer.step()
            trainer.optimizer.zero_grad()
            taken += 1
            if learner is not None:
                learner.stepped(taken)
        return perf_counter() - started

    return take


def peak(learner: str, work: Path) -> float:
    """Peak memory of a process that takes a few steps, in MB."""
    command = [sys.executable, __file__, "--learners", learner, "--steps", str(CHUNK), "--alone", "--work", str(work)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def contenders(args: argparse.Namespace, work: Path) -> dict[str, Callable[[int], float]]:
    """Something that takes steps for every learner asked for, and for the dense model. Models are kept in ``work``."""
    task = load_task("movie_reviews")
    dense, factorized = work / "dense", work / "factorized"
    if not dense.exists():
        model, tokenizer = open_for_task(find_minilm(), task)
        model.save_pretrained(dense)
        tokenizer.save_pretrained(dense)
    model, tokenizer = open_for_task(dense, task)
    fields = {"task": task.name, "epochs": args.steps / 267, "distill": "none"}
    recipe = Recipe().merged({"ratio": args.ratio, "training": fields, **QUICK})
    data = tokenize_task(task, recipe.training, tokenizer, model)
    batches = [data.collate([data.features[i + j] for j in range(32)]) for i in range(0, 32 * 60, 32)]
    runs = {}
    if not (args.alone and args.learners != ["dense"]):
        runs["dense"] = stepper(dense_trainer(recipe.training, data, model, work / "steps"), batches)
    for learner in [one for one in args.learners if one != "dense"]:
        if not factorized.exists():
            dsformer.compress(dense, factorized, recipe=recipe)
        teacher = Teacher(open_for_task(dense, task)[0], tokenizer)
        learned = recipe.merged({"training": {"train": learner}})
        trainer = make_trainer(dsformer.load(factorized), teacher, data, learned.learning, work / "steps", True)
        runs[learner] = stepper(trainer, batches)
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--learners", nargs="+", default=["fixed", "stf"])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--ratio", type=float, default=3.57)
    parser.add_argument("--work", type=Path, help="where models are kept (default: nowhere)")
    parser.add_argument("--alone", action="store_true", help="one learner, or dense, and print its peak memory")
    args = parser.parse_args()
    set_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        work = args.work or Path(scratch)
        runs = contenders(args, work)
        if args.alone:
            runs[args.learners[0]](args.steps)
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            return
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(args.steps // CHUNK):
            for name, take in runs.items():
                seconds[name].append(take(CHUNK))
        print("| learner | step / dense step | median of chunks (quartiles) | peak memory / dense |\n|---|---|---|---|")
        memory = peak("dense", work)
        for name in [one for one in runs if one != "dense"]:
            ratio = Ratio.of(seconds[name], seconds["dense"])
            whole = sum(seconds[name]) / sum(seconds["dense"])
            print(f"| {name} | {whole:.2f} | {ratio} | {peak(name, work) / memory:.2f} |", flush=True)


if __name__ == "__main__":
    main()
