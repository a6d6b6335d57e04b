"""DSFormer compresses Hugging Face text transformers: each weight becomes a small dense matrix times a sparse one.

Importing this package registers it with ``transformers`` and ``sentence_transformers``, which can then load compressed
models. The public names are imported when they are first used, so that loading a model does not import the code that
compresses one. Start reading at ``pipeline.compress`` to see how a model is compressed, and at ``models.plugin`` to see
how an artefact is loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dsformer._version import __version__ as __version__
from dsformer.errors import ArtefactError as ArtefactError
from dsformer.errors import DSFormerError as DSFormerError
from dsformer.errors import InputError as InputError
from dsformer.errors import MissingExtraError as MissingExtraError
from dsformer.models.plugin import register

if TYPE_CHECKING:
    from dsformer.benchmarking import benchmark as benchmark
    from dsformer.evaluation import evaluate as evaluate
    from dsformer.models.acceleration import accelerate as accelerate
    from dsformer.models.adapters import add_lora as add_lora
    from dsformer.models.adapters import load_lora as load_lora
    from dsformer.models.load import densify as densify
    from dsformer.models.load import load as load
    from dsformer.pipeline.compress import compress as compress
    from dsformer.pipeline.finetune import Finetuned as Finetuned
    from dsformer.pipeline.finetune import finetune as finetune
    from dsformer.pipeline.state import Compressed as Compressed
    from dsformer.recipe import Recipe as Recipe
    from dsformer.vocabulary.prune import prune_vocabulary as prune_vocabulary

_MODULES = {
    "Compressed": "dsformer.pipeline.state",
    "Finetuned": "dsformer.pipeline.finetune",
    "Recipe": "dsformer.recipe",
    "accelerate": "dsformer.models.acceleration",
    "add_lora": "dsformer.models.adapters",
    "benchmark": "dsformer.benchmarking",
    "compress": "dsformer.pipeline.compress",
    "densify": "dsformer.models.load",
    "evaluate": "dsformer.evaluation",
    "finetune": "dsformer.pipeline.finetune",
    "load": "dsformer.models.load",
    "load_lora": "dsformer.models.adapters",
    "prune_vocabulary": "dsformer.vocabulary.prune",
}
__all__ = ["ArtefactError", "DSFormerError", "InputError", "MissingExtraError", "__version__", *_MODULES]

register()


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'dsformer' has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
