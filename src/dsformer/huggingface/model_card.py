"""The README of a compressed model."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml


def model_card(summary: Mapping[str, Any], library: str = "transformers") -> str:
    """A model card in Markdown with a YAML header, out of what the summary says; what it does not say is left out.

    Args:
        summary: any of ``model`` (what was compressed: a hub name, a path), ``method``, ``pattern``, ``encoder_ratio``,
            ``total_ratio``, both with ``original_`` before them, ``bytes_before``, ``bytes_after``, ``mean_error``,
            ``calibration_tokens``, ``recipe``, as compression reports them; ``scores`` (a list of ``{"task", "metric",
            "dense", "compressed"}``), ``command``; ``license``, ``language``, ``pipeline_tag`` of the base model,
            ``tags``.
        library: the library the model is loaded with.
    """
    name = _short_name(summary.get("model"))
    sections = [
        _header(summary, library),
        f"# {name}, compressed with DSFormer" if name else "# A model compressed with DSFormer",
        _introduction(summary),
        _usage(library),
        _table("Size", ("", ""), _sizes(summary)),
        _table("Scores", ("task", "metric", "dense", "compressed"), _scores(summary.get("scores"))),
        _reproduction(summary),
        _licence(summary),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _header(summary: Mapping[str, Any], library: str) -> str:
    base = _hub_name(summary.get("model"))
    tags = ["dsformer", "compression", *map(str, summary.get("tags") or ())]
    fields = {
        "library_name": library,
        "base_model": base,
        "base_model_relation": "quantized" if base else None,
        "license": summary.get("license"),
        "language": summary.get("language"),
        "pipeline_tag": summary.get("pipeline_tag"),
        "tags": list(dict.fromkeys(tags)),
    }
    text = yaml.safe_dump({key: value for key, value in fields.items() if value}, sort_keys=False, allow_unicode=True)
    return f"---\n{text}---"


def _introduction(summary: Mapping[str, Any]) -> str:
    lines = [
        "Linear weights are stored as a small dense dictionary and sparse codes, after "
        "[DSFormer](https://arxiv.org/abs/2312.13211)."
    ]
    if summary.get("model"):
        lines.append(f"Base model: `{_hub_name(summary['model']) or _short_name(summary['model'])}`.")
    if summary.get("method"):
        pattern = f", pattern {_line(summary['pattern'])}" if summary.get("pattern") else ""
        lines.append(f"Method: {_line(summary['method'])}{pattern}.")
    return "\n".join(lines)


def _usage(library: str) -> str:
    package, name, call = "transformers", "AutoModel", "AutoModel.from_pretrained"
    if library == "sentence-transformers":
        package, name, call = "sentence_transformers", "SentenceTransformer", "SentenceTransformer"
    lines = [
        "import dsformer  # pip install dsformer; importing it registers the format",
        f"from {package} import {name}",
        "",
        f'model = {call}("path/to/this/model")',
    ]
    return "\n".join(["```python", *lines, "```"])


def _sizes(summary: Mapping[str, Any]) -> list[Sequence[Any]]:
    """Ratios count everything stored."""
    rows: list[Sequence[Any]] = []
    for key, meaning in (
        ("encoder_ratio", "compression of the compressed layers, everything stored counted, at one type of values"),
        ("original_encoder_ratio", "the same over the layers as they came"),
        ("total_ratio", "compression of the whole file, at one type of values"),
        ("original_total_ratio", "the same over the file as it came"),
    ):
        if summary.get(key):
            rows.append((meaning, f"{summary[key]:.2f}x"))
    for when in ("before", "after"):
        if f"bytes_{when}" in summary:
            rows.append((f"bytes {when}", f"{summary[f'bytes_{when}']:,}"))
    if summary.get("mean_error"):
        rows.append(("relative error of the layers' outputs, root mean square", f"{summary['mean_error']:.3f}"))
    return rows


def _scores(scores: Sequence[Mapping[str, Any]] | None) -> list[Sequence[Any]]:
    return [[score.get(column, "") for column in ("task", "metric", "dense", "compressed")] for score in scores or ()]


def _reproduction(summary: Mapping[str, Any]) -> str:
    parts = []
    if summary.get("calibration_tokens"):
        parts.append(f"Calibrated on {summary['calibration_tokens']:,} tokens of text.")
    if summary.get("command"):
        parts.append(f"```sh\n{summary['command']}\n```")
    elif summary.get("recipe"):
        recipe = yaml.safe_dump(summary["recipe"], sort_keys=False, allow_unicode=True)
        parts.append(f"`dsformer compress` with this recipe:\n\n```yaml\n{recipe}```")
    return "\n\n".join(["## How it was made", *parts]) if parts else ""


def _licence(summary: Mapping[str, Any]) -> str:
    licence = summary.get("license")
    return f"## Licence\n\nThat of the base model: {_line(licence)}." if licence else ""


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    if not rows:
        return ""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join([f"## {title}", "", *("| " + " | ".join(map(_cell, line)) + " |" for line in lines)])


def _cell(value: Any) -> str:
    return (f"{value:.4g}" if isinstance(value, float) else _line(value)).replace("|", "\\|")


def _line(value: Any) -> str:
    return " ".join(str(value).split())


def _hub_name(model: Any) -> str | None:
    """The name, unless it is that of something on the writer's machine."""
    text = _line(model or "")
    return text if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", text) and not Path(text).exists() else None


def _short_name(model: Any) -> str:
    return _line(model or "").rstrip("/").rsplit("/", 1)[-1]
