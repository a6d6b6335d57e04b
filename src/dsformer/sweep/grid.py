"""The grid of a sweep: methods, ratios, tasks and seeds, and the cell of each combination."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from typing import Any

from dsformer.errors import InputError
from dsformer.factorization.methods import METHODS
from dsformer.format.pattern import Pattern
from dsformer.recipe import Recipe
from dsformer.training.learners import LEARNERS

# Fields of training that do not affect the training of a dense model.
_OF_NO_EFFECT = {
    *("distill", "distill_weight", "temperature", "factor_rate", "dropout", "save_steps", "report_to"),
    *("ramp", "ramp_until", "projections", "pursuit_steps", "latent_rate"),
}


MOST_SEEDS = 1000


@dataclass(frozen=True)
class Variant:
    """A method, written ``method[@pattern][+learner]``.

    Attributes:
        method: its name.
        pattern: constraint on supports.
        learner: how its factors are trained where it differs from the recipe; empty: as the recipe says.
    """

    method: str
    pattern: str = "free"
    learner: str = ""

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """Parse a method as a user writes it.

        Raises:
            InputError: the method or the learner is unknown, or the method has no forms of the pattern.
        """
        text, _, learner = text.strip().partition("+")
        method, _, pattern = text.partition("@")
        if learner and learner not in LEARNERS:
            raise InputError(f"methods: {learner!r} is not one of {', '.join(LEARNERS)}")
        if method not in METHODS:
            raise InputError(f"methods: {method!r} is not one of {', '.join(METHODS)}")
        parsed = Pattern.parse(pattern or "free")
        if reason := METHODS[method].refuses(parsed):
            raise InputError(f"methods: {method} {reason}")
        return cls(method, str(parsed), learner)

    def __str__(self) -> str:
        pattern = "" if self.pattern == "free" else f"@{self.pattern}"
        return f"{self.method}{pattern}" + (f"+{self.learner}" if self.learner else "")


@dataclass(frozen=True)
class Cell:
    """One compression.

    Attributes:
        model: the model to compress, without the task's head if there is a task.
        variant: the method.
        ratio: of the recipe.
        task: the model is fine-tuned, calibrated and trained (if the recipe asks for it) on its training data, and
            scored on all other labelled data of it; None: no task.
        seed: of training.
        evaluate: tasks that sentence encoders are scored on.
        data_dir: folder of data sets.
        fields: all other fields of the recipe, nested as in it.
        dense: fields of the training of the dense model, where they differ from those of the compressed one.
    """

    model: str
    variant: Variant
    ratio: float
    task: str | None
    seed: int
    evaluate: tuple[str, ...]
    data_dir: str | None
    fields: dict[str, Any]
    dense: dict[str, Any]

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe of the compression."""
        own: dict[str, Any] = {"method": self.variant.method, "pattern": self.variant.pattern, "ratio": self.ratio}
        training = self._training
        if self.variant.learner:
            training["train"] = self.variant.learner
        elif METHODS[self.variant.method].quantizes:
            # Integers cannot be trained; beside trained methods they show what a user gets without training.
            own["factors"], training["train"], training["rounding_aware"] = "float", "none", False
        recipe = Recipe().merged({**self.fields, **own, "training": training})
        return recipe.merged({"training": self._from_the_start(recipe)}) if recipe.trains_weights else recipe

    @property
    def _training(self) -> dict[str, Any]:
        """Fields of training that all cells of the task and seed share."""
        return {**self.fields.get("training", {}), "task": self.task, "seed": self.seed}

    def _from_the_start(self, recipe: Recipe) -> dict[str, Any]:
        """Return training fields for learners that choose weights during fine-tuning, as their authors do.

        Training starts where that of the dense model starts. It takes as many epochs as the dense model and another
        cell together.
        """
        dense = self.dense_training
        epochs = dense["epochs"] + recipe.training.epochs
        return {"start": self.model, "epochs": epochs, "examples": dense["examples"]}

    @property
    def key(self) -> str:
        """A unique name of the cell: a readable part, and a hash of everything."""
        parts = [str(self.variant), f"{self.ratio:g}x", *([self.task] if self.task else []), f"seed{self.seed}"]
        readable = re.sub(r"[^A-Za-z0-9.]+", "-", "_".join(parts)).strip("-")
        return f"{readable}-{_digest(asdict(self))}"

    @property
    def dense_training(self) -> dict[str, Any]:
        """Fields of the training of the dense model."""
        plain = {**self._training, "train": "none", "rounding_aware": False}
        training = Recipe().merged({"training": plain}).training
        return training.model_dump(mode="json", exclude={"train", "text", "start", "rounding_aware"}) | self.dense

    @property
    def encoder_key(self) -> str:
        """Name of the scores of the original model."""
        return f"encoder-{_digest({'model': self.model, 'evaluate': self.evaluate, 'data_dir': self.data_dir})}"

    @property
    def teacher_key(self) -> str:
        """Name of the fine-tuned dense model, shared by all cells that differ only in how they compress."""
        same = {name: value for name, value in self.dense_training.items() if name not in _OF_NO_EFFECT}
        return f"{self.task}-seed{self.seed}-{_digest({'model': self.model, 'data_dir': self.data_dir, **same})}"


@dataclass(frozen=True)
class Grid:
    """All cells of a sweep: one ``model``, and the product of all settings that have several values.

    Attributes:
        model: the model to compress.
        variants: the methods.
        ratios: of the recipes.
        tasks: tasks to train and score on; none: sentence encoders are scored on ``evaluate``.
        seeds: number of seeds of every task, from ``first_seed`` on.
        evaluate: tasks that sentence encoders are scored on.
        data_dir: folder of data sets.
        fields: all other fields of the recipe, nested as in it.
        dense: fields of the training of the dense model, where they differ from those of the compressed one.
        first_seed: the lowest seed.
    """

    model: str
    variants: tuple[Variant, ...]
    ratios: tuple[float, ...]
    tasks: tuple[str, ...] = ()
    seeds: int = 1
    evaluate: tuple[str, ...] = ()
    data_dir: str | None = None
    fields: Any = None
    dense: Any = None
    first_seed: int = 0

    def cells(self) -> Iterator[Cell]:
        """Yield the cells in an order that finishes a whole seed, and in it a whole task, before the next."""
        seeds = range(self.first_seed, self.first_seed + self.seeds) if self.tasks else (0,)
        for seed, task, ratio, variant in product(seeds, self.tasks or (None,), self.ratios, self.variants):
            shared = (self.evaluate, self.data_dir, dict(self.fields or {}), dict(self.dense or {}))
            yield Cell(self.model, variant, ratio, task, seed, *shared)

    def check(self) -> None:
        """Check the grid and the recipes of all cells.

        Raises:
            InputError: there is nothing to do or to score, or a recipe is wrong.
        """
        if not self.variants or not self.ratios or self.seeds < 1:
            raise InputError("sweep: give at least one method, one ratio and one seed")
        if self.first_seed < 0:
            raise InputError(f"first_seed: {self.first_seed} is not 0 or more")
        if self.seeds > MOST_SEEDS:
            raise InputError(f"seeds: {self.seeds} are more than {MOST_SEEDS}")
        if not self.tasks and not self.evaluate:
            raise InputError("sweep: give tasks to score on (tasks), or what to evaluate encoders on (evaluate)")
        for cell in self.cells():
            _ = cell.recipe


def _digest(described: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()[:8]
