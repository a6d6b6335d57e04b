"""Text encoders on CPUs without PyTorch, from a Hugging Face directory, plain or compressed by DSFormer.

>>> import dsformer_runtime
>>> encoder = dsformer_runtime.load("out")  # doctest: +SKIP
>>> encoder.encode(["A text.", "Another one."])  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsformer_runtime.backend import open_backend as open_backend
    from dsformer_runtime.classifier import Classifier as Classifier
    from dsformer_runtime.errors import RuntimeInputError as RuntimeInputError
    from dsformer_runtime.errors import UnsupportedModelError as UnsupportedModelError
    from dsformer_runtime.families.build import load_model as load_model
    from dsformer_runtime.question_answerer import QuestionAnswerer as QuestionAnswerer
    from dsformer_runtime.reranker import Reranker as Reranker
    from dsformer_runtime.sentence_encoder import SentenceEncoder as SentenceEncoder
    from dsformer_runtime.tasks import load as load
    from dsformer_runtime.token_classifier import TokenClassifier as TokenClassifier

_PLACES = {
    "Classifier": "classifier",
    "QuestionAnswerer": "question_answerer",
    "Reranker": "reranker",
    "RuntimeInputError": "errors",
    "SentenceEncoder": "sentence_encoder",
    "TokenClassifier": "token_classifier",
    "UnsupportedModelError": "errors",
    "load": "tasks",
    "load_model": "families.build",
    "open_backend": "backend",
}
__all__ = [*_PLACES]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted({*globals(), *__all__})
