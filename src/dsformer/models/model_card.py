"""Model card: the ``README.md`` of a compressed model, Markdown with a YAML header."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from huggingface_hub import ModelCardData

from dsformer.models.local_paths import strip_local_paths

# Suffix of the name of a class with a head, and the Auto class of transformers that finds it.
_HEADS = {
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForTokenClassification": "AutoModelForTokenClassification",
    "ForQuestionAnswering": "AutoModelForQuestionAnswering",
    "ForMultipleChoice": "AutoModelForMultipleChoice",
    "ForMaskedLM": "AutoModelForMaskedLM",
    "ForCausalLM": "AutoModelForCausalLM",
    "LMHeadModel": "AutoModelForCausalLM",
    "ForConditionalGeneration": "AutoModelForSeq2SeqLM",
}
# Fields of a card that hold a model's scores, which are not those of the compressed model.
_SCORES = ("model-index", "eval_results")


def model_card(summary: Mapping[str, Any], library: str = "transformers", source: Mapping[str, Any] = {}) -> str:
    """Write a model card in Markdown with a YAML header from a summary; what the summary lacks is left out.

    Args:
        summary: as compression reports it. Any of ``model`` (what was compressed: a hub name or a path), ``method``,
            ``pattern``, ``encoder_ratio``, ``total_ratio``, both also with the prefix ``original_``, ``bytes_before``,
            ``bytes_after``, ``mean_error``, ``calibration_tokens``, ``recipe``, ``architecture`` (the name of the
            model's class), ``command``, and ``scores``: a list of ``{"task", "metric", "dense", "compressed"}``, some
            with ``"factorized"``, the score before training.
        library: the library the model is loaded with, ``transformers`` or ``sentence-transformers``.
        source: the YAML header of the base model's card.
    """
    summary, source = strip_local_paths(dict(summary)), strip_local_paths(dict(source))
    name = short_name(summary.get("model"))
    sections = [
        header(source, library, hub_name(summary.get("model")), "quantized", ["dsformer", "compression"]),
        f"# {name}, compressed with DSFormer" if name else "# A model compressed with DSFormer",
        _introduction(summary),
        loading_code(library, str(summary.get("architecture") or "")),
        markdown_table("Size", ("", ""), _sizes(summary)),
        _scores(summary.get("scores") or ()),
        _reproduction(summary),
        _licence(source),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def header(source: Mapping[str, Any], library: str, base: str | None, relation: str, tags: Sequence[str]) -> str:
    """Write the YAML header of a card: that of the base model without its scores, and what is known of this model.

    Args:
        source: the YAML header of the base model's card.
        library: the library the model is loaded with.
        base: the base model's name on the hub, if it has one.
        relation: relation of this model to the base model, such as "quantized".
        tags: tags of this model, which come before those of the base model.
    """
    known: dict[str, Any] = {"library_name": library} | (
        {"base_model": base, "base_model_relation": relation} if base else {}
    )
    own = source.get("tags") or []
    data = ModelCardData(**known, tags=[*tags, *(own if isinstance(own, list) else [own])])
    for name in source.keys() - known.keys() - {"tags", *_SCORES}:
        data[name] = source[name]
    return f"---\n{data.to_yaml(original_order=[*known, *source])}\n---"


def _introduction(summary: Mapping[str, Any]) -> str:
    lines = [
        "Linear weights are stored as a small dense dictionary and sparse codes, after "
        "[DSFormer](https://arxiv.org/abs/2312.13211)."
    ]
    if summary.get("model"):
        lines.append(f"Base model: `{hub_name(summary['model']) or short_name(summary['model'])}`.")
    if summary.get("method"):
        pattern = f", pattern {_line(summary['pattern'])}" if summary.get("pattern") else ""
        lines.append(f"Method: {_line(summary['method'])}{pattern}.")
    return "\n".join(lines)


def loading_code(library: str, architecture: str, compressed: bool = True) -> str:
    """Write Python code that loads the model in the class that keeps its head.

    Args:
        library: ``transformers`` or ``sentence-transformers``.
        architecture: the name of the model's class; empty for one without a head.
        compressed: whether the code has to import this package.
    """
    package, name = (
        "transformers",
        next((auto for end, auto in _HEADS.items() if architecture.endswith(end)), "AutoModel"),
    )
    call = f"{name}.from_pretrained"
    if library == "sentence-transformers":
        package = "sentence_transformers"
        name = call = "CrossEncoder" if name == _HEADS["ForSequenceClassification"] else "SentenceTransformer"
    lines = [
        *(["import dsformer  # pip install dsformer; importing it registers the format"] if compressed else []),
        f"from {package} import {name}",
        "",
        f'model = {call}("path/to/this/model")',
    ]
    return "\n".join(["```python", *lines, "```"])


def _sizes(summary: Mapping[str, Any]) -> list[Sequence[Any]]:
    """Return the rows of the table of sizes; the ratios count everything that is stored."""
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


def _scores(scores: Sequence[Mapping[str, Any]]) -> str:
    columns = {"task": "task", "metric": "metric", "dense": "dense", "factorized": "before training"}
    columns = {key: name for key, name in columns.items() if key != "factorized" or any(key in one for one in scores)}
    columns["compressed"] = "compressed"
    rows = [[_shown(score.get(key)) for key in columns] for score in scores]
    return markdown_table("Scores", tuple(columns.values()), rows)


def _shown(value: Any) -> Any:
    return "" if value is None else value


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


def _licence(source: Mapping[str, Any]) -> str:
    licence = source.get("license_name") or source.get("license")
    return f"## Licence\n\nThat of the base model: {_line(licence)}." if licence else ""


def markdown_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Write a Markdown section with a table; empty if there are no rows.

    Args:
        title: the heading of the section.
        columns: the names of the columns.
        rows: the cells of every row, in the order of the columns.
    """
    if not rows:
        return ""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join([f"## {title}", "", *("| " + " | ".join(map(_cell, line)) + " |" for line in lines)])


def _cell(value: Any) -> str:
    return (f"{value:.4g}" if isinstance(value, float) else _line(value)).replace("|", "\\|")


def _line(value: Any) -> str:
    return " ".join(str(value).split())


def hub_name(model: Any) -> str | None:
    """Return a model's name if it is one of the hub, or None if it may be a path on the writer's machine."""
    text = _line(model or "")
    return text if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", text) else None


def short_name(model: Any) -> str:
    """Return the last part of a name or path."""
    return _line(model or "").rstrip("/").rsplit("/", 1)[-1]
