"""Matching the classes of a model's head with those of a task: by name, or by number where names say nothing."""

import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from dsformer.data.supervised import SupervisedTask
from dsformer.data.supervised.classes import ClassIndex, class_key

_GENERIC = re.compile(r"label[ _]?(\d+)")


@dataclass(frozen=True)
class Matching:
    """The classes of a model, matched with those of a task.

    Attributes:
        order: for every class of the model the index of the matching class of the task; None if the task has no
            examples of it.
        unnamed: the model's classes have numbers for names.
        guessed: the match rests on the order of the classes alone, and the task's classes are words.
    """

    order: tuple[int | None, ...]
    unnamed: bool = False
    guessed: bool = False

    @property
    def same(self) -> bool:
        """Whether the model and the task number the classes in the same way."""
        return self.order == tuple(range(len(self.order)))


def get_class_names(config: Any) -> list[str]:
    """Return the names of a model's classes, in their order."""
    return [str(config.id2label.get(number, f"LABEL_{number}")) for number in range(config.num_labels)]


def match_classes(config: Any, task: SupervisedTask) -> Matching | None:
    """Match the classes of a model's head with those of a task; None if they are different classes.

    All of the task's classes have to be among the model's by name. If one of the two has numbers for names, it is
    enough that both have the same number of classes.
    """
    names, labels = get_class_names(config), task.labels
    known = ClassIndex(names)
    found = [known.find(label) for label in labels]
    if None not in found and len(set(found)) == len(found):
        of_task = {number: index for index, number in enumerate(found)}
        return Matching(tuple(of_task.get(number) for number in range(len(names))))
    if len(names) != len(labels):
        return None
    unnamed = _are_generic(names)
    if not unnamed and not _are_numbers(labels):
        return None
    # Stars from 1 to 5 are in the order of their numbers; words may be in any order.
    guessed = not all(class_key(label).lstrip("-").isdecimal() for label in labels)
    return Matching(tuple(range(len(names))), unnamed, guessed)


def _are_numbers(labels: Sequence[str]) -> bool:
    """Return whether labels are the numbers from 0, in order."""
    return [class_key(label) for label in labels] == [str(number) for number in range(len(labels))]


def _are_generic(names: Sequence[str]) -> bool:
    """Return whether the names of classes are numbers, or ``LABEL_`` and numbers, in order."""
    found = [_GENERIC.fullmatch(name.strip().casefold()) for name in names]
    numbered = all(one and int(one[1]) == number for number, one in enumerate(found))
    return numbered or _are_numbers(names)


def renew_outputs(network: PreTrainedModel) -> None:
    """Initialize the output parameters of a model's classes anew, at random.

    These are the parameters whose shape depends on the number of classes.
    """
    config = deepcopy(network.config)
    config.num_labels = len(get_class_names(config)) + 1
    with torch.device("meta"):
        other = {name: values.shape for name, values in type(network)(config).named_parameters()}
    changed = [name for name, values in network.named_parameters() if values.shape != other[name]]
    for name in changed:
        network.get_parameter(name)._is_hf_initialized = False  # type: ignore[attr-defined]
    with torch.no_grad():
        for module in dict.fromkeys(name.rpartition(".")[0] for name in changed):
            network._init_weights(network.get_submodule(module))
