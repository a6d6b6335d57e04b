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
from statistics import median
from time import perf_counter
from typing import Any

import torch
from transformers import set_seed

import dsformer
from dsformer.cli.demo import find_minilm
from dsformer.pipeline import once
from dsformer.progress import silent
from dsformer.recipe import Recipe
from dsformer.tasks.supervised import load_task
from dsformer.training.data import TrainingData, of_task
from dsformer.training.freezing import freeze_embeddings
from dsformer.training.heads import open_for_task
from dsformer.training.run import Teacher, make_trainer
from dsformer.training.trainer import FactorizationTrainer, training_arguments

CHUNK = 10


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


def peak(learner: str) -> float:
    """Peak memory of a process that takes a few steps, in MB."""
    command = [sys.executable, __file__, "--learners", learner, "--steps", str(CHUNK), "--alone"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--learners", nargs="+", default=["fixed", "stf"])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--ratio", type=float, default=3.57)
    parser.add_argument("--alone", action="store_true", help="one learner, or dense, and print its peak memory")
    args = parser.parse_args()
    set_seed(0)
    task = load_task("movie_reviews")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        model, tokenizer = open_for_task(find_minilm(), task)
        settings = Recipe().merged({"training": {"task": task.name, "epochs": args.steps / 267}}).training
        data = of_task(task, settings, tokenizer)
        batches = [data.collate([data.features[i + j] for j in range(32)]) for i in range(0, 32 * 60, 32)]
        model.save_pretrained(scratch / "dense")
        tokenizer.save_pretrained(scratch / "dense")
        runs = {}
        if not (args.alone and args.learners != ["dense"]):
            runs["dense"] = stepper(dense_trainer(settings, data, model, scratch), batches)
        for learner in [one for one in args.learners if one != "dense"]:
            recipe = Recipe().merged({"ratio": args.ratio, "training": {**settings.model_dump(), "train": learner}})
            place = scratch / "factorized"
            if not place.exists():
                once(scratch / "dense", place, recipe.merged({"effort": {"iterations": 4, "screening": 2}}))
            teacher = Teacher(open_for_task(scratch / "dense", task)[0], tokenizer)
            bare = recipe.merged({"training": {"distill": "none"}})
            runs[learner] = stepper(make_trainer(dsformer.load(place), teacher, data, bare, scratch, True), batches)
        if args.alone:
            runs[args.learners[0]](args.steps)
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            return
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(args.steps // CHUNK):
            for name, take in runs.items():
                seconds[name].append(take(CHUNK))
    dense = sum(seconds["dense"])
    print("| learner | step / dense step | median of chunks (quartiles) | peak memory / dense |\n|---|---|---|---|")
    memory = peak("dense")
    for name in [one for one in runs if one != "dense"]:
        ratios = sorted(ours / theirs for ours, theirs in zip(seconds[name], seconds["dense"], strict=True))
        low, high = ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]
        print(
            f"| {name} | {sum(seconds[name]) / dense:.2f} | {median(ratios):.2f} ({low:.2f} to {high:.2f}) "
            f"| {peak(name) / memory:.2f} |"
        )


if __name__ == "__main__":
    main()
