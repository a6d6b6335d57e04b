"""Tables of encoders: not trained, in fewer bits, distilled."""

from collections.abc import Callable, Iterable

from rendering.markdown import (
    code,
    count,
    error,
    megabytes,
    name_of,
    ratio,
    score,
    speed,
    table,
)
from rendering.rows import Results, Row

ENCODER = ("banking77", "stsb", "fidelity")
# Experiments whose dense models are the same.
TRAINED = ("tasks-rivals", "tasks-families", "tasks-longer")


def scores_of(row: Row, tasks: Iterable[str]) -> list[str]:
    return [score((row.scores or {}).get(task)) for task in tasks]


def untrained(results: Results) -> str:
    """All methods at one ratio, the best fidelity first."""
    rows = sorted(results.of("untrained"), key=lambda row: -(row.scores or {})["fidelity"])
    header = ["method", "ratio", "bytes of tensors", "error", *map(name_of, ENCODER)]
    return table(
        header,
        [
            [
                code(row.method),
                ratio(row.ratio),
                count((row.bytes or {}).get("tensors")),
                error(row.error),
                *scores_of(row, ENCODER),
            ]
            for row in rows
        ],
    )


def patterns(results: Results) -> str:
    """Ratios by patterns."""
    header = ["ratio over", "method", "ratio", "of the file", "bytes of the file", "error", *map(name_of, ENCODER)]
    rows = results.of("patterns-input-metric")
    rows.sort(key=lambda row: (row.settings["scope"] == "all", row.settings["ratio"], row.error))
    lines = []
    for row in rows:
        scope = "the whole file" if row.settings["scope"] == "all" else "linear layers"
        total = ratio(row.settings["total_ratio"])
        size = count((row.bytes or {}).get("file"))
        lines.append(
            [scope, code(row.method), ratio(row.ratio), total, size, error(row.error), *scores_of(row, ENCODER)]
        )
    return table(header, lines)


def quantization(results: Results) -> str:
    header = ["over fp32", "method", "factors", "bits a weight", "bytes of layers", "bytes of the file", "error"]
    lines = []
    rows = sorted(results.of("quantization"), key=lambda row: (row.settings["scope"], row.ratio_fp32, row.error))
    for row in rows:
        where = ratio(row.ratio_fp32) + (" (whole file)" if row.settings["scope"] == "all" else "")
        sizes = row.bytes or {}
        line = [where, code(row.method), row.settings["factors"], f"{row.settings['bits']:.2f}", count(sizes["layers"])]
        lines.append([*line, count(sizes["file"]), error(row.error), *scores_of(row, ENCODER)])
    return table([*header, *map(name_of, ENCODER)], lines)


def small_files(results: Results) -> str:
    """The whole file: tables factorized, tokens taken out."""
    header = ["vocabulary", "method", "factors", "ratio asked", "trained", "MB of the file", *map(name_of, ENCODER)]
    lines = []
    whole = [row for row in results.of("quantization") if row.settings["scope"] == "all"]
    for row in [*whole, *results.of("whole-file"), *results.of("vocabulary")]:
        asked = row.settings.get("ratio") or row.settings.get("asked", "").removeprefix("whole file, ")
        asked = str(asked).removesuffix(" of int4").removesuffix("x")
        trained = "distilled" if row.settings.get("train") == "distill" else "no"
        size = megabytes((row.bytes or {}).get("file"))
        words = row.settings.get("vocabulary", "whole")
        lines.append(
            [words, code(row.method), row.settings.get("factors", ""), asked, trained, size, *scores_of(row, ENCODER)]
        )
    return table(header, lines)


def stacking(results: Results) -> str:
    """Models that are small already; each base alone before what is made of it."""
    header = [
        "model",
        "distilled on",
        "MB of layers",
        "over fp32",
        "MB of the file",
        *map(name_of, ENCODER),
        "speed-up",
    ]
    rows = sorted(results.of("stacking"), key=_stacked)
    lines = []
    for row in rows:
        sizes = row.bytes or {}
        texts = {"none": "", "demo": "demo", "demo+stsb": "demo, STS-B"}[row.settings["texts"]]
        fast = speed(row.speedup) + (", AVX2" if row.speedup and row.machine == "epyc-avx2" else "")
        line = [stacked_name(row), texts, megabytes(sizes["layers"]), ratio(row.ratio_fp32), megabytes(sizes["file"])]
        lines.append([*line, *scores_of(row, ENCODER), fast])
    return table(header, lines)


def _stacked(row: Row) -> tuple[int, bool, float, str]:
    bases = ["MiniLM", "MiniLM int8", "MiniLM int4", "student"]
    own = row.method == "dense_sparse"
    return bases.index(row.settings["base"]), own, row.ratio_fp32 or 0.0, row.settings["texts"]


