"""Retrieval by cosine similarity (SciFact), scored with nDCG."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from dsformer.data.scifact import Retrieval, load
from dsformer.data.subset import even_indices
from dsformer.evaluation.encoder import unit_rows
from dsformer.evaluation.score import Inputs, Score

CUTOFF = 10
# A limited run searches this many documents per remaining query, besides the relevant ones.
LIMITED_DOCUMENTS_PER_QUERY = 10


def measure(inputs: Inputs) -> Score:
    """Measure the mean nDCG@10 (times 100) of the 300 test queries of SciFact, ranking its 5,183 abstracts by cosine.

    With a limit fewer documents are searched too, which makes the task easier: compare only runs of the same limit.

    Raises:
        InputError: the data cannot be read.
    """
    data = _limited(load(inputs.data_dir), inputs.limit)
    names = list(data.documents)
    documents = inputs.encode(list(data.documents.values()))
    queries = inputs.encode(list(data.queries.values()))
    gains = [
        ndcg([names[index] for index in row], data.relevance[query], CUTOFF)
        for query, row in zip(data.queries, nearest(queries, documents, CUTOFF).tolist(), strict=True)
    ]
    return Score("scifact", f"nDCG@{CUTOFF}", 100 * float(np.mean(gains)), None, len(gains))


def nearest(
    queries: Float32[np.ndarray, "queries width"], documents: Float32[np.ndarray, "documents width"], count: int
) -> np.ndarray:
    """Return the indices of the documents of highest cosine for each query, best first; ties go by index.

    Args:
        queries: embeddings of the queries.
        documents: embeddings of the documents.
        count: number of documents for each query.

    Returns:
        Indices of the shape `(queries, min(count, documents))`.
    """
    cosines = unit_rows(queries) @ unit_rows(documents).T
    return np.argsort(-cosines, axis=1, kind="stable")[:, :count]


def ndcg(ranking: Sequence[str], grades: Mapping[str, int], cutoff: int) -> float:
    """Compute the normalized discounted cumulative gain of one query's ranking, from 0 to 1.

    It is `sum(grade / log2(rank + 1))` over the first `cutoff` ranks, divided by the same sum of the ideal ranking.
    This is ndcg_cut of trec_eval, which BEIR and MTEB report.

    Args:
        ranking: document ids, best first.
        grades: grade of every relevant document (at least one above 0), ranked or not.
        cutoff: how many ranks count.
    """
    found = [grades.get(document, 0) for document in ranking]
    ideal = sorted(grades.values(), reverse=True)
    return _discounted(found[:cutoff]) / _discounted(ideal[:cutoff])


def _discounted(grades: Sequence[int]) -> float:
    """Sum grades, discounted by the logarithm of their rank."""
    return math.fsum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades, 1))


def _limited(data: Retrieval, limit: int | None) -> Retrieval:
    """Reduce the data to some queries, their relevant documents and some others."""
    if limit is None or limit >= len(data.queries):
        return data
    names = list(data.queries)
    queries = {names[index]: data.queries[names[index]] for index in even_indices(len(names), limit)}
    relevance = {query: data.relevance[query] for query in queries}
    others = list(data.documents)
    kept = {others[index] for index in even_indices(len(others), LIMITED_DOCUMENTS_PER_QUERY * limit)}
    kept.update(document for grades in relevance.values() for document in grades)
    documents = {name: text for name, text in data.documents.items() if name in kept}
    return Retrieval(queries, documents, relevance)
