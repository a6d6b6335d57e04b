"""Small classification tasks: bank queries, movie reviews and spam."""

import zipfile
from pathlib import Path

from dsformer.data import banking77
from dsformer.data.reading import read_table
from dsformer.data.sources import find_data, find_file, find_local
from dsformer.data.supervised.hub import HubSource, hub_column, load_hub
from dsformer.data.supervised.targets import class_index, filled
from dsformer.data.supervised.task import Examples, SupervisedTask, split_every_fifth
from dsformer.errors import InputError

_POLARITY = ("negative", "positive")
_SPAM = ("ham", "spam")
_SMS_HEADER = ("Label", "SMS")
_SMS_HUB = HubSource("ucirvine/sms_spam", "sms-spam")


def load_banking77(data_dir: Path | None = None) -> SupervisedTask:
    """Read the intents of `dsformer.data.banking77`: 10,003 queries to train on, 3,080 to evaluate on.

    Raises:
        InputError: a file or column is missing, or a category is unknown.
    """
    data = banking77.load(data_dir)
    train, test = (Examples(split.texts, targets=split.labels) for split in (data.train, data.test))
    return SupervisedTask("banking77", "classification", data.categories, train, test, "accuracy")


def load_movie_reviews(data_dir: Path | None = None) -> SupervisedTask:
    """Read negative and positive sentences of movie reviews (Pang & Lee 2005, CC BY 4.0), 5,331 of each. Bundled.

    There is no official split. Here every 5th sentence of each class, in the order of the authors' files, is for
    evaluation: 8,530 sentences to train on, 2,132 to evaluate on.

    Files of the folder `movie-review-polarity`: `sentences.csv` (columns label, text) as in the package, or NLTK's
    `sentence_polarity.zip`.

    Raises:
        InputError: the file or a column is missing, or a label is unknown.
    """
    folder = find_data("movie-review-polarity", data_dir)
    path = find_file(folder, "sentences.csv", "sentence_polarity.zip")
    examples = _read_polarity_archive(path) if path.suffix == ".zip" else _read_polarity_table(path)
    train, evaluation = split_every_fifth(examples)
    return SupervisedTask("movie_reviews", "classification", _POLARITY, train, evaluation, "accuracy")


def _read_polarity_table(path: Path) -> Examples:
    table = read_table(path)
    cells = zip(table.column("label"), table.lines, strict=True)
    targets = tuple(class_index(cell, _POLARITY, f"{path}, line {line}") for cell, line in cells)
    return filled(path, Examples(tuple(table.column("text")), targets=targets))


def _read_polarity_archive(path: Path) -> Examples:
    texts: list[str] = []
    targets: list[int] = []
    try:
        with zipfile.ZipFile(path) as archive:
            for target, suffix in enumerate(("neg", "pos")):
                content = archive.read(f"sentence_polarity/rt-polarity.{suffix}").decode()
                lines = [line.strip() for line in content.split("\n") if line.strip()]
                texts += lines
                targets += [target] * len(lines)
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not NLTK's archive of the sentence polarity data: {error}") from error
    return filled(path, Examples(tuple(texts), targets=tuple(targets)))


def load_sms_spam(data_dir: Path | None = None) -> SupervisedTask:
    """Read text messages, spam or not (Almeida et al. 2011, CC BY 4.0), from the folder `sms-spam`, else from the hub.

    There is no official split. Here every 5th message of each class is for evaluation: 4,460 messages to train on,
    1,114 to evaluate on. File: UCI's `SMSSpamCollection` (label, tab, message; without a header, or with Label and
    SMS).

    Raises:
        InputError: the file is missing, a label is unknown, or the hub cannot be reached.
        MissingExtraError: the hub is needed and `datasets` is not installed.
    """
    folder = find_local("sms-spam", data_dir)
    if folder is None:
        splits = load_hub(_SMS_HUB)
        texts, targets = (tuple(hub_column(_SMS_HUB, splits, "train", column)) for column in ("sms", "label"))
    else:
        path = find_file(folder, "SMSSpamCollection")
        table = read_table(path, tabs=True, header=_SMS_HEADER)
        texts = tuple(table.column("SMS"))
        cells = zip(table.column("Label"), table.lines, strict=True)
        targets = tuple(class_index(cell, _SPAM, f"{path}, line {line}") for cell, line in cells)
    train, evaluation = split_every_fifth(Examples(texts, targets=targets))
    return SupervisedTask("sms_spam", "classification", _SPAM, train, evaluation, "f1")
