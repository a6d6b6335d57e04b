"""How commands print: tables for people, one JSON object for programs."""

import json
import sys
from collections.abc import Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from dsformer.utils.progress import duration as duration

# Tables that are not printed to a terminal are not squeezed to 80 columns.
PLAIN_WIDTH = 220


def console() -> Console:
    """Standard output, as it is at this moment."""
    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)


def print_json(data: Any) -> None:
    """One JSON object on standard output."""
    typer.echo(json.dumps(data, indent=2))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> Table:
    """A table whose columns after the first ``text_columns`` are numbers."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for i, column in enumerate(columns):
        made.add_column(column, justify="left" if i < text_columns else "right", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made
