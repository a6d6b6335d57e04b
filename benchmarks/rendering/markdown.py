"""Tables in Markdown, and how values stand in them."""

from collections.abc import Iterable, Sequence

from rendering.rows import Interval

NAMES = {
    "banking77": "Banking77",
    "stsb": "STS-B",
    "fidelity": "fidelity",
    "mrpc": "MRPC",
    "cola": "CoLA",
    "sst2": "SST-2",
    "rte": "RTE",
    "scifact": "SciFact",
    "movie_reviews": "movie reviews",
    "masked": "masked tokens",
    "products": "products, trained",
    "products_factorized": "products, not trained",
    "error": "error",
    "speedup": "speed-up",
    "mean": "mean of the tasks",
    "divergence_banking77": "divergence on Banking77",
}
METRICS = {
    "mrpc": "F1",
    "stsb": "Spearman",
    "cola": "Matthews",
    "sst2": "accuracy",
    "banking77": "accuracy",
    "rte": "accuracy",
    "movie_reviews": "accuracy",
}


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; nothing where there are no rows."""
    lines = ["| " + " | ".join(cells) + " |" for cells in rows]
    return "\n".join(["| " + " | ".join(header) + " |", "|" + "---|" * len(header), *lines])


def name_of(task: str) -> str:
    return NAMES.get(task, task)


def score(value: float | None, spread: float | None = None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if spread is None else f"{value:.2f} ± {spread:.2f}"


def difference(value: float, spread: float | None = None) -> str:
    signed = f"{value + 0.0:+.2f}" if round(value, 2) else "0.00"
    return signed if spread is None else f"{signed} ± {spread:.2f}"


def speed(value: Interval | None, digits: int = 2) -> str:
    """A median with its quartiles."""
    if value is None:
        return ""
    middle = f"{value.middle:.{digits}f}"
    if value.low is None or value.high is None:
        return middle
    return f"{middle} ({value.low:.{digits}f} to {value.high:.{digits}f})"


def error(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def megabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.1f}"


def count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def code(method: str) -> str:
    """A method as its name on the command line."""
    return "dense" if method == "dense" else f"`{method}`"


def way(name: str) -> str:
    """How a model is run, in words."""
    words = {
        "eager": "PyTorch, fp32",
        "compile": "compiled, fp32",
        "bf16": "PyTorch, bf16",
        "compile-bf16": "compiled, bf16",
        "onnx-int8": "ONNX Runtime, int8",
        "openvino-int8": "OpenVINO, int8",
        "ctranslate2-int8": "CTranslate2, int8",
        "native": "native runtime, fp32",
        "native-int8": "native runtime, int8 at load",
    }
    return words[name]
