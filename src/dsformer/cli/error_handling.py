"""Error handling of commands: errors as one line and an exit code, without the output of other libraries."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from dsformer.errors import DSFormerError
from dsformer.models.source import quiet
from dsformer.utils.hardware import check_threads
from dsformer.utils.shutdown import exit_code
from dsformer.utils.system_errors import as_os_error, described

USER_ERROR = 2
# The error of a wrong command line: click's, of which newer versions of typer contain a copy.
UsageError: Any = typer.BadParameter.__mro__[1]


class InterruptedAfterWriting(KeyboardInterrupt):
    """Ctrl-C after something was written; the message says what."""


class GuardedGroup(TyperGroup):
    """Runs commands so that a user error is one line on standard error and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command and translate its errors."""
        try:
            check_threads(torch.get_num_threads(), "OMP_NUM_THREADS")
            with silenced(), noted():
                return super().invoke(ctx)
        except UsageError as error:
            command = error.ctx.command_path if error.ctx else "dsformer"
            raise failed(f"{error.format_message()} (see {command} --help)") from error
        except DSFormerError as error:
            raise failed(str(error)) from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise failed(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        except KeyboardInterrupt as error:
            typer.echo(f"interrupted, {error}" if str(error) else "interrupted, nothing was written", err=True)
            raise typer.Exit(exit_code()) from error
        except BrokenPipeError:
            raise
        except Exception as error:
            refused = as_os_error(error)
            if refused is None:
                raise
            raise failed(described(refused)) from error


def failed(message: str) -> typer.Exit:
    """Print an error on standard error in one line, and return the exception to raise."""
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    return typer.Exit(USER_ERROR)


@contextmanager
def after_writing(what: str) -> Iterator[None]:
    """Report on Ctrl-C inside the context what is already complete."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise InterruptedAfterWriting(f"{what} is complete") from error


@contextmanager
def unfinished(output: Path) -> Iterator[None]:
    """Report on Ctrl-C inside the context where the work is that the same command will resume."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise InterruptedAfterWriting(
            f"{output}.work keeps what is done; the same command goes on from there"
        ) from error


class _Notes(logging.Handler):
    """Prints the library's log records, one line each, on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(f"note: {' '.join(record.getMessage().split())}", err=True)


@contextmanager
def noted() -> Iterator[None]:
    """Print the library's own log lines inside the context."""
    logger, handler = logging.getLogger("dsformer"), _Notes()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextmanager
def silenced() -> Iterator[None]:
    """Suppress progress bars, warnings and log lines of other libraries inside the context."""
    loggers = [logging.getLogger(name) for name in ("sentence_transformers", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, before in zip(loggers, levels, strict=True):
            logger.setLevel(before)
