"""Families of encoders that this runtime runs, one file each, by the ``model_type`` of ``config.json``."""

from importlib import import_module

from dsformer_runtime.errors import UnsupportedModelError
from dsformer_runtime.families.family import Family

FILES = {
    **{"bert": "bert", "distilbert": "distilbert", "electra": "electra", "albert": "albert", "mpnet": "mpnet"},
    **{"roberta": "roberta", "xlm-roberta": "roberta", "camembert": "roberta", "deberta-v2": "deberta"},
    **{"modernbert": "modernbert", "nomic_bert": "nomic"},
}


def find_family(model_type: object) -> Family:
    """Return the family of a model type.

    Raises:
        UnsupportedModelError: it is not supported.
    """
    if not isinstance(model_type, str) or model_type not in FILES:
        raise UnsupportedModelError(
            f"model_type {str(model_type)[:40]!r} is not supported (supported: {', '.join(FILES)}); PyTorch runs it"
        )
    return import_module(f"dsformer_runtime.families.{FILES[model_type]}").FAMILY
