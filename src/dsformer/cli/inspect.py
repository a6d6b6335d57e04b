"""``dsformer inspect``: the blocks and bytes of a compressed directory, and a check of its checksums."""

from typing import Annotated

import typer

from dsformer.cli.options import AsJson, CompressedModel
from dsformer.cli.output import console, print_json, table
from dsformer.models.artefact import check
from dsformer.report.inspection import KINDS, Inspection, StoredBlock, inspect_directory
from dsformer.report.parts import label_of
from dsformer.report.units import megabytes, percent, times


def inspect(
    directory: CompressedModel,
    as_json: AsJson = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="read all tensors, compare them with their checksums")
    ] = False,
) -> None:
    """Show what a compressed directory holds, every block and every byte, without loading the model."""
    if verify:
        check(directory, values=True)
    found = inspect_directory(directory)
    if as_json:
        print_json(found.as_dict())
        return
    out = console()
    columns = ["block", "form", "out x in", "atoms", "non-zeros", *KINDS, "ratio", "error", "share"]
    out.print(table(found.directory, columns, [_row(block, found) for block in found.blocks], text_columns=2))
    rows = [
        ["tensors before", megabytes(found.bytes_before)],
        ["tensors now", megabytes(found.bytes_after)],
        ["weight files, with their headers", megabytes(found.file_bytes)],
        ["untouched tensors", megabytes(found.rest_bytes)],
        *([f"{label} (at one value type)", times(ratio)] for label, ratio in _ratios(found)),
        *([f"{label} (over the model as it came)", times(ratio)] for label, ratio in found.original_ratios.items()),
        ["embedding share", percent(found.embedding_share)],
    ]
    out.print(table("Totals", ["", "value"], rows))
    if found.differences:
        out.print("[bold red]The files differ from what the configuration says:[/]")
        for line in found.differences:
            out.print(line, markup=False)
    else:
        out.print("Every block takes exactly the bytes its configuration says.")
    if verify and found.checksums:
        out.print("Every tensor has the checksum it was written with, and the configuration is the one it belongs to.")
    elif verify:
        out.print("It has no checksums. Its tensors are those of the model and have no NaN or Inf values.")


def _ratios(found: Inspection) -> list[tuple[str, float]]:
    return [("encoder ratio", found.encoder_ratio), ("total ratio", found.total_ratio)]


def _row(block: StoredBlock, whole: Inspection) -> list[str]:
    atoms = f"{block.atoms} ({block.core} core)" if 0 < block.core < block.atoms else str(block.atoms)
    pattern = "" if block.pattern == "free" else f", {block.pattern}"
    return [
        label_of(block.names),
        f"{block.form}, {block.orientation}{pattern}",
        f"{block.shape[0]} x {block.shape[1]}",
        atoms,
        str(block.nonzeros),
        *(megabytes(block.stored[kind]) if block.stored[kind] else "" for kind in KINDS),
        times(block.ratio),
        "" if block.error is None else f"{block.error:.4f}",
        percent(block.bytes_after / max(1, whole.bytes_after)),
    ]
