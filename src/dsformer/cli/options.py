"""Options that several commands share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from dsformer.errors import DSFormerError, InputError
from dsformer.utils.atomic_io import user_path


def path_parser(name: str) -> Callable[[str | os.PathLike[str]], Path]:
    """Make a parser for the value of this option or argument: a path with ``~`` expanded; empty ones are refused."""

    def parse(text: str | os.PathLike[str]) -> Path:
        try:
            return user_path(text)
        except InputError as error:
            # Not a ValueError, for which typer would print a usage page.
            raise DSFormerError(f"{name}: {error}") from None

    return parse


def path_option(name: str, *others: str, help: str) -> Any:
    """Make an option whose value is a path."""
    return typer.Option(name, *others, help=help, parser=path_parser(name), metavar="PATH", show_default=False)


AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")]
CompressedModel = Annotated[
    Path,
    typer.Argument(help="a compressed model", parser=path_parser("directory"), metavar="DIRECTORY", show_default=False),
]
DataDir = Annotated[Path | None, path_option("--data-dir", help="folder of data sets")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace the output directory")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no progress")]
TrustRemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="run Python code that comes with the model")]
RecipeFile = Annotated[Path | None, path_option("--recipe", help="YAML file of recipe fields; flags override it")]
