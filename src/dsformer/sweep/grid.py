"""What a sweep compares."""

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

# Fields of training that say nothing of what a dense model learns.
_OF_NO_EFFECT = {
    *("distill", "distill_weight", "temperature", "factor_rate", "dropout", "save_steps", "report_to"),
    *("ramp", "ramp_until", "projections", "pursuit_steps", "latent_rate"),
}


MOST_SEEDS = 1000


@dataclass(frozen=True)
class Variant:
    """A method, written ``method[@pattern][+learner]``.

    Attributes:
        learner: how it is trained where it differs from the others; empty: as the recipe says.
    """

    method: str
    pattern: str = "free"
    learner: str = ""

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """Raises InputError: unknown method or learner, or a pattern it has no forms of."""
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
        model: what is compressed, without the task's head if there is a task.
        task: it is fine-tuned, calibrated and trained on (if the recipe says so), and scored on all it has labels of
            beside; None: no task.
        evaluate: what sentence encoders are scored on.
        fields: all else of the recipe, nested as it is.
        dense: fields of the training of the dense model, where it is not trained as long or fast as what is made of it.
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
        own: dict[str, Any] = {"method": self.variant.method, "pattern": self.variant.pattern, "ratio": self.ratio}
        training = self._training
        if self.variant.learner:
            training["train"] = self.variant.learner
        elif METHODS[self.variant.method].quantizes:
            # Whole numbers cannot be trained; beside methods that are, they stand for what a user has without.
            own["factors"], training["train"], training["rounding_aware"] = "float", "none", False
        recipe = Recipe().merged({**self.fields, **own, "training": training})
        return recipe.merged({"training": self._from_the_start(recipe)}) if recipe.trains_weights else recipe

    @property
    def _training(self) -> dict[str, Any]:
        """What all cells of the task and seed have in common."""
        return {**self.fields.get("training", {}), "task": self.task, "seed": self.seed}

    def _from_the_start(self, recipe: Recipe) -> dict[str, Any]:
        """Which weights stay is learned along with the task, as the authors of such learners have it: from where the
        dense model's training starts, for as many passes as that and other cells together."""
        dense = self.dense_training
        epochs = dense["epochs"] + recipe.training.epochs
        return {"start": self.model, "epochs": epochs, "examples": dense["examples"]}

    @property
    def key(self) -> str:
        """Names it among all cells there can be: a readable part, and a hash of everything."""
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
        """Names the scores of the model as it came."""
        return f"encoder-{_digest({'model': self.model, 'evaluate': self.evaluate, 'data_dir': self.data_dir})}"

    @property
    def teacher_key(self) -> str:
        """Names the dense model of its task: shared by all cells that differ only in how they compress."""
        same = {name: value for name, value in self.dense_training.items() if name not in _OF_NO_EFFECT}
        return f"{self.task}-seed{self.seed}-{_digest({'model': self.model, 'data_dir': self.data_dir, **same})}"


@dataclass(frozen=True)
class Grid:
    """All cells of a sweep: ``model`` by everything that there are several of.

    Attributes:
        seeds: how many there are of every task, from ``first_seed`` on.
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
        """In an order that finishes a whole seed, and in it a whole task, before the next."""
        seeds = range(self.first_seed, self.first_seed + self.seeds) if self.tasks else (0,)
        for seed, task, ratio, variant in product(seeds, self.tasks or (None,), self.ratios, self.variants):
            shared = (self.evaluate, self.data_dir, dict(self.fields or {}), dict(self.dense or {}))
            yield Cell(self.model, variant, ratio, task, seed, *shared)

    def check(self) -> None:
        """Raises InputError: there is nothing to do or to score, or a recipe is wrong."""
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
