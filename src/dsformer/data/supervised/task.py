"""Supervised tasks: examples with targets, and the metric that scores are reported by."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from dsformer.data.text import Text

TaskKind = Literal[
    "classification", "regression", "token_classification", "question_answering", "masked_lm", "causal_lm"
]

# Of data without an official split, every fifth example of each class is held out.
_HELD_OUT = 5


@dataclass(frozen=True)
class Examples:
    """One split of a task, in the order of its source.

    Attributes:
        texts: one string each; for token classification one tuple of words each; for question answering the questions.
        pairs: the second text of each example (for question answering the context); None if there is only one text.
        targets: for classification the index of the class; for regression a float; for token classification a tuple
            with the index of each word's tag; for question answering a tuple of answers (text, first character in the
            context), empty if the context has none. Empty for language modelling.
        ids: the official id of each example where the source gives one (SQuAD); otherwise empty.
    """

    texts: tuple[Any, ...]
    pairs: tuple[str, ...] | None = None
    targets: tuple[Any, ...] = ()
    ids: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, count: int | None, seed: int) -> "Examples":
        """Draw `count` examples at random without replacement, in the order drawn; the same for the same seed.

        This object itself is returned if `count` is None or at least the number of examples.
        """
        if count is None or count >= len(self):
            return self
        return self.select(random.Random(seed).sample(range(len(self)), count))

    def joined(self, other: "Examples") -> "Examples":
        """Return these examples followed by the others."""
        pairs = None if self.pairs is None else self.pairs + (other.pairs or ())
        return Examples(self.texts + other.texts, pairs, self.targets + other.targets, self.ids + other.ids)

    def select(self, indices: Sequence[int]) -> "Examples":
        """Return the examples at these indices, in this order."""
        return Examples(
            texts=tuple(self.texts[index] for index in indices),
            pairs=None if self.pairs is None else tuple(self.pairs[index] for index in indices),
            targets=tuple(self.targets[index] for index in indices) if self.targets else (),
            ids=tuple(self.ids[index] for index in indices) if self.ids else (),
        )


@dataclass(frozen=True)
class SupervisedTask:
    """A task to train and to score a model on.

    Attributes:
        name: a name out of `TASK_NAMES`, or the name of the user's file.
        kind: what the model has to predict.
        labels: names of the classes or tags in the order of their indices; empty for the other kinds.
        train: examples to train on; None where the source has no training data.
        evaluation: examples that scores are reported on.
        metric: name of the main metric in the result of `score`. "perplexity" is better the lower, every other metric
            the higher.
        held_out: a further labelled split, where the source has one, that is neither `train` nor `evaluation`.
        positive: the index of the class that the metric "f1" of a classification is about.
        scored: the name of the file that `evaluation` is from; None: it is part of what has the task's name.
    """

    name: str
    kind: TaskKind
    labels: tuple[str, ...]
    train: Examples | None
    evaluation: Examples
    metric: str
    held_out: Examples | None = None
    positive: int = 1
    scored: str | None = None

    def renumbered(self, order: Sequence[int | None], names: Sequence[str]) -> "SupervisedTask":
        """Return the task with its classes (or tags of words) in another order, possibly among others.

        Args:
            order: for every new index the present one; None for a class that no example is of.
            names: the names of classes with None in `order`, by their new index.
        """
        new = {old: index for index, old in enumerate(order)}

        def number(target: Any) -> Any:
            return tuple(map(number, target)) if isinstance(target, tuple) else new[target]

        def moved(examples: Examples) -> Examples:
            return replace(examples, targets=tuple(map(number, examples.targets)))

        return replace(
            self,
            labels=tuple(names[index] if old is None else self.labels[old] for index, old in enumerate(order)),
            train=self.train and moved(self.train),
            evaluation=moved(self.evaluation),
            held_out=self.held_out and moved(self.held_out),
            positive=new.get(self.positive, self.positive),
        )

    @property
    def scored_on(self) -> str:
        """Name of what scores are computed on: the file to evaluate on where there is one, else the task."""
        return self.scored or self.name

    @property
    def unseen(self) -> Examples:
        """All labelled examples that are not trained on.

        Compressed models differ by less than a small set can resolve.
        """
        return self.evaluation if self.held_out is None else self.evaluation.joined(self.held_out)

    @property
    def length(self) -> int:
        """Longest text in tokens by default; answers are searched in windows of this length."""
        return 384 if self.kind == "question_answering" else 128


def split_every_fifth(examples: Examples) -> tuple[Examples, Examples]:
    """Split examples into training and evaluation data: the 5th, 10th, 15th … example of every class is held out."""
    seen: defaultdict[int, int] = defaultdict(int)
    train: list[int] = []
    held: list[int] = []
    for index, target in enumerate(examples.targets):
        seen[target] += 1
        (train if seen[target] % _HELD_OUT else held).append(index)
    return examples.select(train), examples.select(held)


def list_texts(examples: Examples) -> list[Text]:
    """Return every example as plain text: one string, or two where there is a second text.

    Words are joined by spaces.
    """
    texts: list[str] = [text if isinstance(text, str) else " ".join(text) for text in examples.texts]
    return [*texts] if examples.pairs is None else [*zip(texts, examples.pairs, strict=True)]
