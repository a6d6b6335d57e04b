"""Scores of contenders on tasks of sentence encoders, whatever engine runs them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from dsformer.benchmarking.agreement import pooled, pooling_of
from dsformer.benchmarking.engines import Contender
from dsformer.errors import InputError
from dsformer.evaluation import TASKS, evaluate
from dsformer.models.checkpoint import read_json
from dsformer.models.directory import MODULES, TRANSFORMER_CONFIGS, read_modules
from dsformer.models.source import find_directory

# Where a directory says how many tokens its model reads.
LIMITS = (("config.json", "max_position_embeddings"), *((name, "max_seq_length") for name in TRANSFORMER_CONFIGS))


class Embedder:
    """A contender as a sentence encoder: pooled and, where its directory says so, scaled to length 1.

    Args:
        contender: an encoder.
    """

    def __init__(self, contender: Contender):
        self.contender = contender
        self._pooling = pooling_of(contender.model)
        directory = find_directory(contender.model)
        files = [(directory.place / name, limit) for name, limit in LIMITS]
        limits = [read_json(file).get(limit) for file, limit in files if file.is_file()]
        self._longest = min([contender.tokenizer.model_max_length, *(limit for limit in limits if limit)])
        modules = directory.top / MODULES
        named = read_modules(modules) if modules.is_file() else []
        self._scaled = any(str(module["type"]).endswith("Normalize") for module in named)

    def encode(self, sentences: Sequence[str], batch_size: int = 64, **_: Any) -> Float32[np.ndarray, "texts width"]:
        """Embed sentences, one row each; batches are of sentences of about the same length."""
        ids = self.contender.tokenizer(list(sentences), truncation=True, max_length=self._longest)["input_ids"]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        rows: dict[int, torch.Tensor] = {}
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            outputs = self.contender.outputs([ids[i] for i in chosen])
            rows |= {i: pooled(one, self._pooling) for i, one in zip(chosen, outputs, strict=True)}
        found = torch.stack([rows[i] for i in range(len(ids))])
        return (torch.nn.functional.normalize(found) if self._scaled else found).numpy()


def score(
    contenders: Sequence[Contender], task: str, data_dir: Path | None = None, limit: int | None = None
) -> dict[str, float]:
    """Score contenders, by name; compiled ones, which would be compiled for every length, are left out.

    Args:
        contenders: encoders.
        task: of ``evaluation.TASKS`` or ``mteb:NAME``.
        data_dir: folder of data sets.
        limit: the greatest number of items that are scored; None: all.

    Raises:
        InputError: the task is unknown, lacks its data, or compares with an original.
    """
    if task in TASKS and TASKS[task].needs_original:
        raise InputError(f"task {task} compares with the original model; the cosines beside the speeds do so too")
    chosen = [one for one in contenders if not one.way.startswith("compile")]
    return {one.name: evaluate(Embedder(one), [task], data_dir, limit=limit)[task].value for one in chosen}
