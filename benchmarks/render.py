"""Write the pages of results from what is in experiments and results.

    python benchmarks/render.py                # write docs/results and the tables of the README
    python benchmarks/render.py --check        # exit with 1 where a page is not what the rows render to
    python benchmarks/render.py --add WORK/results.jsonl --experiment NAME --to tasks --machine M

``experiments/NAME.yaml`` says what is run, ``results/*.jsonl`` has a row a run (``rendering/rows.py`` has the fields).
``rendering/pages/*.md`` has the prose, in which a line such as ``{{ task mrpc }}`` stands for a table. ``--add`` turns
the rows of a sweep or script, or the output of ``dsformer benchmark --json``, into rows of results.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from rendering import encoders, ideas, plots, quality, reproduce, timing
from rendering.convert import converted, errors_of_blocks
from rendering.rows import Results, ResultsError, read, read_rows, write_rows

HERE = Path(__file__).parent
# What a line of a page may ask for.
TABLES: dict[str, Callable[..., str]] = {
    "overview": encoders.overview,
    "readme-quality": encoders.readme,
    "untrained": encoders.untrained,
    "patterns": encoders.patterns,
    "task": quality.task,
    "other-dense-models": quality.other_dense_models,
    "by-dense": quality.by_dense,
    "quantization": encoders.quantization,
    "small-files": encoders.small_files,
    "stacking": encoders.stacking,
    "albert": encoders.albert,
    "gguf": encoders.gguf,
    "squad": quality.squad,
    "published": encoders.published,
    "demo": encoders.demo,
    "round-trips": quality.round_trips,
    "readme-speed": timing.readme,
    "speed": timing.grid,
    "speed-xeon": lambda results: timing.grid(results, "speed-xeon", ((8, 64), (8, 128)), 1),
    "speed-trained": timing.trained,
    "speed-cola": timing.trained_cola,
    "speed-stacking": timing.stacking,
    "speed-end-to-end": timing.end_to_end,
    "linear-share": timing.linear_share,
    "native": timing.native,
    "layers": timing.layers,
    "embeddings": timing.embeddings,
    "operators": timing.operators,
    "attention": timing.attention,
    "training-cost": timing.training,
    "ablations": ideas.ablations,
    "learners": lambda results, name, seed=None: ideas.learners(results, name, None if seed is None else int(seed)),
    "divergence": ideas.divergence,
    "variants": ideas.variants,
    "rates": ideas.rates,
    "blocks": ideas.blocks,
    "experiments": reproduce.experiments,
    "commands": reproduce.commands,
    "command": reproduce.command,
    "machines": reproduce.machines,
    "versions": reproduce.versions,
    "limits": reproduce.limits,
}
PLOTS = {"bytes.svg": plots.score_against_bytes, "latency.svg": plots.score_against_latency}
ASKED = re.compile(r"^\{\{ ([\w-]+)(.*) \}\}$", re.MULTILINE)
# A table of the README: between these, as the first one names it.
MARKED = re.compile(r"(<!-- render: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
WRITTEN = "<!-- Written by benchmarks/render.py from benchmarks/results; edit benchmarks/rendering/pages. -->\n\n"


def rendered(results: Results, pages: Path, readme: Path) -> dict[Path, str]:
    """Every file that is written, and its text."""
    found = {}
    for page in sorted((HERE / "rendering" / "pages").glob("*.md")):
        text = ASKED.sub(lambda asked: _table(results, asked[1], asked[2].split()), page.read_text(encoding="utf-8"))
        found[pages / page.name] = WRITTEN + text
    for name, plot in PLOTS.items():
        found[pages / name] = plot(results)
    text = readme.read_text(encoding="utf-8")
    found[readme] = MARKED.sub(
        lambda marked: marked[1] + "\n" + _table(results, marked[2], []) + "\n\n" + marked[3], text
    )
    return found


def _table(results: Results, name: str, arguments: list[str]) -> str:
    if name not in TABLES:
        raise ResultsError(f"a page asks for a table {name!r}, which does not exist")
    return TABLES[name](results, *arguments)


def check(files: dict[Path, str]) -> str:
    """One line that names every file that is not what it should be; empty where there is none."""
    wrong = [path for path, text in files.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    names = ", ".join(str(path) for path in wrong)
    return f"{names}: not what the rows render to; run python benchmarks/render.py" if wrong else ""


def add(args: argparse.Namespace, results: Results) -> str:
    """Add the rows of a file; those that are there already are replaced. Returns what was done."""
    if args.experiment not in results.experiments:
        raise ResultsError(f"there is no experiments/{args.experiment}.yaml")
    commit = (
        args.commit
        or subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True, check=True
        ).stdout.strip()
    )
    versions = dict(pair.split("=", 1) for pair in args.versions) or None
    common = {"machine": args.machine, "versions": versions, "commit": commit}
    experiment = results.experiments[args.experiment]
    new = converted(args.add, experiment, common, dict(pair.split("=", 1) for pair in args.set))
    target = args.results / f"{args.to or args.experiment}.jsonl"
    old = list(read_rows(target)) if target.is_file() else []
    names = {(row.experiment, row.run) for row in new}
    write_rows(target, [*[row for row in old if (row.experiment, row.run) not in names], *new])
    _add_blocks(args.results / "per_block_tasks.csv", errors_of_blocks(args.add, experiment))
    return f"{len(new)} rows in {target}"


def _add_blocks(path: Path, lines: list[tuple[str, str, str, str]]) -> None:
    """Put errors of blocks in the place of those of the same runs."""
    runs = {line[:2] for line in lines}
    there = [tuple(line.split(",")) for line in path.read_text(encoding="utf-8").splitlines()]
    kept = [line for line in there if line[:2] not in runs]
    path.write_text("".join(",".join(line) + "\n" for line in [*kept, *lines]), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a page differs")
    parser.add_argument("--experiments", type=Path, default=HERE / "experiments")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--pages", type=Path, default=HERE.parent / "docs" / "results")
    parser.add_argument("--readme", type=Path, default=HERE.parent / "README.md")
    parser.add_argument(
        "--add", type=Path, help="rows of a sweep or script, or the output of dsformer benchmark --json"
    )
    parser.add_argument("--experiment", help="that the added rows are of")
    parser.add_argument("--to", help="file of results they go to, without its suffix (default: the experiment's name)")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="what the added file does not say")
    parser.add_argument("--machine", help="a name in machines.yaml")
    parser.add_argument("--versions", nargs="*", default=[], metavar="PACKAGE=VERSION")
    parser.add_argument("--commit", help="at which they were measured (default: the present one)")
    args = parser.parse_args()
    try:
        results = read(args.experiments, args.results)
        if args.add:
            print(add(args, results))
            results = read(args.experiments, args.results)
        files = rendered(results, args.pages, args.readme)
    except ResultsError as error:
        print(error, file=sys.stderr)
        return 1
    if args.check:
        if wrong := check(files):
            print(wrong, file=sys.stderr)
        return 1 if wrong else 0
    args.pages.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
