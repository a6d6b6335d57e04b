import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dsformer.calibration.left_dense import LeftDense
from dsformer.format.accounting import ValueTypes
from dsformer.format.precision import Precision
from dsformer.report.block_summary import BlockSummary
from dsformer.report.page import detail_bars, part_bytes, render, total_bars, write_page
from dsformer.report.parts import label_of, part_of
from dsformer.report.rows import LatencyRow, ScoreRow
from dsformer.report.summary import Summary
from dsformer.report.units import megabytes

VOID = {"meta", "wbr", "rect", "br"}


def block(*names: str, kind: str = "linear", error: float = 0.1) -> BlockSummary:
    sizes = {"dictionary": 100, "codes": 290, "scales": 10, "support": 40, "permutation": 0, "bias": 60}
    return BlockSummary(
        names=names,
        kind=kind,
        shape=(64, 32),
        form="dense x sparse",
        orientation="input",
        pattern="free",
        atoms=8,
        core=2,
        nonzeros=4,
        canonical=False,
        error=error,
        bytes_before=1500,
        **sizes,
    )


@pytest.fixture
def summary() -> Summary:
    blocks = (
        block("layer.0.attention.self.query", "layer.0.attention.self.key"),
        block("layer.0.output.dense", error=0.2),
        block("pooler.dense"),
    )
    return Summary(
        model="models/some <model>",
        method="dense_sparse",
        pattern="free",
        recipe={"ratio": 3.0, "calibration": {"text": None}},
        blocks=blocks,
        rest_bytes=3000,
        types=ValueTypes(Precision.of(32), 32),
        type_factor=1.0,
        embedding_share=2000 / 4500,
        silent=("never.ran",),
        left=(
            LeftDense("experts, several weights in one tensor", ("layers.0.experts",), 250_000),
            LeftDense("never ran on the calibration text", ("never.ran",), 1000),
        ),
        small=(),
        excluded=(),
        calibration_tokens=12345,
        seconds=7.0,
    )


class Checker(HTMLParser):
    """Every tag is closed, in order; nothing is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img", "iframe")
        assert not {name for name, _ in attrs} & {"src", "href"}
        if tag not in VOID - {"rect"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_is_whole_and_self_contained(summary: Summary):
    scores = [
        ScoreRow("banking77", "accuracy", 80.0, 79.0, 0.5, 3080),
        ScoreRow("fidelity", "cosine", None, 98.0, None, 9),
    ]
    latency = [LatencyRow("short batch", 0.01, 0.005, 2.0, 1.9, 2.1, 30)]
    page = render(summary, scores=scores, latency=latency, command="dsformer compress a -o b")
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert not re.search(r"url\(|@import|https?://", page)
    for piece in (
        "12,345 tokens",
        "dsformer compress a -o b",
        "ratio: 3.0",
        "79.00",
        "2.00x",
        "never.ran",
        "layers.0.experts",
    ):
        assert piece in page


def test_escapes(summary: Summary):
    page = render(replace(summary, blocks=(block("layer.<script>"),)), command="a && b")
    assert "some &lt;model&gt;" in page
    assert "<script" not in page
    assert "a &amp;&amp; b" in page


def test_parts_add_up(summary: Summary):
    parts = {part.part: part for part in part_bytes(summary)}
    assert set(parts) == {"embeddings", "attention", "feed-forward", "other"}
    assert sum(part.before for part in parts.values()) == summary.bytes_before
    assert sum(part.after for part in parts.values()) == summary.bytes_after
    assert parts["embeddings"].untouched == 2000
    before, after = total_bars(list(parts.values()))
    assert (before.end, before.bytes) == (pytest.approx(100), 7500)
    assert after.end == pytest.approx(100 * 4500 / 7500)
    assert [name for name, _, _ in detail_bars(list(parts.values()))] == ["attention", "feed-forward", "other"]


def test_compressed_embeddings(summary: Summary):
    table = block("embeddings.word_embeddings", kind="embedding")
    smaller = replace(summary, blocks=(*summary.blocks, table), embedding_share=500 / 5000)
    parts = {part.part: part for part in part_bytes(smaller)}
    assert (parts["embeddings"].before, parts["embeddings"].untouched) == (1500, 0)
    assert "embeddings" in [name for name, _, _ in detail_bars(list(parts.values()))]


def test_writes_into_a_new_directory(summary: Summary, tmp_path: Path):
    path = tmp_path / "new" / "page.html"
    write_page(path, summary, title="A model")
    assert "<title>A model, compressed with DSFormer</title>" in path.read_text()


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("encoder.layer.0.attention.self.query", "attention"),
        ("encoder.layer.0.attention.output.dense", "attention"),
        ("encoder.layer.0.intermediate.dense", "feed-forward"),
        ("encoder.layer.0.output.dense", "feed-forward"),
        ("transformer.layer.1.ffn.lin1", "feed-forward"),
        ("transformer.layer.1.attention.q_lin", "attention"),
        ("transformer.h.0.attn.c_attn", "attention"),
        ("transformer.h.0.mlp.c_proj", "feed-forward"),
        ("model.layers.0.self_attn.o_proj", "attention"),
        ("model.layers.0.mlp.gate_proj", "feed-forward"),
        ("decoder.block.0.layer.1.EncDecAttention.k", "attention"),
        ("encoder.block.0.layer.1.DenseReluDense.wi", "feed-forward"),
        ("pooler.dense", "other"),
    ],
)
def test_part_of(name: str, part: str):
    assert part_of([name]) == part


def test_labels():
    assert label_of(["a.b.dense"]) == "a.b.dense"
    assert label_of(["a.self.query", "a.self.key"]) == "a.self.{query,key}"
    assert label_of(["a.b.c", "x.y"]) == "{a.b.c,x.y}"
    assert megabytes(999) == "1.00 kB"
    assert megabytes(12_345_678) == "12.35 MB"
