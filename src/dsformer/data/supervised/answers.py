"""Answers from start and end logits, as run_qa of transformers and BERT's run_squad find them."""

import numpy as np
from jaxtyping import Float, Int
from numpy.lib.stride_tricks import sliding_window_view

from dsformer.data.supervised.encoded import EncodedExamples
from dsformer.data.supervised.task import Examples

# Settings of those scripts: answers start and end at one of the 20 best tokens, and have at most 30 tokens.
_CANDIDATES = 20
_LONGEST = 30


def best_answers(
    examples: Examples,
    encoded: EncodedExamples,
    starts: Float[np.ndarray, "windows tokens"],
    ends: Float[np.ndarray, "windows tokens"],
    *,
    no_answer: bool,
) -> list[str]:
    """Return the best span of all windows of each example, by the sum of its start and end logits; "" if there is none.

    Args:
        examples: the questions and their contexts.
        encoded: what `encode` made of these examples.
        starts: logits of the start of the answer.
        ends: logits of its end.
        no_answer: whether questions may have no answer. Then "" is also returned where the sum at the null token, the
            lowest over all windows, is above that of the best span (a threshold of 0).
    """
    best = np.full(len(examples), -np.inf)
    null = np.full(len(examples), np.inf)
    answers = [""] * len(examples)
    for window, owner in enumerate(encoded.alignment["example"]):
        begins, stops = encoded.alignment["begins"][window], encoded.alignment["ends"][window]
        token = encoded.alignment["null"][window]
        start_logits = starts[window, : len(begins)].astype(np.float64)
        end_logits = ends[window, : len(begins)].astype(np.float64)
        null[owner] = min(null[owner], start_logits[token] + end_logits[token])
        total, first, last = _best_span(_candidates(start_logits, begins), _candidates(end_logits, begins))
        if total > best[owner]:
            best[owner] = total
            answers[owner] = examples.pairs[owner][begins[first] : stops[last]] if examples.pairs else ""
    if no_answer:
        return ["" if null[index] > best[index] else answer for index, answer in enumerate(answers)]
    return answers


def _candidates(
    logits: Float[np.ndarray, " tokens"], begins: Int[np.ndarray, " tokens"]
) -> Float[np.ndarray, " tokens"]:
    """Return the logits of the best tokens of the window; minus infinity for others and outside of the context."""
    kept = np.full(len(logits), -np.inf)
    top = np.argsort(-logits, kind="stable")[:_CANDIDATES]
    kept[top] = logits[top]
    return np.where(np.asarray(begins) >= 0, kept, -np.inf)


def _best_span(starts: Float[np.ndarray, " tokens"], ends: Float[np.ndarray, " tokens"]) -> tuple[float, int, int]:
    """Return the highest sum of a start and an end logit, and the two tokens.

    The end is not before the start, and the span is not too long.
    """
    padded = np.concatenate([ends, np.full(_LONGEST - 1, -np.inf)])
    reachable = sliding_window_view(padded, _LONGEST)
    nearest = reachable.argmax(axis=1)
    totals = starts + reachable[np.arange(len(starts)), nearest]
    first = int(totals.argmax())
    return float(totals[first]), first, first + int(nearest[first])
