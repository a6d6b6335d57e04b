"""STS-B: sentence pairs with human similarity scores (Cer et al. 2017). Not bundled: its texts have mixed licences."""

from dataclasses import dataclass
from pathlib import Path

from dsformer.data.reading import open_text
from dsformer.data.sources import find_data, find_file
from dsformer.errors import InputError

FOLDER = "glue-stsb"

# The official files have no header: genre, file, year, id, score, sentence 1, sentence 2, and sometimes a source.
_SCORE, _FIRST, _SECOND = 4, 5, 6


@dataclass(frozen=True)
class SentencePairs:
    """Pairs of sentences with human similarity scores, from 0 (unrelated) to 5 (the same meaning)."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    scores: tuple[float, ...]


def load(data_dir: Path | None = None) -> SentencePairs:
    """Read the 1,379 test pairs from `glue-stsb/original/sts-test.csv` or `glue-stsb/sts-test.csv`.

    The file is the official one of the STS benchmark (ixa2.si.ehu.eus/stswiki): separated by tabs, unquoted, no header.

    Raises:
        InputError: the folder or file is missing, or a line lacks the score or a sentence.
    """
    return read_pairs(find_file(find_data(FOLDER, data_dir), "original/sts-test.csv", "sts-test.csv"))


def read_pairs(path: Path) -> SentencePairs:
    """Read one file in the layout of the STS benchmark.

    Raises:
        InputError: the file is missing or empty, or a line lacks the score or a sentence.
    """
    first, second, scores = [], [], []
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            cells = line.rstrip("\r\n").split("\t")
            if len(cells) <= _SECOND:
                raise InputError(f"{path}, line {number}: expected at least 7 tab-separated columns, not {len(cells)}")
            try:
                scores.append(float(cells[_SCORE]))
            except ValueError:
                raise InputError(f"{path}, line {number}: column 5 must be a score, not {cells[_SCORE]!r}") from None
            first.append(cells[_FIRST])
            second.append(cells[_SECOND])
    if not scores:
        raise InputError(f"{path} is empty")
    return SentencePairs(tuple(first), tuple(second), tuple(scores))
