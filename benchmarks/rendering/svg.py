"""Scatter plots as SVG, written by hand so that they are the same bytes everywhere."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 540
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 44, 52
FONT = 11.5
# By what a point is: the method of this package, what a user has without it, other methods on the same rails.
COLOURS = {"dsformer": "#1f6fb2", "rival": "#c2410c", "other": "#6b7280"}
NAMES = {"dsformer": "dense x sparse", "rival": "without this method", "other": "other methods, same bytes or training"}


@dataclass(frozen=True)
class Point:
    """One model; without ``y`` a dashed line across the plot."""

    x: float
    y: float | None
    label: str
    kind: str


@dataclass(frozen=True)
class Axis:
    """A range of values on pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        scale = math.log if self.log else float
        part = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
        return self.start + part * (self.end - self.start)


def scatter(
    title: str, across: str, up: str, points: Sequence[Point], ticks: Sequence[float], log: bool = False
) -> str:
    """A plot.

    Args:
        across: what the horizontal axis says.
        up: what the vertical axis says.
        ticks: of the horizontal axis; the first and the last end it.
        log: the horizontal axis is logarithmic.
    """
    scores = [point.y for point in points if point.y is not None]
    step = _step(max(scores) - min(scores))
    low, high = math.floor(min(scores) / step - 0.3) * step, math.ceil(max(scores) / step + 0.3) * step
    x = Axis(ticks[0], ticks[-1], LEFT, WIDTH - RIGHT, log)
    y = Axis(low, high, HEIGHT - BOTTOM, TOP)
    parts = [*_frame(title, across, up, x, y, ticks, step), *_legend({point.kind for point in points})]
    taken: list[tuple[float, float, float, float]] = []
    placed = [(x.place(p.x), y.place(p.y), p) for p in points if p.y is not None]
    taken += [(px - 5, py - 5, px + 5, py + 5) for px, py, _ in placed]
    for point in points:
        if point.y is None:
            parts += _line(x.place(point.x), point, len(parts))
    for px, py, point in placed:
        parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4.5" fill="{COLOURS[point.kind]}"/>')
        tx, ty, anchor = _label_place(px, py, point.label, taken)
        if abs(ty - 4 - py) > 14:
            parts.append(f'<line x1="{px:.1f}" y1="{py:.1f}" x2="{tx:.1f}" y2="{ty - 4:.1f}" stroke="#9ca3af"/>')
        parts.append(_text(tx, ty, point.label, anchor, COLOURS[point.kind]))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="{FONT}" role="img" aria-label="{escape(title)}">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n{body}\n</svg>\n'
    )


def _frame(title: str, across: str, up: str, x: Axis, y: Axis, ticks: Sequence[float], step: float) -> list[str]:
    parts = [f'<text x="{LEFT}" y="20" font-size="14" font-weight="bold">{escape(title)}</text>']
    for tick in ticks:
        at = x.place(tick)
        parts.append(f'<line x1="{at:.1f}" y1="{y.start}" x2="{at:.1f}" y2="{y.end}" stroke="#e5e7eb"/>')
        parts.append(_text(at, y.start + 17, f"{tick:g}", "middle", "#374151"))
    for i in range(round((y.high - y.low) / step) + 1):
        at = y.place(y.low + i * step)
        parts.append(f'<line x1="{x.start}" y1="{at:.1f}" x2="{x.end}" y2="{at:.1f}" stroke="#e5e7eb"/>')
        parts.append(_text(x.start - 7, at + 4, f"{y.low + i * step:g}", "end", "#374151"))
    parts.append(_text((x.start + x.end) / 2, HEIGHT - 14, across, "middle", "#111827"))
    middle = (y.start + y.end) / 2
    turned = f'transform="rotate(-90 16 {middle:.1f})"'
    parts.append(f'<text x="16" y="{middle:.1f}" text-anchor="middle" fill="#111827" {turned}>{escape(up)}</text>')
    return parts


def _legend(kinds: set[str]) -> list[str]:
    parts, at = [], float(LEFT)
    for kind, name in NAMES.items():
        if kind in kinds:
            parts.append(f'<circle cx="{at + 5:.1f}" cy="33" r="4.5" fill="{COLOURS[kind]}"/>')
            parts.append(_text(at + 14, 37, name, "start", COLOURS[kind]))
            at += 34 + _width(name)
    return parts


def _line(at: float, point: Point, turn: int) -> list[str]:
    colour = COLOURS[point.kind]
    middle = HEIGHT - BOTTOM - 8
    return [
        f'<line x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{HEIGHT - BOTTOM}" stroke="{colour}" '
        'stroke-dasharray="4 3"/>',
        f'<text x="{at - 4:.1f}" y="{middle}" fill="{colour}" transform="rotate(-90 {at - 4:.1f} {middle})">'
        f"{escape(point.label)}</text>",
    ]


def _label_place(
    x: float, y: float, label: str, taken: list[tuple[float, float, float, float]]
) -> tuple[float, float, str]:
    """Beside a point, where no other label is; the first place if there is none."""
    width = _width(label)
    places = []
    for dy in (4, -10, 18, -24, 32, -38, 46, -52, 60, -66, 74, -80, 88, 102, 116):
        places += [(x + 9, y + dy, "start"), (x - 9, y + dy, "end")]
    for tx, ty, anchor in places:
        left = tx if anchor == "start" else tx - width
        box = (left, ty - 10, left + width, ty + 3)
        inside = box[0] >= LEFT and box[2] <= WIDTH - RIGHT and box[1] >= TOP and box[3] <= HEIGHT - BOTTOM
        if inside and not any(_overlap(box, other) for other in taken):
            taken.append(box)
            return tx, ty, anchor
    return places[0]


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _width(text: str) -> float:
    return 0.6 * FONT * len(text)


def _step(extent: float) -> float:
    """A round distance of lines for about six of them."""
    return min((0.5, 1.0, 2.0, 5.0, 10.0, 20.0), key=lambda step: abs(extent / step - 6))


def _text(x: float, y: float, text: str, anchor: str, colour: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
