"""The files beside the weights: tokenizer, processor, licence, and what sentence-transformers adds."""

import json
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from dsformer.errors import InputError

_PATTERNS = (
    "tokenizer*.json",
    "tokenizer*.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "vocab-*",
    "merges.txt",
    "bpe.codes",
    "*.bpe.model",
    "spiece.model",
    "spm.model",
    "sentencepiece*.model",
    "chat_template.*",
    "preprocessor_config.json",
    "processor_config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "LICENSE*",
    "NOTICE*",
)


def copy_companions(source: Path, target: Path) -> None:
    """Copy them; a model of sentence-transformers comes with its further modules (pooling, normalization, ...).

    Where those keep the transformer in a subdirectory, it moves to the top, beside the weights.

    Raises:
        InputError: the source is not a directory, or its list of modules cannot be followed.
    """
    if not source.is_dir():
        raise InputError(f"{source}: no such directory")
    _copy_files(source, target)
    listing = source / "modules.json"
    if not listing.is_file():
        return
    modules = read_modules(listing)
    for module in modules:
        path = module["path"]
        if str(module["type"]).endswith("Transformer"):
            if path:
                _copy_files(source / path, target)
            module["path"] = ""
        elif path and (source / path).is_dir():
            shutil.copytree(source / path, target / path, copy_function=shutil.copyfile, dirs_exist_ok=True)
    (target / "modules.json").write_text(json.dumps(modules, indent=2), encoding="utf-8")


def described(source: Path) -> dict[str, Any]:
    """What the source's model card says about licence, language and task."""
    card = source / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    header = re.match(r"---\s*\n(.*?)\n---\s*\n", text, re.DOTALL)
    try:
        fields = yaml.safe_load(header[1]) if header else None
    except yaml.YAMLError:
        return {}
    known = fields if isinstance(fields, dict) else {}
    return {key: known[key] for key in ("license", "language", "pipeline_tag") if known.get(key)}


def _copy_files(source: Path, target: Path) -> None:
    for pattern in _PATTERNS:
        for file in sorted(source.glob(pattern)):
            if file.is_file():
                shutil.copyfile(file, target / file.name)


def read_modules(listing: Path) -> list[dict[str, Any]]:
    """The modules of a sentence-transformers model. Raises InputError when the file cannot be followed."""
    try:
        modules = json.loads(listing.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{listing}: not JSON ({error})") from None
    for module in modules if isinstance(modules, list) else [None]:
        path = module.get("path") if isinstance(module, dict) and "type" in module else None
        if not isinstance(path, str) or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise InputError(f"{listing}: not a list of modules with paths inside its directory")
    return modules
