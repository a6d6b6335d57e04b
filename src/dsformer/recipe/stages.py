"""The steps of a compression: what asks for each, and which others it has to follow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsformer.recipe import Recipe


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        asked: whether a recipe's other fields ask for it.
        asked_by: the fields that do.
        after: the steps it has to follow where they are taken too, and why.
        optional: a recipe that lists its steps may leave it out.
    """

    asked: Callable[["Recipe"], bool]
    asked_by: str
    after: dict[str, str] = field(default_factory=dict)
    optional: bool = False


# In the order in which they are taken.
STEPS: dict[str, Step] = {
    "vocabulary": Step(lambda recipe: recipe.vocabulary is not None, "vocabulary"),
    "finetune": Step(
        lambda recipe: recipe.training.task is not None and recipe.training.train != "none",
        "training.train and training.task",
        {"vocabulary": "the dense model learns with the tokens that are left"},
        # There is nothing to do for a model that has the task's head.
        optional=True,
    ),
    "factorize": Step(
        lambda recipe: True,
        "ratio",
        {
            "vocabulary": "rows of tables are taken out while they are dense",
            "finetune": "what is factorized is the model that knows the task",
        },
    ),
    "train": Step(
        lambda recipe: recipe.training.train != "none",
        "training.train",
        {"vocabulary": "it is trained on the tokens that are left", "factorize": "what is trained are the factors"},
    ),
    "round": Step(
        lambda recipe: recipe.factors != "float",
        "factors",
        {
            "factorize": "what is rounded are the factors",
            "train": "whole numbers cannot be trained (training.rounding_aware trains factors that will be rounded)",
        },
    ),
}


def asked(recipe: "Recipe") -> tuple[str, ...]:
    """The steps that a recipe's other fields ask for, in their order."""
    return tuple(name for name, step in STEPS.items() if step.asked(recipe))


def wrong(listed: Sequence[str], recipe: "Recipe") -> str | None:
    """What is wrong with the steps a recipe lists; None: nothing."""
    unknown = next((name for name in listed if name not in STEPS), None)
    if unknown is not None:
        return f"{unknown!r} is not one of {', '.join(STEPS)}"
    if len(set(listed)) < len(listed):
        return f"{next(name for name in listed if listed.count(name) > 1)} is listed twice"
    for first, second in combinations(listed, 2):
        if second in STEPS[first].after:
            return f"{first} cannot precede {second}: {STEPS[first].after[second]}"
    wanted = asked(recipe)
    extra = next((name for name in listed if name not in wanted), None)
    if extra is not None:
        return f"{extra} is listed, but {STEPS[extra].asked_by} does not ask for it"
    missing = next((name for name in wanted if name not in listed and not STEPS[name].optional), None)
    return None if missing is None else f"{missing} is not listed, but {STEPS[missing].asked_by} asks for it"
