"""Which class of a model is which class of a task: by name, or by number where names say nothing."""

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
    """The classes of a model as those of a task.

    Attributes:
        order: for every class of the model the index of the task's class that it is; None: a class the task has no
            examples of.
        unnamed: the model has numbers for names.
        guessed: only their order speaks for it: the task's, besides, are words.
    """

    order: tuple[int | None, ...]
    unnamed: bool = False
    guessed: bool = False

    @property
    def same(self) -> bool:
        """Whether both number them alike."""
        return self.order == tuple(range(len(self.order)))


def get_class_names(config: Any) -> list[str]:
    """What a model calls its classes, in their order."""
    return [str(config.id2label.get(number, f"LABEL_{number}")) for number in range(config.num_labels)]


def match_classes(config: Any, task: SupervisedTask) -> Matching | None:
    """How the classes of a model's head answer those of a task; None: they are others.

    All of the task's have to be among the model's by name, or as many as those where one of both has numbers for names.
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
    # Stars from 1 to 5 are in the order of their numbers; words may be in any.
    guessed = not all(class_key(label).lstrip("-").isdecimal() for label in labels)
    return Matching(tuple(range(len(names))), unnamed, guessed)


def _are_numbers(labels: Sequence[str]) -> bool:
    return [class_key(label) for label in labels] == [str(number) for number in range(len(labels))]


def _are_generic(names: Sequence[str]) -> bool:
    found = [_GENERIC.fullmatch(name.strip().casefold()) for name in names]
    numbered = all(one and int(one[1]) == number for number, one in enumerate(found))
    return numbered or _are_numbers(names)


def renew_outputs(network: PreTrainedModel) -> None:
    """Give the outputs of a model's classes new random values: tensors whose shape goes by their number."""
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
