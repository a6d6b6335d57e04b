"""WikiText-2: articles of Wikipedia (Merity et al. 2016) for masked or causal language modelling."""

from collections.abc import Mapping
from pathlib import Path

from dsformer.data.reading import open_text
from dsformer.data.sources import find_file, find_local, find_optional
from dsformer.data.supervised.hub import HubSource, hub_column, load_hub
from dsformer.data.supervised.targets import filled
from dsformer.data.supervised.task import Examples, SupervisedTask, TaskKind

FOLDER = "wikitext2"
KINDS: Mapping[str, TaskKind] = {"wikitext2": "masked_lm", "wikitext2_causal": "causal_lm"}
_HUB = HubSource("Salesforce/wikitext", FOLDER, "wikitext-2-raw-v1")


def load(name: str, data_dir: Path | None = None) -> SupervisedTask:
    """Read "wikitext2" (masked tokens) or "wikitext2_causal" (next tokens) from the folder `wikitext2`, else the hub.

    Files: `wiki.train.raw` and `wiki.test.raw` (evaluation), or where there is no raw file `wiki.train.tokens` and
    `wiki.test.tokens`, whose rare words are `<unk>`. One text is one line with its line end; blank lines are omitted.

    Raises:
        InputError: the evaluation file is missing or the hub cannot be reached.
        MissingExtraError: the hub is needed and `datasets` is not installed.
    """
    folder = find_local(FOLDER, data_dir)
    train: Examples | None
    if folder is None:
        splits = load_hub(_HUB)
        train, evaluation = (_without_blanks(hub_column(_HUB, splits, split, "text")) for split in ("train", "test"))
    else:
        path = find_optional(folder, "wiki.train.raw", "wiki.train.tokens")
        train = None if path is None else _read(path)
        evaluation = _read(find_file(folder, "wiki.test.raw", "wiki.test.tokens"))
    return SupervisedTask(name, KINDS[name], (), train, evaluation, "perplexity")


def _read(path: Path) -> Examples:
    with open_text(path) as file:
        return filled(path, _without_blanks(list(file)))


def _without_blanks(lines: list[str]) -> Examples:
    return Examples(tuple(line for line in lines if line.strip()))
