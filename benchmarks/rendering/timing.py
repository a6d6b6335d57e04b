"""Tables of speed."""

from rendering.encoders import stacked_name
from rendering.markdown import code, name_of, speed, table, way
from rendering.rows import Results, Row

SETTINGS = ((1, 16), (1, 128), (8, 16), (8, 128))
# Ways of dense models that are engines of others.
ENGINES = ("openvino-int8", "onnx-int8")


def title(row: Row) -> str:
    """A model and how it is run."""
    factors = ", int8 factors" if row.settings.get("factors") == "int8" else ""
    how = way(row.settings["way"])
    if factors:
        how = how.removesuffix(", fp32").replace("bf16", "bf16 elsewhere")
    return f"{code(row.method)}{factors}, {how}"


def grid(results: Results, experiment: str, sizes: tuple[tuple[int, int], ...] = SETTINGS, digits: int = 2) -> str:
    """A line for every model and way, a column for every batch and length; engines and dense models first."""
    lines: dict[str, dict[tuple[int, int], Row]] = {}
    for row in sorted(results.of(experiment), key=_order):
        lines.setdefault(title(row), {})[row.settings["batch"], row.settings["tokens"]] = row
    header = ["model", *[f"{batch} x {tokens}" for batch, tokens in sizes]]
    return table(header, [[name, *[_cell(own.get(size), digits) for size in sizes]] for name, own in lines.items()])


def native(results: Results) -> str:
    """A line for every engine and number of threads, a column for every batch, and what its vectors lose."""
    lines: dict[tuple[str, int], dict[str, Row]] = {}
    for row in results.of("native-speed"):
        size = f"{row.settings['batch']} x {row.settings['tokens']}"
        lines.setdefault((title(row), row.settings["threads"]), {})[size] = row
    sizes = list(next(iter(lines.values())))
    body = []
    for (name, threads), own in lines.items():
        cosines = [row.settings["cosine"] for row in own.values()]
        body.append([name, str(threads), *[_cell(own.get(size)) for size in sizes], f"{min(cosines):.4f}"])
    return table(["engine", "threads", *sizes, "cosine"], body)


def _cell(row: Row | None, digits: int = 2) -> str:
    if row is None:
        return ""
    return f"1 ({row.milliseconds:.1f} ms)" if row.milliseconds is not None else speed(row.speedup, digits)


def _order(row: Row) -> tuple[int, int, str, bool, str]:
    """Dense models before compressed ones, engines before PyTorch."""
    ways = ["eager", *ENGINES, "bf16", "compile", "compile-bf16"]
    compressed = 0 if row.method == "dense" else 1
    return compressed, 0 if compressed else ways.index(row.settings["way"]), row.method, "factors" in row.settings, ""


def trained(results: Results) -> str:
    """Models of 3.57x, by the task that their run was of."""
    runs = ("banking77", "stsb")
    methods: dict[str, dict[str, Row]] = {}
    for row in sorted(results.of("speed-trained-xeon"), key=lambda row: -_middle(row)):
        methods.setdefault(row.method, {})[row.settings["timed_with"]] = row
    header = ["method", *[f"run of {name_of(run)}" for run in runs]]
    return table(header, [[code(name), *[_cell(own.get(run)) for run in runs]] for name, own in methods.items()])


def trained_cola(results: Results) -> str:
    """Models of CoLA, by ratio."""
    methods: dict[str, dict[float, Row]] = {}
    rows = [row for row in results.of("tasks", task="cola") if row.speedup is not None]
    for row in sorted(rows, key=lambda row: -_middle(row)):
        methods.setdefault(row.method, {})[row.settings["ratio"]] = row
    header = ["method", "2.8x", "3.57x"]
    return table(
        header, [[code(name), *[_cell(own.get(asked)) for asked in (2.8, 3.57)]] for name, own in methods.items()]
    )


def linear_share(results: Results) -> str:
    """Milliseconds in linear layers and in all other operations."""
    sizes = ((1, 16), (1, 128), (8, 128))
    lines: dict[str, dict[tuple[int, int, str], float]] = {}
    for row in sorted(results.of("linear-share"), key=_order):
        place = row.settings["batch"], row.settings["tokens"], row.settings["part"]
        lines.setdefault(title(row), {})[place] = row.milliseconds or 0.0
    parts = ("linear layers", "other operations")
    header = ["model", *[f"{batch} x {tokens}: {part}" for batch, tokens in sizes for part in parts]]
    cells = [[f"{own[(*size, part)]:.1f}" for size in sizes for part in parts] for own in lines.values()]
    return table(header, [[name, *own] for name, own in zip(lines, cells, strict=True)])


