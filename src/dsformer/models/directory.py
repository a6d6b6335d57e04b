"""What a model directory is: plain, of sentence-transformers, or of adapters; its files say so, not its name."""

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dsformer.errors import InputError

MODULES = "modules.json"
ADAPTER = "adapter_config.json"

# Names under which sentence-transformers looks for the settings of a transformer, the first that is there.
TRANSFORMER_CONFIGS = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
# What a module of this type does where its settings do not say.
_TASKS = {"Transformer": "feature-extraction", "MLMTransformer": "fill-mask"}


@dataclass(frozen=True)
class ModelDirectory:
    """Where the parts of a model are.

    Attributes:
        top: the directory.
        place: where configuration, weights and tokenizer are: ``top``, or inside it the folder of the transformer.
        task: what sentence-transformers runs the transformer for ("feature-extraction", "sequence-classification",
            "fill-mask", "text-generation", ...); None for a directory that is not one of its.
        has_code: whether it has modules with Python code of their own.
    """

    top: Path
    place: Path
    task: str | None = None
    has_code: bool = False

    @property
    def holds_adapters(self) -> bool:
        """Whether there are adapters of peft instead of a whole model's weights."""
        return (self.place / ADAPTER).is_file()

    @classmethod
    def read(cls, top: Path) -> "ModelDirectory":
        """Raises InputError: it is one of sentence-transformers without a transformer, or its files are damaged."""
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
    """The modules of a sentence-transformers model. Raises InputError when the file cannot be followed."""
    modules = _read_json(listing)
    for module in modules if isinstance(modules, list) else [None]:
        path = module.get("path") if isinstance(module, dict) and "type" in module else None
        if not isinstance(path, str) or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise InputError(f"{listing}: not a list of modules with paths inside its directory")
    return modules


def _settings(place: Path) -> dict[str, Any]:
    """The settings of a transformer. Empty where there are none."""
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
