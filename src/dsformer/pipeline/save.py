"""Stage: writing the artefact."""

import json
from dataclasses import replace

from dsformer.data.supervised.report import FILE
from dsformer.models.artefact import save as save_artefact
from dsformer.models.casting import keep_wide
from dsformer.models.hf_quantizer import attach
from dsformer.models.source import quiet
from dsformer.pipeline.state import State, have
from dsformer.utils.distributed import run_on_first_rank


def save(state: State) -> State:
    """Write the artefact if the request names an output; it appears whole or not at all."""
    request, network, source = state.request, have(state.network), have(state.source)
    summary = replace(have(state.summary), recipe=request.recipe.model_dump(mode="json"))
    attach(network, network.config.quantization_config.blocks, summary.as_dict())
    report = state.report
    files = {} if report is None else {FILE: json.dumps(report, indent=2, ensure_ascii=False)}
    output = request.output
    if output is not None:
        with quiet():
            run_on_first_rank(
                lambda: save_artefact(network, output, source=source, overwrite=request.overwrite, files=files)
            )
    if not request.trains:
        keep_wide(network)
    return replace(state, summary=summary)