def layers(results: Results) -> str:
    """Speed-ups of single layers."""
    rows = results.of("layer-speed")
    patterns, tokens = ("free", "grouped(8)"), (16, 128, 512)
    kinds = dict.fromkeys((row.settings["type"], row.settings["shape"]) for row in rows)
    found = {
        (row.settings["type"], row.settings["shape"], row.method.partition("@")[2], row.settings["tokens"]): row
        for row in rows
    }
    header = ["type", "layer", *[f"{pattern}, {count} tokens" for pattern in patterns for count in tokens]]
    lines = []
    for kind in kinds:
        cells = [speed(found[(*kind, pattern, count)].speedup) for pattern in patterns for count in tokens]
        lines.append([*kind, *cells])
    return table(header, lines)


def embeddings(results: Results) -> str:
    """Microseconds of a lookup."""
    found: dict[tuple[str, int], dict[str, Row]] = {}
    for row in results.of("embedding-speed"):
        found.setdefault((row.settings["type"], row.settings["tokens"]), {})[row.settings["by"]] = row
    lines = []
    for (kind, tokens), own in found.items():
        times = [f"{1000 * (own[by].milliseconds or 0.0):.0f}" for by in ("dense", "operator", "kernels")]
        unpacked = f"{(own['operator'].bytes or {})['unpacked'] / 1e6:.1f}"
        lines.append([kind, str(tokens), *times, speed(own["kernels"].speedup, 1), unpacked])
    header = ["type", "tokens", "dense table, µs", "operator, µs", "kernels, µs", "kernels over operator"]
    return table([*header, "MB that the operator unpacks"], lines)


def operators(results: Results) -> str:
    rows = results.of("operator-cost")
    lines = [
        [str(row.settings["tokens"]), f"{row.settings['lowest']:.2f} to {row.settings['highest']:.2f}"] for row in rows
    ]
    return table(["tokens", "speed-up over the dense layer"], lines)


def attention(results: Results) -> str:
    found: dict[str, dict[str, Row]] = {}
    for row in results.of("attention-speed"):
        found.setdefault(row.settings["shape"], {})[row.settings["type"]] = row
    lines = []
    for shape, own in found.items():
        times = [f"{own[kind].milliseconds:.1f}" for kind in ("bf16", "float32")]
        lines.append([shape, *times, speed(own["float32"].speedup, 1)])
    return table(["texts x tokens", "bf16, ms", "float32, ms", "speed-up of float32"], lines)


def stacking(results: Results, machine: str) -> str:
    """Distilled models, all of a machine in one run."""
    rows = [row for row in results.of("stacking", machine=machine) if row.speedup is not None]
    return table(["model", "speed-up"], [[stacked_name(row), speed(row.speedup)] for row in rows])


def end_to_end(results: Results) -> str:
    """The model of the demo, tokenizer included."""
    rows = [row for row in results.of("demo") if row.speedup is not None]
    lines = [[row.settings["round"], row.settings["texts"], speed(row.speedup)] for row in rows]
    return table(["run", "texts", "speed-up"], lines)


def training(results: Results) -> str:
    lines = []
    for row in results.of("training-cost"):
        own = row.settings
        cost = f"{own['cost']:.2f} ({own['cost_low']:.2f} to {own['cost_high']:.2f})"
        lines.append([f"`{own['train']}`", cost, f"{own['memory']:.2f}", row.note or ""])
    return table(["learner", "time over a dense step", "peak memory over dense", "remark"], lines)


def readme(results: Results) -> str:
    """The small table of the README: one core without AMX, two threads with it."""
    chosen = (
        ("dense", None, "eager"),
        ("dense", None, "openvino-int8"),
        ("dense", None, "onnx-int8"),
        ("dense", None, "bf16"),
        ("dense_sparse", None, "eager"),
        ("dense_sparse", None, "bf16"),
        ("dense_sparse", "int8", "compile"),
        ("dense_sparse@grouped(8)", "int8", "compile"),
    )
    lines = []
    for method, factors, how in chosen:
        wanted = {"method": method, "factors": factors, "way": how}
        cells = [speed_of(results, "speed-minilm", 2, batch=b, tokens=t, **wanted) for b, t in ((1, 16), (8, 128))]
        cells.append(
            "1.0" if how == "eager" and method == "dense" else speed_of(results, "speed-xeon", 1, tokens=128, **wanted)
        )
        lines.append([title(results.of("speed-minilm", **wanted)[0]), *cells])
    return table(["model", "EPYC, 1 x 16 tokens", "EPYC, 8 x 128", "Xeon with AMX, 8 x 128"], lines)


def speed_of(results: Results, experiment: str, digits: int, **wanted: object) -> str:
    """The speed-up of the one row that is meant; nothing where it was not measured."""
    rows = results.of(experiment, **wanted)
    return f"{_middle(rows[0]):.{digits}f}" if rows else ""


def _middle(row: Row) -> float:
    return row.speedup.middle if row.speedup is not None else 0.0