def stacked_name(row: Row) -> str:
    """What a row of ``stacking`` is."""
    name = row.settings["name"]
    alone = {
        "minilm": "dense, fp32",
        "int8": "int8 alone (`gptq`)",
        "int4": "int4 alone (`gptq`)",
        "student": "student",
    }
    if name in alone:
        return alone[name]
    if row.settings["base"] == "student":
        return "student and `dense_sparse`"
    factors = row.settings.get("factors", "fp32")
    aware = ", `--rounding-aware`" if row.settings.get("rounding_aware") else ""
    return f"`dense_sparse`, {factors} factors{aware}"


def albert(results: Results) -> str:
    names = ("masked", "products_factorized", "products")
    header = ["ratio", "bytes of layers", "bytes of the file", "error", *map(name_of, names), "speed-up"]
    lines = []
    for row in results.of("albert"):
        sizes = row.bytes or {}
        scores = scores_of(row, names)
        if row.method == "dense":
            scores[1:] = [score((row.dense or {}).get("products"))] * 2
        line = [ratio(row.ratio), count(sizes["layers"]), count(sizes["file"]), error(row.error), *scores]
        lines.append([*line, speed(row.speedup)])
    return table(header, lines)


def gguf(results: Results) -> str:
    header = ["model", "bytes of layers", "over fp32", "error", "perplexity"]
    rows = [
        [
            "as it is, read as fp32" if row.method == "dense" else "`dense_sparse`, int8 factors",
            count((row.bytes or {})["layers"]),
            ratio(row.ratio_fp32),
            error(row.error),
            score((row.scores or {})["perplexity"]),
        ]
        for row in results.of("gguf")
    ]
    return table(header, rows)


def overview(results: Results) -> str:
    """MiniLM: what a user can have without this method first."""
    header = ["model", "over fp32", "MB of layers", "MB of the file", "Banking77", "STS-B", "speed-up"]
    return table(header, [[cell(row) for cell in OVERVIEW] for row in overview_rows(results)])


def overview_rows(results: Results) -> list[Row]:
    """The dense model, int8 and int4 alone, then dense x sparse with factors of three types."""
    runs = ("minilm-none", "int8-none", "int4-none", "minilm-2.8-demo+stsb", "int8-2.0-demo+stsb")
    return [results.run("stacking", run) for run in (*runs, "int4-1.6-aware-demo+stsb")]


def _overview_speed(row: Row) -> str:
    if row.speedup is None:
        return "1" if row.method == "dense" else "as dense fp32"
    return speed(row.speedup)


OVERVIEW: tuple[Callable[[Row], str], ...] = (
    lambda row: stacked_name(row) + (", distilled" if row.method == "dense_sparse" else ""),
    lambda row: ratio(row.ratio_fp32),
    lambda row: megabytes((row.bytes or {})["layers"]),
    lambda row: megabytes((row.bytes or {})["file"]),
    lambda row: score((row.scores or {})["banking77"]),
    lambda row: score((row.scores or {})["stsb"]),
    _overview_speed,
)


def readme(results: Results) -> str:
    """The small table of the README."""
    lines = [
        [cell(row) for i, cell in enumerate(OVERVIEW) if i in (0, 1, 4, 5)] + [_readme_speed(row)]
        for row in overview_rows(results)
    ]
    bare = results.run("untrained", "dense_sparse")
    names = ["`dense_sparse`, fp32 factors, not trained", ratio(bare.ratio), *scores_of(bare, ENCODER[:2]), ""]
    lines.insert(3, names)
    return table(["model", "ratio over fp32", "Banking77", "STS-B", "speed-up"], lines)


def _readme_speed(row: Row) -> str:
    if row.speedup is None:
        return "1.00" if row.method == "dense" else "as dense"
    return f"{row.speedup.middle:.2f}"


def published(results: Results) -> str:
    header = ["task", "metric", "measured", "published"]
    rows = results.of("published-scores")
    lines = [
        [
            name_of(row.tasks[0]),
            row.settings["metric"],
            score((row.scores or {})[row.tasks[0]], (row.spread or {}).get(row.tasks[0])),
            score(row.settings["published"]),
        ]
        for row in rows
    ]
    return table(header, lines)


def demo(results: Results) -> str:
    names = {"original": "original", "factorized": "2.8x, not trained", "distilled": "2.8x, distilled"}
    header = ["model", "Banking77, 1,000 queries", "fidelity, the same queries"]
    rows = [results.run("demo", run) for run in names]
    tasks = ("banking77_queries", "fidelity_queries")
    return table(header, [[names[row.run], *scores_of(row, tasks)] for row in rows])
