"""What can go wrong while a model's files are read, as one error that names the model."""

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
# Sizes that no model has none of, as configurations of transformers name them.
_SIZES = (
    *("num_attention_heads", "num_key_value_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads"),
    *("hidden_size", "d_model", "n_embd", "dim", "d_kv", "intermediate_size", "d_ff", "hidden_dim", "vocab_size"),
)


@contextmanager
def opening(model: str | PathLike[str], purpose: str = "") -> Iterator[None]:
    """Name the model in whatever its files, damaged or not those of a model, make libraries raise.

    Args:
        model: as the user gave it.
        purpose: what it cannot be opened for, for the message.

    Raises:
        InputError: in place of it; errors of this package stay as they are.
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
    """Raises InputError: a configuration has a size that is not positive, or architectures that are none."""
    check_architectures(getattr(config, "architectures", None))
    for name in _SIZES:
        # Not by the attribute: a configuration whose layers differ raises an error of its own.
        size = vars(config).get(name)
        if isinstance(size, int) and size < 1:
            raise InputError(f"config.json: {name} is {size}")


def check_architectures(names: Any) -> None:
    """Raises InputError: they are there, but no list of names."""
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise InputError(f"config.json: architectures is {names!r}, not a list of names of classes")


def _reason(error: Exception) -> str:
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
