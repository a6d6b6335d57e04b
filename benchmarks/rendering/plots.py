"""The plots: score against bytes, score against latency."""

from rendering.rows import Results, Row
from rendering.svg import Point, scatter

# Bytes of MiniLM's linear layers in float32, in MB.
DENSE_MB = 43.141632


def score_against_bytes(results: Results) -> str:
    """MiniLM not trained: mean of Banking77 and STS-B by stored bytes of the linear layers."""
    points = [Point(DENSE_MB, _both(results.run("untrained", "dense")), "dense fp32", "rival")]
    shown = ("dense_sparse", "double_sparse", "pruning", "sparsegpt", "oats", "structured", "low_rank")
    for method in shown:
        row = results.run("untrained", method)
        kind = "dsformer" if method in ("dense_sparse", "double_sparse") else "other"
        points.append(Point(_stored(row), _both(row), f"{method} 2.8x", kind))
    for row in results.of("quantization", scope="encoder"):
        own = row.method == "dense_sparse"
        bits = {"gptq": "gptq", "rtn": "rtn"}.get(row.method, row.settings["factors"])
        points.append(
            Point(_stored(row), _both(row), f"{bits} {row.settings['asked']}", "dsformer" if own else "rival")
        )
    for row in results.of("stacking"):
        if row.settings["texts"] == "demo+stsb" and row.settings["name"] in (
            "minilm-2.8",
            "int8-2.0",
            "int4-1.6-aware",
        ):
            factors = row.settings.get("factors", "fp32")
            points.append(Point(_stored(row), _both(row), f"{factors}, distilled", "dsformer"))
    title = "all-MiniLM-L6-v2: score against stored bytes"
    across = "MB of the linear layers (fp32: 43.1), logarithmic"
    return scatter(title, across, "mean of Banking77 and STS-B", points, (2.5, 5, 10, 20, 50), log=True)


def score_against_latency(results: Results) -> str:
    """Banking77 trained at 3.57x: score by latency of 8 x 64 tokens on two threads of a Xeon."""
    speeds = {row.method: row for row in results.of("speed-trained-xeon", timed_with="banking77")}
    points = [Point(1.0, _dense(results), "dense fp32", "rival")]
    for method, row in speeds.items():
        if row.speedup is not None:
            kind = {"dense_sparse": "dsformer", "double_sparse": "dsformer", "student": "rival"}.get(method, "other")
            points.append(Point(1 / row.speedup.middle, _trained(results, method), f"{method} 3.57x", kind))
    title = "MiniLM trained on Banking77: score against latency"
    across = "latency over dense fp32 (8 texts of 64 tokens, Xeon, two threads, PyTorch)"
    return scatter(title, across, "Banking77, accuracy", points, (0.2, 0.4, 0.6, 0.8, 1.0))


def _both(row: Row) -> float:
    scores = row.scores or {}
    return (scores["banking77"] + scores["stsb"]) / 2


def _stored(row: Row) -> float:
    """MB of the linear layers: those of the row, or else by its ratio."""
    if row.bytes and "layers" in row.bytes:
        return row.bytes["layers"] / 1e6
    return DENSE_MB / (row.ratio or 1.0)


def _dense(results: Results) -> float:
    row = next(row for row in results.of("tasks-rivals", task="banking77") if row.seeds == [0])
    return (row.dense or {})["banking77"]


def _trained(results: Results, method: str) -> float:
    """The score of the model whose speed was measured: seed 0, 3.57x; of the student, after six passes."""
    experiments = ("tasks-longer",) if method == "student" else ("tasks-rivals", "tasks-families")
    for experiment in experiments:
        for row in results.of(experiment, task="banking77", method=method, seeds=[0]):
            if row.settings["ratio"] == 3.57:
                return (row.scores or {})["banking77"]
    raise KeyError(method)
