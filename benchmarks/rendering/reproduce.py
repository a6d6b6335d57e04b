"""What was run: experiments, commands, machines."""

from rendering.markdown import table
from rendering.rows import Experiment, Results


def experiments(results: Results) -> str:
    """A line for every experiment."""
    header = ["experiment", "question", "rows", "seeds", "machines", "recorded at", "time of the runs", "expected time"]
    return table(header, [_line(results, one) for one in results.experiments.values()])


def _line(results: Results, one: Experiment) -> list[str]:
    rows = results.of(one.name)
    blocks = [line for line in results.blocks if line["experiment"] == one.name]
    seeds = sorted({seed for row in rows for seed in row.seeds})
    machines = sorted({row.machine for row in rows if row.machine} | ({one.machine} if one.machine else set()))
    commits = dict.fromkeys([row.commit for row in rows if row.commit] + [line["commit"] for line in blocks])
    known = [row.seconds for row in rows if row.seconds is not None]
    spent = f"{sum(known) / 60:.0f} min for {len(known)} rows" if known else ""
    count = len(rows) + len(blocks)
    shown = ", ".join(f"`{commit}`" for commit in list(commits)[:3]) + (", ..." if len(commits) > 3 else "")
    return [
        f"`{one.name}`",
        one.question,
        str(count) if count else "not run yet",
        ", ".join(map(str, seeds)),
        ", ".join(machines),
        shown,
        spent,
        one.time or "",
    ]


def commands(results: Results) -> str:
    """All commands in one block."""
    parts = [f"# {one.name}: {one.title}\n{one.command.rstrip()}" for one in results.experiments.values()]
    return "```\n" + "\n".join(parts) + "\n```"


def machines(results: Results) -> str:
    return table(["name", "machine"], [[f"`{name}`", text] for name, text in results.machines.items()])


def versions(results: Results) -> str:
    """What versions rows are of."""
    found: dict[str, int] = {}
    for row in results.rows:
        name = ", ".join(f"{package} {version}" for package, version in (row.versions or {}).items()) or "not recorded"
        found[name] = found.get(name, 0) + 1
    return table(["versions", "rows"], [[name, str(count)] for name, count in found.items()])


def limits(results: Results, *names: str) -> str:
    """The limits of experiments, as a list."""
    lines = [f"- {limit}" for name in names for limit in results.experiments[name].limits or []]
    return "\n".join(lines)


def command(results: Results, name: str) -> str:
    """One command."""
    return f"```\n{results.experiments[name].command.rstrip()}\n```"
