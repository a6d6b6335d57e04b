"""DSFormer: make transformers smaller by writing each weight as a dense matrix times a semi-structured sparse one.

Importing this package lets ``transformers`` and ``sentence_transformers`` load compressed models.
"""

__version__ = "0.1.0"

from dsformer.errors import ArtefactError as ArtefactError
from dsformer.errors import DSFormerError as DSFormerError
from dsformer.errors import InputError as InputError
from dsformer.errors import MissingExtraError as MissingExtraError
from dsformer.evaluation import evaluate as evaluate
from dsformer.huggingface.plugin import register
from dsformer.loading import densify as densify
from dsformer.loading import load as load
from dsformer.pipeline import Compressed as Compressed
from dsformer.pipeline import compress as compress
from dsformer.recipe import Recipe as Recipe

register()

__all__ = [
    "ArtefactError",
    "Compressed",
    "DSFormerError",
    "InputError",
    "MissingExtraError",
    "Recipe",
    "__version__",
    "compress",
    "densify",
    "evaluate",
    "load",
]
