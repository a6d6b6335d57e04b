"""Sentence encoders: texts to vectors, as ``SentenceTransformer.encode`` makes them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding

from dsformer_runtime.artefact.directory import child_directory, read_json, read_object
from dsformer_runtime.backend import scale_to_one
from dsformer_runtime.errors import RuntimeInputError, UnsupportedModelError
from dsformer_runtime.model import Floats
from dsformer_runtime.pooling import PoolingModule, read_pooling
from dsformer_runtime.sentence_modules import Module, read_module
from dsformer_runtime.text_model import TextModel, check_texts
from dsformer_runtime.tokenization import Batch

MODULES = "modules.json"


class SentenceEncoder:
    """A sentence encoder with the outputs of ``SentenceTransformer``.

    A directory without ``modules.json`` is an encoder whose hidden states are averaged.

    Args:
        directory: of the model.
        dtype: in which linear layers multiply: ``float32``, ``bfloat16``, ``int8``; None: as they are stored.
        backend: ``native`` or ``reference``; None: the native one where it is there.
        threads: that a call may use; None: as many as this process may use.

    Raises:
        RuntimeInputError: a file is missing or damaged.
        UnsupportedModelError: the model, or a module after it, is of a kind that is not supported.
    """

    def __init__(
        self, directory: str | Path, dtype: str | None = None, backend: str | None = None, threads: int | None = None
    ):
        place = Path(directory).expanduser()
        listed = _list_modules(place)
        self._text = TextModel(place if not listed else child_directory(place, listed[0][1]), dtype, backend, threads)
        self._pooling, self._modules = self._read_modules(place, listed)
        config = read_object(place / "config_sentence_transformers.json", needed=False)
        prompts = config.get("prompts")
        self.prompts: dict[str, str] = {"query": "", "document": ""}
        if isinstance(prompts, dict):
            self.prompts |= {name: text for name, text in prompts.items() if isinstance(text, str)}
        self.default_prompt_name: str | None = config.get("default_prompt_name")
        self._prompt_lengths: dict[str, int] = {}

    @property
    def max_seq_length(self) -> int:
        """Number of tokens that texts are cut to."""
        return self._text.max_seq_length

    @property
    def width(self) -> int:
        """Length of the vectors."""
        width = self._pooling.width
        for module in self._modules:
            width = module.width(width)
        return width

    def encode(
        self,
        sentences: str | Sequence[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
    ) -> Floats:
        """Return the vectors of texts, float32 (texts, width); (width,) of one text alone.

        Args:
            sentences: a text or several.
            prompt_name: name of the prompt that stands before every text.
            prompt: that stands before every text; the name is ignored then.
            batch_size: texts that run at once, at most; results do not depend on it.
            show_progress_bar: whether to write to stderr how many texts are done.
            normalize_embeddings: whether vectors get the length 1.
            truncate_dim: length that vectors are cut to, before they are normalized.

        Raises:
            RuntimeInputError: an argument is wrong, or there is no prompt of this name.
        """
        texts, alone = check_texts(sentences)
        if truncate_dim is not None and (type(truncate_dim) is not int or truncate_dim < 1):
            raise RuntimeInputError(f"truncate_dim: {truncate_dim!r} is not a positive whole number")
        prompt = self._find_prompt(prompt, prompt_name)
        skipped = self._prompt_length(prompt) if prompt and not self._pooling.include_prompt else 0
        texts = [prompt + text for text in texts] if prompt else texts
        vectors = np.zeros((len(texts), self.width), np.float32)
        for numbers, _, batch in self._text.batches(texts, batch_size, show_progress_bar):
            vectors[numbers] = self._run(batch, skipped)
        vectors = vectors[:, :truncate_dim]
        vectors = scale_to_one(vectors) if normalize_embeddings else vectors
        return vectors[0] if alone else vectors

    def _run(self, batch: Batch, skipped: int) -> Floats:
        pooled = self._pooling.run(self._text, batch, skipped)
        for module in self._modules:
            pooled = module.run(self._text.backend, pooled)
        return pooled

    def _find_prompt(self, prompt: str | None, name: str | None) -> str:
        """Return the prompt to use; empty: none."""
        if prompt is not None:
            if not isinstance(prompt, str):
                raise RuntimeInputError(f"prompt: {type(prompt).__name__} is not a string")
            return prompt
        if name is not None:
            if name not in self.prompts:
                raise RuntimeInputError(f"prompt_name: {name!r:.60} is not one of {', '.join(self.prompts)}")
            return self.prompts[name]
        return self.prompts.get(self.default_prompt_name, "") if isinstance(self.default_prompt_name, str) else ""

    def _prompt_length(self, prompt: str) -> int:
        """Return the tokens of a prompt, without a special one at its end."""
        if prompt not in self._prompt_lengths:
            one: Encoding = self._text.tokenizer.encode([prompt])[0]
            ends = bool(one.special_tokens_mask) and one.special_tokens_mask[-1] == 1
            self._prompt_lengths[prompt] = len(one.ids) - ends
        return self._prompt_lengths[prompt]

    def _read_modules(self, place: Path, listed: list[tuple[str, str]]) -> tuple[PoolingModule, list[Module]]:
        """Return the pooling and the modules after it."""
        width = self._text.encoder.width
        rest = listed[1:]
        if not rest:
            return PoolingModule(("mean",), True, width), []
        if rest[0][0] != "Pooling":
            raise UnsupportedModelError(f"{place}: the module {rest[0][0][:60]!r} after the encoder is not supported")
        pooling = read_pooling(read_object(child_directory(place, rest[0][1]) / "config.json"), width)
        modules, width = [], pooling.width
        for kind, path in rest[1:]:
            modules.append(read_module(kind, child_directory(place, path), width))
            width = modules[-1].width(width)
        return pooling, modules


def _list_modules(place: Path) -> list[tuple[str, str]]:
    """Return kind and path of every module; of a directory without ``modules.json`` none."""
    path = place / MODULES
    if not path.is_file():
        return []
    listed = read_json(path)
    if not isinstance(listed, list) or not listed or not all(isinstance(one, dict) for one in listed):
        raise RuntimeInputError(f"{path}: not a list of modules")
    get: Callable[[Any, str], str] = lambda one, name: str(one.get(name, ""))  # noqa: E731
    modules = [(get(one, "type").rpartition(".")[2], get(one, "path")) for one in listed]
    if modules[0][0] != "Transformer":
        raise UnsupportedModelError(f"{path}: the first module {modules[0][0][:60]!r} is not supported")
    return modules
