"""Classifiers of tokens, as the pipeline ``token-classification``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding

from dsformer_runtime.errors import RuntimeInputError
from dsformer_runtime.labels import read_labels
from dsformer_runtime.model import Floats
from dsformer_runtime.reference import softmax
from dsformer_runtime.text_model import TextModel, check_texts

STRATEGIES = ("none", "simple", "first", "average", "max")
Entity = dict[str, Any]


@dataclass(frozen=True)
class Token:
    """A token and its probabilities."""

    word: str
    scores: Floats
    start: int
    end: int
    index: int
    inside: bool


class TokenClassifier:
    """A classifier of tokens, such as of names.

    Args:
        directory: of the model.
        dtype: in which linear layers multiply: ``float32``, ``bfloat16``, ``int8``; None: as they are stored.
        backend: ``native`` or ``reference``; None: the native one where it is there.
        threads: that a call may use; None: as many as this process may use.
        aggregation_strategy: of calls that name none.

    Raises:
        RuntimeInputError: a file is missing or damaged.
        UnsupportedModelError: the model is no classifier of tokens, or of a kind that is not supported.
    """

    def __init__(
        self,
        directory: str | Path,
        dtype: str | None = None,
        backend: str | None = None,
        threads: int | None = None,
        aggregation_strategy: str = "none",
    ):
        self._text = TextModel(directory, dtype, backend, threads)
        self._head = self._text.need_head("ForTokenClassification")
        self.labels = read_labels(self._text.config, self._head.outputs)
        self._strategy = _check_strategy(aggregation_strategy)
        self._unknown = self._text.tokenizer.token_to_id(self._text.tokenizer.special("unk_token"))

    def __call__(
        self,
        inputs: str | Sequence[str],
        aggregation_strategy: str | None = None,
        ignore_labels: Sequence[str] = ("O",),
        batch_size: int = 32,
    ) -> list[Any]:
        """Find entities.

        Args:
            inputs: a text or several; longer ones than the model can read are cut.
            aggregation_strategy: ``none``: one entity for each token; ``simple``: neighbouring tokens of one label are
                joined; ``first``, ``average``, ``max``: so are words, whose label is that of the first token, of the
                mean of all, or of the surest.
            ignore_labels: labels that are no entities.
            batch_size: texts that run at once, at most.

        Returns:
            For one text a list of entities, otherwise a list of these lists. ``start`` and ``end`` count characters.

        Raises:
            RuntimeInputError: an argument is wrong.
        """
        strategy = self._strategy if aggregation_strategy is None else _check_strategy(aggregation_strategy)
        texts, alone = check_texts(inputs)
        found: list[list[Entity]] = [[] for _ in texts]
        for numbers, encodings, batch in self._text.batches(texts, batch_size):
            probabilities = softmax(self._text.run_head(self._head, batch))
            start = 0
            for number, one in zip(numbers, encodings, strict=True):
                scores = probabilities[start : start + len(one.ids)]
                start += len(one.ids)
                entities = self._aggregate(self._tokens(texts[number], one, scores), strategy)
                found[number] = [one for one in entities if _label(one) not in ignore_labels]
        return found[0] if alone else found

    def _tokens(self, text: str, encoding: Encoding, scores: Floats) -> list[Token]:
        """Return the tokens of a text but the special ones."""
        marked = self._text.tokenizer.continues_words
        tokens = []
        for index, (start, end) in enumerate(encoding.offsets):
            if encoding.special_tokens_mask[index]:
                continue
            word, part = encoding.tokens[index], text[start:end]
            if marked:
                inside = len(word) != len(part)
            else:
                inside = start > 0 and " " not in text[start - 1 : start + 1]
            if encoding.ids[index] == self._unknown:
                word, inside = part, False
            tokens.append(Token(word, scores[index], start, end, index, inside))
        return tokens

    def _aggregate(self, tokens: list[Token], strategy: str) -> list[Entity]:
        if strategy in ("none", "simple"):
            entities = [self._entity(token) for token in tokens]
        else:
            entities = [self._word(group, strategy) for group in _group_words(tokens)]
        return entities if strategy == "none" else self._join(entities)

    def _entity(self, token: Token) -> Entity:
        best = int(token.scores.argmax())
        return {
            "entity": self.labels[best],
            "score": float(token.scores[best]),
            "index": token.index,
            "word": token.word,
            "start": token.start,
            "end": token.end,
        }

    def _word(self, tokens: list[Token], strategy: str) -> Entity:
        """Return the entity of one word."""
        if strategy == "first":
            scores = tokens[0].scores
        elif strategy == "max":
            scores = max(tokens, key=lambda token: token.scores.max()).scores
        else:
            scores = np.stack([token.scores for token in tokens]).mean(0)
        best = int(scores.argmax())
        return {
            "entity": self.labels[best],
            "score": float(scores[best]),
            "word": self._text.tokenizer.join([token.word for token in tokens]),
            "start": tokens[0].start,
            "end": tokens[-1].end,
        }

    def _join(self, entities: list[Entity]) -> list[Entity]:
        """Join neighbours of one label; ``B-`` starts a new entity."""
        groups: list[list[Entity]] = []
        for one in entities:
            begins, label = _split_label(one["entity"])
            if groups and label == _split_label(groups[-1][-1]["entity"])[1] and not begins:
                groups[-1].append(one)
            else:
                groups.append([one])
        return [
            {
                "entity_group": group[0]["entity"].split("-", 1)[-1],
                "score": float(np.mean([one["score"] for one in group])),
                "word": self._text.tokenizer.join([one["word"] for one in group]),
                "start": group[0]["start"],
                "end": group[-1]["end"],
            }
            for group in groups
        ]


def _group_words(tokens: list[Token]) -> list[list[Token]]:
    groups: list[list[Token]] = []
    for token in tokens:
        if groups and token.inside:
            groups[-1].append(token)
        else:
            groups.append([token])
    return groups


def _split_label(label: str) -> tuple[bool, str]:
    """Return whether a label begins an entity, and the label without ``B-`` or ``I-``."""
    return label.startswith("B-"), label[2:] if label.startswith(("B-", "I-")) else label


def _label(entity: Entity) -> str:
    return str(entity.get("entity", entity.get("entity_group")))


def _check_strategy(name: str) -> str:
    """Return a strategy in lower case.

    Raises:
        RuntimeInputError: there is no such strategy.
    """
    if not isinstance(name, str) or name.lower() not in STRATEGIES:
        raise RuntimeInputError(f"aggregation_strategy: {name!r:.40} is not one of {', '.join(STRATEGIES)}")
    return name.lower()
