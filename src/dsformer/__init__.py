"""DSFormer: make transformers smaller by writing each weight as a dense matrix times a semi-structured sparse one.

Importing this package lets ``transformers`` and ``sentence_transformers`` load compressed models.
"""

__version__ = "0.1.0"

from typing import TYPE_CHECKING, Any

from dsformer.benchmarking import benchmark as benchmark
from dsformer.errors import ArtefactError as ArtefactError
from dsformer.errors import DSFormerError as DSFormerError
from dsformer.errors import InputError as InputError
from dsformer.errors import MissingExtraError as MissingExtraError
from dsformer.evaluation import evaluate as evaluate
from dsformer.models.adapters import add_lora as add_lora
from dsformer.models.adapters import load_lora as load_lora
from dsformer.models.load import densify as densify
from dsformer.models.load import load as load
from dsformer.models.plugin import register
from dsformer.pipeline.compress import Compressed as Compressed
from dsformer.pipeline.compress import compress as compress
from dsformer.recipe import Recipe as Recipe
from dsformer.vocabulary.prune import prune_vocabulary as prune_vocabulary

if TYPE_CHECKING:
    from dsformer.training.finetune import Finetuned as Finetuned
    from dsformer.training.finetune import finetune as finetune

register()


def __getattr__(name: str) -> Any:
    """What needs transformers' Trainer, which takes a while to import."""
    if name in ("Finetuned", "finetune"):
        from dsformer.training import finetune as module

        return getattr(module, name)
    raise AttributeError(f"module 'dsformer' has no attribute {name!r}")


__all__ = [
    "ArtefactError",
    "Compressed",
    "DSFormerError",
    "Finetuned",
    "InputError",
    "MissingExtraError",
    "Recipe",
    "__version__",
    "add_lora",
    "benchmark",
    "compress",
    "densify",
    "evaluate",
    "finetune",
    "load",
    "load_lora",
    "prune_vocabulary",
]
