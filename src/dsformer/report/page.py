"""The report page: a compression's summary as one self-contained HTML file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml

from dsformer.errors import MissingExtraError
from dsformer.report.block_summary import BlockSummary
from dsformer.report.inspection import KINDS
from dsformer.report.parts import PARTS, Part, label_of, part_of
from dsformer.report.rows import LatencyRow, ScoreRow
from dsformer.report.summary import Summary
from dsformer.report.units import megabytes
from dsformer.utils.atomic_io import write_text

TEMPLATE = "page.html.j2"


@dataclass(frozen=True)
class Segment:
    """A segment of a stacked bar; start and width are in percent of the longest bar."""

    label: str
    bytes: int
    start: float
    width: float


@dataclass(frozen=True)
class Bar:
    """A stacked bar and the bytes that it adds up to."""

    label: str
    segments: list[Segment]
    bytes: int
    end: float


@dataclass(frozen=True)
class PartBytes:
    """One part of the model before and after: its compressed blocks by kind, and its tensors that stay as they are."""

    part: Part
    before: int
    kinds: dict[str, int]
    untouched: int

    @property
    def after(self) -> int:
        """Bytes of the part after compression."""
        return sum(self.kinds.values()) + self.untouched


def write_page(
    path: Path,
    summary: Summary,
    *,
    scores: Sequence[ScoreRow] = (),
    latency: Sequence[LatencyRow] = (),
    command: str | None = None,
    title: str | None = None,
) -> None:
    """Write the page. Arguments and errors as of :func:`render`."""
    page = render(summary, scores=scores, latency=latency, command=command, title=title)
    write_text(path, page)


def render(
    summary: Summary,
    *,
    scores: Sequence[ScoreRow] = (),
    latency: Sequence[LatencyRow] = (),
    command: str | None = None,
    title: str | None = None,
) -> str:
    """Render the page as HTML: without scripts or external resources, in light and dark.

    Args:
        summary: of the compression, as ``compress`` returns it.
        scores: measured scores, if any.
        latency: measured latencies, if any.
        command: the command that repeats the compression.
        title: the model's name; by default the last part of its path.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    templates = environment(Path(__file__).parent)
    templates.filters |= {"size": megabytes, "css": lambda name: name.replace(" ", "-")}
    parts = part_bytes(summary)
    return templates.get_template(TEMPLATE).render(
        summary=summary,
        name=title or summary.model.rstrip("/").rsplit("/", 1)[-1],
        totals=total_bars(parts),
        details=detail_bars(parts),
        parts=[part.part for part in parts],
        kinds=used_kinds(parts),
        blocks=block_rows(summary.blocks),
        scores=scores,
        latency=latency,
        recipe=yaml.safe_dump(summary.recipe, sort_keys=False),
        command=command,
    )


def environment(folder: Path) -> Any:
    """Make a jinja2 environment for the templates of a folder.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    jinja2 = require_jinja()
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def require_jinja() -> Any:
    """Import jinja2 and return the module.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError("The report page", "report") from error
    return jinja2


def part_bytes(summary: Summary) -> list[PartBytes]:
    """Divide the bytes of the model among its parts, without the empty ones; they add up to the whole."""
    compressed_tables = sum(block.bytes_after for block in summary.blocks if block.kind == "embedding")
    dense_tables = round(summary.embedding_share * summary.bytes_after) - compressed_tables
    untouched: dict[Part, int] = {"embeddings": dense_tables, "other": summary.rest_bytes - dense_tables}
    found = []
    for part in PARTS:
        blocks = [block for block in summary.blocks if part_of(block.names, block.kind) == part]
        left = untouched.get(part, 0)
        kinds = {kind: sum(getattr(block, kind) for block in blocks) for kind in KINDS}
        found.append(PartBytes(part, left + sum(block.bytes_before for block in blocks), kinds, left))
    return [part for part in found if part.before]


def total_bars(parts: Sequence[PartBytes]) -> list[Bar]:
    """Make the bars of the whole model before and after, by part."""
    whole = sum(part.before for part in parts)
    return [
        _bar("before", ((part.part, part.before) for part in parts), whole),
        _bar("after", ((part.part, part.after) for part in parts), whole),
    ]


def detail_bars(parts: Sequence[PartBytes]) -> list[tuple[str, Bar, Bar]]:
    """Make the bars of every compressed part before and after, by kind of tensor."""
    shown = [part for part in parts if any(part.kinds.values())]
    longest = max((part.before for part in shown), default=1)
    return [
        (
            part.part,
            _bar("before", [("dense", part.before)], longest),
            _bar("after", [*part.kinds.items(), ("untouched", part.untouched)], longest),
        )
        for part in shown
    ]


def used_kinds(parts: Sequence[PartBytes]) -> list[str]:
    """Return the kinds of segments that occur in the bars of :func:`detail_bars`."""
    compressed = [part for part in parts if any(part.kinds.values())]
    kinds = [kind for kind in KINDS if any(part.kinds[kind] for part in compressed)]
    return ["dense", *kinds, *(["untouched"] if any(part.untouched for part in compressed) else [])]


def block_rows(blocks: Sequence[BlockSummary]) -> list[tuple[BlockSummary, str, float]]:
    """Return every block with its label and the length of its error bar in percent of the longest."""
    largest = max((block.error for block in blocks), default=0) or 1
    return [(block, label_of(block.names), 100 * block.error / largest) for block in blocks]


def _bar(label: str, pieces: Iterable[tuple[str, int]], whole: int) -> Bar:
    kept = [(name, count) for name, count in pieces if count]
    ends = list(accumulate(count for _, count in kept))
    segments = [
        Segment(name, count, 100 * (end - count) / whole, 100 * count / whole)
        for (name, count), end in zip(kept, ends, strict=True)
    ]
    return Bar(label, segments, ends[-1] if ends else 0, 100 * ends[-1] / whole if ends else 0.0)
