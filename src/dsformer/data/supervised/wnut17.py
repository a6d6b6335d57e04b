"""WNUT 17: names of emerging entities in noisy text (Derczynski et al. 2017), one tag per word."""

from pathlib import Path

from dsformer.data.reading import open_text
from dsformer.data.sources import find_file, find_local, find_optional
from dsformer.data.supervised.hub import CONVERTED, HubSource, hub_column, load_hub
from dsformer.data.supervised.targets import filled, listed
from dsformer.data.supervised.task import Examples, SupervisedTask
from dsformer.errors import InputError

FOLDER = "wnut17-ner"
_TYPES = ("corporation", "creative-work", "group", "location", "person", "product")
# In the order of the hub's copy.
TAGS = ("O", *(f"{position}-{kind}" for kind in _TYPES for position in "BI"))
_HUB = HubSource("leondz/wnut_17", FOLDER, revision=CONVERTED)


def load(data_dir: Path | None = None) -> SupervisedTask:
    """Read the task from the folder `wnut17-ner`, else from the hub.

    Files: `wnut17train.conll`, `emerging.dev.conll` (evaluation) and `emerging.test.annotated` (held out) of
    github.com/leondz/emerging_entities_17. Each line has a word, a tab and a tag, and an empty line follows each
    sentence.

    Raises:
        InputError: the evaluation file is missing, a line lacks its tag or has an unknown one, or the hub cannot be
            reached.
        MissingExtraError: the hub is needed and `datasets` is not installed.
    """
    folder = find_local(FOLDER, data_dir)
    train: Examples | None
    held_out: Examples | None
    if folder is None:
        splits = load_hub(_HUB)
        train, evaluation, held_out = (
            Examples(
                tuple(map(tuple, hub_column(_HUB, splits, split, "tokens"))),
                targets=tuple(map(tuple, hub_column(_HUB, splits, split, "ner_tags"))),
            )
            for split in ("train", "validation", "test")
        )
    else:
        evaluation = _read(find_file(folder, "emerging.dev.conll"))
        paths = [find_optional(folder, name) for name in ("wnut17train.conll", "emerging.test.annotated")]
        train, held_out = (None if path is None else _read(path) for path in paths)
    return SupervisedTask("wnut17", "token_classification", TAGS, train, evaluation, "f1", held_out)


def _read(path: Path) -> Examples:
    sentences: list[list[tuple[str, int]]] = [[]]
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                sentences[-1].append(_word(line, f"{path}, line {number}"))
            elif sentences[-1]:
                sentences.append([])
    filled_sentences = [sentence for sentence in sentences if sentence]
    words = tuple(tuple(word for word, _ in sentence) for sentence in filled_sentences)
    tags = tuple(tuple(tag for _, tag in sentence) for sentence in filled_sentences)
    return filled(path, Examples(words, targets=tags))


def _word(line: str, place: str) -> tuple[str, int]:
    word, *tags = line.strip("\r\n").split("\t")
    if len(tags) != 1:
        raise InputError(f"{place}: expected a word, a tab and a tag")
    if tags[0] not in TAGS:
        raise InputError(f"{place}: the tag {tags[0]!r} is not one of: {listed(TAGS)}")
    return word, TAGS.index(tags[0])
