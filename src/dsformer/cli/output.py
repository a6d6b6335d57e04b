"""Printing of commands: tables for people, one JSON object for programs."""

import json
import sys
from collections.abc import Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from dsformer.utils.progress import duration as duration

# Width of tables that are not printed to a terminal, instead of 80 columns.
PLAIN_WIDTH = 220


def console() -> Console:
    """Return a console for the present standard output."""
    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)


def print_json(data: Any) -> None:
    """Print one JSON object on standard output."""
    typer.echo(json.dumps(data, indent=2))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> Table:
    """Make a table whose columns after the first ``text_columns`` are numbers.

    Args:
        title: above the table.
        columns: their headings.
        rows: of cells.
        text_columns: number of columns aligned to the left.
    """
    made = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for i, column in enumerate(columns):
        made.add_column(column, justify="left" if i < text_columns else "right", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made
