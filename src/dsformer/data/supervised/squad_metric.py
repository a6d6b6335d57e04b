"""SQuAD's official metrics: evaluate-v1.1.py if every question has an answer, else evaluate-v2.0.py."""

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def squad_scores(predictions: Sequence[str], answers: Sequence[Sequence[str]], *, no_answer: bool) -> dict[str, float]:
    """Compute the mean exact match and token F1 over all questions, in percent, each for the best of its right answers.

    Args:
        predictions: one answer per question; "" says that there is none.
        answers: the right answers of every question.
        no_answer: whether questions may have no answer. "" is then the only right answer to a question without answers.
            Answers that consist of articles and punctuation only do not count then, as in version 2.0.
    """
    exact = f1 = 0.0
    for prediction, right in zip(predictions, answers, strict=True):
        if no_answer:
            right = [answer for answer in right if normalize(answer)] or [""]
        exact += max((exact_match(prediction, answer) for answer in right), default=0.0)
        f1 += max((token_f1(prediction, answer, no_answer=no_answer) for answer in right), default=0.0)
    return {"exact": 100 * exact / len(predictions), "f1": 100 * f1 / len(predictions)}


def normalize(text: str) -> str:
    """Convert to lower case, remove punctuation and articles, and separate words by single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, answer: str) -> float:
    """Return 1.0 if the two are the same once normalized, else 0.0."""
    return float(normalize(prediction) == normalize(answer))


def token_f1(prediction: str, answer: str, *, no_answer: bool) -> float:
    """Compute the harmonic mean of the precision and the recall of normalized words, 0 to 1.

    Args:
        prediction: the predicted answer.
        answer: a right answer.
        no_answer: whether questions may have no answer. If either text is empty, version 2.0 (true) gives 1 if both are
            and else 0; version 1.1 (false) always gives 0.
    """
    predicted, right = normalize(prediction).split(), normalize(answer).split()
    if no_answer and not (predicted and right):
        return float(predicted == right)
    common = sum((Counter(predicted) & Counter(right)).values())
    return 2 * common / (len(predicted) + len(right)) if common else 0.0
