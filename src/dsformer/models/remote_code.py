"""Remote code: Python code that comes with a model is run only if the user has allowed it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from os import PathLike

from dsformer.errors import InputError

_TRUSTED: ContextVar[bool] = ContextVar("trust_remote_code", default=False)


@contextmanager
def trusting(wanted: bool) -> Iterator[None]:
    """Allow models that are opened within this context to run their own code, if ``wanted``.

    Within a context that allows it, an inner one does not take it back.
    """
    token = _TRUSTED.set(wanted or _TRUSTED.get())
    try:
        yield
    finally:
        _TRUSTED.reset(token)


def trusted() -> bool:
    """Return the value of ``trust_remote_code`` for a model that is opened now."""
    return _TRUSTED.get()


def untrusted(model: str | PathLike[str]) -> InputError:
    """Build the error for a model that would run its own code."""
    return InputError(
        f"{model}: comes with Python code of its own, which would be run; read it and, if you trust it, give "
        "--trust-remote-code (trust_remote_code=True)"
    )
