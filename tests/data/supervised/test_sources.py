"""The other tasks of data sets: SQuAD, WNUT 17, WikiText-2, spam and movie reviews."""

import json
import zipfile
from pathlib import Path

import pytest

from dsformer.data.supervised import load_task
from dsformer.errors import InputError

QUESTIONS = [
    {"id": "q1", "question": "Who?", "answers": [{"text": "Jane", "answer_start": 3}], "is_impossible": False},
    {"id": "q2", "question": "Why?", "answers": [], "is_impossible": True},
]


def squad(questions: list[dict]) -> str:
    return json.dumps({"data": [{"title": "T", "paragraphs": [{"context": "By Jane.", "qas": questions}]}]})


@pytest.mark.parametrize("prefix", ["", "squad-"])
def test_squad(write, tmp_path: Path, prefix: str):
    write(f"squad/{prefix}dev-v1.1.json", squad(QUESTIONS[:1]))
    write(f"squad/{prefix}dev-v2.0.json", squad(QUESTIONS))
    first, second = load_task("squad", tmp_path), load_task("squad_v2", tmp_path)
    assert (first.kind, first.metric, first.train) == ("question_answering", "f1", None)
    assert (first.evaluation.texts, first.evaluation.pairs) == (("Who?",), ("By Jane.",))
    assert second.evaluation.targets == ((("Jane", 3),), ())
    assert second.evaluation.ids == ("q1", "q2")
    write("squad/squad-train-v1.1-first-12-articles.json", squad(QUESTIONS[:1]))
    assert len(load_task("squad", tmp_path).train) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("{}", "not in the format of SQuAD: the key 'data' is missing"),
        ('{"data": [3]}', "not in the format of SQuAD"),
        ('{"data": []}', "holds no rows"),
        (squad([{"id": "q", "question": "Q"}]), "the key 'answers' is missing"),
    ],
)
def test_damaged_squad(write, tmp_path: Path, content: str, message: str):
    write("squad/dev-v1.1.json", content)
    with pytest.raises(InputError, match=message):
        load_task("squad", tmp_path)


def test_wnut17(write, tmp_path: Path):
    write("wnut17-ner/wnut17train.conll", "Jane\tB-person\nDoe\tI-person\n\t\n\nhi\tO\n")
    write("wnut17-ner/emerging.dev.conll", "😂\tO\n\n")
    task = load_task("wnut17", tmp_path)
    assert task.train.texts == (("Jane", "Doe"), ("hi",))
    assert [[task.labels[tag] for tag in tags] for tags in task.train.targets] == [["B-person", "I-person"], ["O"]]
    assert (task.evaluation.texts, task.held_out, len(task.labels)) == ((("😂",),), None, 13)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tO\nb\n", "line 2: expected a word, a tab and a tag"),
        ("a\tB-animal\n", "line 1: the tag 'B-animal' is not one of: 'O', 'B-corporation'"),
        ("\n", "holds no rows"),
    ],
)
def test_damaged_wnut17(write, tmp_path: Path, content: str, message: str):
    write("wnut17-ner/emerging.dev.conll", content)
    with pytest.raises(InputError, match=message):
        load_task("wnut17", tmp_path)


@pytest.mark.parametrize("header", ["", "Label\tSMS\n"])
def test_sms_spam(write, tmp_path: Path, header: str):
    write("sms-spam/SMSSpamCollection", header + "".join(f'ham\t"hi {n}\nspam\twin {n}\n' for n in range(7)))
    task = load_task("sms_spam", tmp_path)
    assert task.evaluation.texts == ('"hi 4', "win 4")
    assert (len(task.train), task.evaluation.targets, task.metric) == (12, (0, 1), "f1")
    write("sms-spam/SMSSpamCollection", header + "egg\thi\n")
    with pytest.raises(InputError, match=r"the label 'egg' is not one of: 'ham', 'spam'"):
        load_task("sms_spam", tmp_path)


def test_movie_reviews_of_a_folder(write, tmp_path: Path):
    folder = tmp_path / "movie-review-polarity"
    folder.mkdir()
    with pytest.raises(InputError, match=r"has no sentences\.csv or sentence_polarity\.zip"):
        load_task("movie_reviews", tmp_path)
    with zipfile.ZipFile(folder / "sentence_polarity.zip", "w") as archive:
        for suffix in ("neg", "pos"):
            lines = "".join(f"{suffix} {number} , \n" for number in range(6))
            archive.writestr(f"sentence_polarity/rt-polarity.{suffix}", lines)
    task = load_task("movie_reviews", tmp_path)
    assert (task.evaluation.texts, task.evaluation.targets) == (("neg 4 ,", "pos 4 ,"), (0, 1))
    write("movie-review-polarity/sentences.csv", "label,text\n" + 'positive,"a, b"\n' * 5)
    assert load_task("movie_reviews", tmp_path).evaluation.texts == ("a, b",)


def test_a_damaged_archive_of_movie_reviews(write, tmp_path: Path):
    write("movie-review-polarity/sentence_polarity.zip", "no archive")
    with pytest.raises(InputError, match="is not NLTK's archive"):
        load_task("movie_reviews", tmp_path)


@pytest.mark.parametrize("suffix", ["raw", "tokens"])
def test_wikitext2_leaves_blank_lines_out(write, tmp_path: Path, suffix: str):
    write(f"wikitext2/wiki.test.{suffix}", " \n = Title = \n \n Text . \n")
    masked, causal = load_task("wikitext2", tmp_path), load_task("wikitext2_causal", tmp_path)
    assert masked.evaluation.texts == causal.evaluation.texts == (" = Title = \n", " Text . \n")
    assert (masked.kind, causal.kind, masked.train) == ("masked_lm", "causal_lm", None)
    write("wikitext2/wiki.train.raw", " More . \n")
    assert load_task("wikitext2", tmp_path).train.texts == (" More . \n",)
