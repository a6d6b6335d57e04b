"""Whether code that comes with a model is run: only where somebody has said so."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from os import PathLike

from dsformer.errors import InputError

_TRUSTED: ContextVar[bool] = ContextVar("trust_remote_code", default=False)


@contextmanager
def trusting(wanted: bool) -> Iterator[None]:
    """Models opened in here may run code of their own, if it is ``wanted``; inside of a trusting part all may."""
    token = _TRUSTED.set(wanted or _TRUSTED.get())
    try:
        yield
    finally:
        _TRUSTED.reset(token)


def trusted() -> bool:
    """What ``trust_remote_code`` is for a model that is opened now."""
    return _TRUSTED.get()


def untrusted(model: str | PathLike[str]) -> InputError:
    """What to say of a model that would run code of its own."""
    return InputError(
        f"{model}: comes with Python code of its own, which would be run; read it and, if you trust it, give "
        "--trust-remote-code (trust_remote_code=True)"
    )
