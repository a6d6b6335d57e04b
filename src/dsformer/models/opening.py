"""Errors while a model's files are read: whatever libraries raise becomes one error that names the model."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pickle import UnpicklingError
from typing import Any

from safetensors import SafetensorError

from dsformer.errors import DSFormerError, InputError
from dsformer.models.checkpoint import first_line
from dsformer.models.remote_code import untrusted

_UNSAFE = "its checkpoint is a pickle that needs unsafe loading; convert it to safetensors with a tool you trust"
# Sizes that are positive in every model, by their names in configurations of transformers.
_SIZES = (
    *("num_attention_heads", "num_key_value_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads"),
    *("hidden_size", "d_model", "n_embd", "dim", "d_kv", "intermediate_size", "d_ff", "hidden_dim", "vocab_size"),
)


@contextmanager
def opening(model: str | PathLike[str], purpose: str = "") -> Iterator[None]:
    """Turn whatever libraries raise while they read a model's files into an error that names the model.

    Errors of this package pass unchanged.

    Args:
        model: the model as the user named it.
        purpose: what the model is opened for, for the message ("as a sentence encoder").

    Raises:
        InputError: a library raised an error: the files are damaged, or not those of a model.
    """
    try:
        yield
    except DSFormerError:
        raise
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise untrusted(model) from error
        why = _reason(error)
        raise InputError(f"{model}: {f'cannot be opened {purpose} ({why})' if purpose else why}") from error


def check_config(config: Any) -> None:
    """Check that the sizes in a configuration are positive, and that ``architectures`` is valid.

    Raises:
        InputError: a size is not positive, or ``architectures`` is not a list of names.
    """
    check_architectures(getattr(config, "architectures", None))
    for name in _SIZES:
        # Not read as an attribute: a configuration whose layers differ raises its own error then.
        size = vars(config).get(name)
        if isinstance(size, int) and size < 1:
            raise InputError(f"config.json: {name} is {size}")


def check_architectures(names: Any) -> None:
    """Check that ``architectures`` of a configuration is absent or a list of names.

    Raises:
        InputError: it is something else.
    """
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise InputError(f"config.json: architectures is {names!r}, not a list of names of classes")


def _reason(error: Exception) -> str:
    """Describe the error of a library in one line."""
    if isinstance(error, SafetensorError):
        return f"its weights are damaged or cut short ({first_line(error)})"
    if isinstance(error, EOFError):
        return "its checkpoint is empty or cut short"
    if isinstance(error, UnpicklingError) or isinstance(error.__cause__, UnpicklingError):
        return _UNSAFE
    if "weights_only" in str(error):
        return _UNSAFE
    plain = isinstance(error, OSError | ValueError | RuntimeError | ImportError)
    return (
        first_line(error) if plain else f"its files are not as expected ({type(error).__name__}: {first_line(error)})"
    )
