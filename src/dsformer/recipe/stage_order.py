"""The stages that a recipe can list: the fields that ask for each, and the stages that it has to follow."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        asked_by: the fields of a recipe that ask for it.
        after: the stages that it has to follow if they are run too, and why.
        optional: a recipe that lists its stages may omit it.
    """

    asked_by: str
    after: dict[str, str] = field(default_factory=dict)
    optional: bool = False


# In the order in which they run.
STAGES: dict[str, Stage] = {
    "vocabulary": Stage("vocabulary"),
    "finetune": Stage(
        "training.train and training.task",
        {"vocabulary": "the dense model learns with the tokens that are left"},
        # A model that has the task's head is not fine-tuned.
        optional=True,
    ),
    "factorize": Stage(
        "ratio",
        {
            "vocabulary": "rows of tables are taken out while they are dense",
            "finetune": "what is factorized is the model that knows the task",
        },
    ),
    "train": Stage(
        "training.train",
        {"vocabulary": "it is trained on the tokens that are left", "factorize": "what is trained are the factors"},
    ),
    "round": Stage(
        "factors",
        {
            "factorize": "what is quantized are the factors",
            "train": "integers cannot be trained (training.rounding_aware trains factors that will be quantized)",
        },
    ),
}


def validate_order(listed: Sequence[str], requested: Sequence[str]) -> str | None:
    """Return what is wrong with the stages that a recipe lists; None: nothing.

    Args:
        listed: stages listed by the recipe.
        requested: stages that its other fields ask for.
    """
    unknown = next((name for name in listed if name not in STAGES), None)
    if unknown is not None:
        return f"{unknown!r} is not one of {', '.join(STAGES)}"
    if len(set(listed)) < len(listed):
        return f"{next(name for name in listed if listed.count(name) > 1)} is listed twice"
    for first, second in combinations(listed, 2):
        if second in STAGES[first].after:
            return f"{first} cannot precede {second}: {STAGES[first].after[second]}"
    extra = next((name for name in listed if name not in requested), None)
    if extra is not None:
        return f"{extra} is listed, but {STAGES[extra].asked_by} does not ask for it"
    missing = next((name for name in requested if name not in listed and not STAGES[name].optional), None)
    return None if missing is None else f"{missing} is not listed, but {STAGES[missing].asked_by} asks for it"
