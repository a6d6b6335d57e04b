"""``dsformer compress --dry-run``: prints the plan and writes nothing."""

from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

from dsformer.allocation.planned_block import dense_bytes
from dsformer.cli.output import console, duration, print_json, table
from dsformer.cli.tables import calibration_line, left_dense_lines
from dsformer.pipeline.compress import prepare
from dsformer.pipeline.cost_estimate import CostEstimate, estimate_cost
from dsformer.pipeline.state import State, have
from dsformer.recipe import Recipe
from dsformer.report.parts import label_of
from dsformer.report.prediction import predict_bytes
from dsformer.report.units import megabytes, percent, times
from dsformer.utils.progress import shown_progress


def dry_run(model: str, recipe: Recipe, data_dir: Path | None, *, as_json: bool, quiet: bool) -> None:
    """Calibrate, divide the budget and print what a real run would do.

    Args:
        model: directory or hub name.
        recipe: of the compression.
        data_dir: folder of data sets.
        as_json: print JSON.
        quiet: show no progress.
    """
    started = perf_counter()
    with shown_progress(quiet) as progress:
        prepared = prepare(model, recipe=recipe, data_dir=data_dir, progress=progress)
    calibration = perf_counter() - started
    predicted = estimate_cost(prepared)
    if as_json:
        print_json(as_data(prepared, predicted, calibration))
    else:
        show(prepared, predicted, calibration)


def as_data(prepared: State, predicted: CostEstimate, calibration: float) -> dict[str, Any]:
    """Return the plan as plain data.

    Args:
        prepared: the state after allocation.
        predicted: time and memory of the factorization.
        calibration: seconds that calibration took.
    """
    plan = have(prepared.plan)
    return {
        "model": have(prepared.source).name,
        "recipe": prepared.recipe.model_dump(mode="json"),
        "steps": prepared.recipe.sequence,
        "blocks": [
            {
                "names": planned.block.names,
                "kind": planned.block.kind,
                "shape": planned.block.shape,
                "bytes_before": dense_bytes(planned.block, plan.types),
                "budget": planned.budget_bytes(plan.types),
            }
            for planned in plan.blocks
        ],
        "rest_bytes": plan.rest_bytes,
        "type_factor": plan.type_factor,
        **predict_bytes(plan, have(prepared.tracing)),
        "silent": have(prepared.tracing).silent,
        "small": have(prepared.tracing).small,
        "excluded": have(prepared.tracing).excluded,
        "left": [asdict(one) for one in plan.left],
        "calibration_tokens": have(prepared.statistics).tokens,
        "predicted_seconds": predicted.seconds + calibration,
        "predicted_peak_bytes": predicted.peak_bytes,
        "workers": predicted.workers,
    }


def show(prepared: State, predicted: CostEstimate, calibration: float) -> None:
    """Print the plan as tables. Arguments as of :func:`as_data`."""
    plan = have(prepared.plan)
    rows = []
    for planned in plan.blocks:
        before, after = dense_bytes(planned.block, plan.types), planned.budget_bytes(plan.types)
        shape = f"{planned.block.shape[0]} x {planned.block.shape[1]}"
        rows.append([label_of(planned.block.names), shape, megabytes(before), megabytes(after), times(before / after)])
    out = console()
    out.print(f"Steps: {', '.join(prepared.recipe.sequence)}")
    out.print(calibration_line(prepared.recipe, have(prepared.statistics).tokens))
    out.print(table("Plan", ["block", "shape", "before", "budget", "ratio"], rows))
    total = predict_bytes(plan, have(prepared.tracing))
    for line in left_dense_lines(plan.left, total["bytes_after"]):
        out.print(line)
    lines = [
        ["bytes (tensors)", f"{megabytes(total['bytes_before'])} -> {megabytes(total['bytes_after'])}"],
        ["encoder ratio (at one value type)", times(total["encoder_ratio"])],
        ["encoder ratio (over the model as it came)", times(total["original_encoder_ratio"])],
        ["total ratio (at one value type)", times(total["total_ratio"])],
        ["embedding share", percent(total["embedding_share"])],
        ["time", f"about {duration(predicted.seconds + calibration)} ({predicted.workers} blocks side by side)"],
        ["peak memory", f"about {megabytes(predicted.peak_bytes)}"],
    ]
    out.print(table("Predicted", ["", "predicted"], lines))
