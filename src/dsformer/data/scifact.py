"""SciFact: find the abstract that bears on a scientific claim (Wadden et al. 2020), in BEIR's layout. Not bundled."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsformer.data.reading import read_jsonl, read_table
from dsformer.data.sources import find_data, find_file
from dsformer.errors import InputError

FOLDER = "scifact"


@dataclass(frozen=True)
class Retrieval:
    """A retrieval task.

    Attributes:
        queries: text of each judged query, by its id.
        documents: text of each document, by its id; the title comes first.
        relevance: for each query id, the grade (1 or more) of every relevant document id.
    """

    queries: Mapping[str, str]
    documents: Mapping[str, str]
    relevance: Mapping[str, Mapping[str, int]]


def load(data_dir: Path | None = None) -> Retrieval:
    """Read BEIR's test split (300 queries, 5,183 documents) from the folder `scifact`.

    Files: `corpus.jsonl` or `scifact-corpus.jsonl` (_id, title, text), `queries.jsonl` (_id, text) and `qrels/test.tsv`
    (query-id, corpus-id, score); any may be gzipped. Source: BEIR (Thakur et al. 2021); claims CC BY 4.0, abstracts
    ODC-By 1.0.

    Raises:
        InputError: the folder, a file, a key or a column is missing, or a judgement names an unknown id.
    """
    folder = find_data(FOLDER, data_dir)
    relevance = _read_relevance(find_file(folder, "qrels/test.tsv"))
    queries = _read_texts(find_file(folder, "queries.jsonl"))
    documents = _read_texts(find_file(folder, "corpus.jsonl", "scifact-corpus.jsonl"))
    for query, grades in relevance.items():
        if query not in queries:
            raise InputError(f"{folder}: qrels/test.tsv judges query {query!r}, which queries.jsonl lacks")
        for document in grades:
            if document not in documents:
                raise InputError(f"{folder}: qrels/test.tsv judges document {document!r}, which the corpus lacks")
    return Retrieval({query: queries[query] for query in relevance}, documents, relevance)


def _read_relevance(path: Path) -> dict[str, dict[str, int]]:
    table = read_table(path, tabs=True)
    relevance: dict[str, dict[str, int]] = {}
    for query, document, score in zip(*map(table.column, ("query-id", "corpus-id", "score")), strict=True):
        try:
            grade = int(score)
        except ValueError:
            raise InputError(f"{path}: the score of query {query!r} must be a whole number, not {score!r}") from None
        if grade > 0:
            relevance.setdefault(query, {})[document] = grade
    if not relevance:
        raise InputError(f"{path} judges no document relevant")
    return relevance


def _read_texts(path: Path) -> dict[str, str]:
    return {_field(record, "_id", path): _text(record, path) for record in read_jsonl(path)}


def _text(record: Any, path: Path) -> str:
    text = _field(record, "text", path)
    title = record.get("title") or ""
    return f"{title} {text}".strip()


def _field(record: Any, key: str, path: Path) -> str:
    if not isinstance(record, dict) or not isinstance(record.get(key), str):
        raise InputError(f"{path}: every line must be an object with a string {key!r}")
    return record[key]
