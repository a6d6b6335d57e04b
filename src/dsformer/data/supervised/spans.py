"""Entity F1: precision, recall and F1 of whole entities, as CoNLL's evaluation script counts them."""

from collections.abc import Sequence


def entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Return type, first word and the word after the last of every entity of a sentence in BIO tags.

    An entity begins at B-x, and at an I-x that does not follow a B-x or I-x of the same type.
    """
    found = set()
    kind, start = "", 0
    for index, tag in enumerate([*tags, "O"]):
        position, _, name = tag.partition("-")
        if kind and (position != "I" or name != kind):
            found.add((kind, start, index))
            kind = ""
        if position != "O" and not kind:
            kind, start = name, index
    return found


def entity_scores(predicted: Sequence[Sequence[str]], right: Sequence[Sequence[str]]) -> dict[str, float]:
    """Compute precision, recall and F1 in percent over the entities of all sentences.

    An entity counts only if its type, first and last word are right.
    """
    pairs = [(entities(guess), entities(truth)) for guess, truth in zip(predicted, right, strict=True)]
    common = sum(len(guess & truth) for guess, truth in pairs)
    guessed, true = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
    return {
        "f1": 200 * common / (guessed + true) if common else 0.0,
        "precision": 100 * common / guessed if guessed else 0.0,
        "recall": 100 * common / true if true else 0.0,
    }
