"""Model directories: plain, of sentence-transformers, or of adapters, as their files tell, not their names."""

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dsformer.errors import InputError

MODULES = "modules.json"
ADAPTER = "adapter_config.json"

# Files in which sentence-transformers looks for the settings of a transformer; the first that exists counts.
TRANSFORMER_CONFIGS = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
# The task of a module by its type, where its settings do not name one.
_TASKS = {"Transformer": "feature-extraction", "MLMTransformer": "fill-mask"}


@dataclass(frozen=True)
class ModelDirectory:
    """The places of a model's files.

    Attributes:
        top: the directory itself.
        place: the directory of configuration, weights and tokenizer: ``top``, or the folder of the transformer in it.
        task: what sentence-transformers runs the transformer for ("feature-extraction", "sequence-classification",
            "fill-mask", "text-generation", ...); None for a directory that is not of sentence-transformers.
        has_code: whether it has modules that come with Python code.
    """

    top: Path
    place: Path
    task: str | None = None
    has_code: bool = False

    @property
    def holds_adapters(self) -> bool:
        """Whether it holds adapters of PEFT instead of the weights of a whole model."""
        return (self.place / ADAPTER).is_file()

    @classmethod
    def read(cls, top: Path) -> "ModelDirectory":
        """Find out from its files what kind of directory this is.

        Raises:
            InputError: it is a sentence-transformers directory without a transformer, or its files are damaged.
        """
        if not (top / MODULES).is_file():
            return cls(top, top)
        modules = read_modules(top / MODULES)
        types = [str(module["type"]) for module in modules]
        code = any((top / f"{name.partition('.')[0]}.py").is_file() for name in types)
        for module, name in zip(modules, types, strict=True):
            kind = name.rpartition(".")[2]
            if kind.endswith("Transformer"):
                place = top / module["path"]
                default = _TASKS.get(kind, _TASKS["Transformer"])
                return cls(top, place, str(_settings(place).get("transformer_task", default)), code)
        raise InputError(f"{top}: its {MODULES} has no transformer ({', '.join(types) or 'nothing at all'})")


def read_modules(listing: Path) -> list[dict[str, Any]]:
    """Read the list of modules of a sentence-transformers model.

    Raises:
        InputError: the file is not a list of modules with paths inside its directory.
    """
    modules = _read_json(listing)
    for module in modules if isinstance(modules, list) else [None]:
        path = module.get("path") if isinstance(module, dict) and "type" in module else None
        if not isinstance(path, str) or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise InputError(f"{listing}: not a list of modules with paths inside its directory")
    return modules


def _settings(place: Path) -> dict[str, Any]:
    """Read the settings of a transformer; empty if there are none."""
    for name in TRANSFORMER_CONFIGS:
        if (place / name).is_file():
            found = _read_json(place / name)
            if not isinstance(found, dict):
                raise InputError(f"{place / name}: not a JSON object of settings")
            return found
    return {}


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None
