"""The stages of a compression in order; each is a function from a state to a state.

All runs go through the same list; a stage that the recipe does not ask for returns the state unchanged. The results of
a stage are in the run's work directory (``OUTPUT.work``), where a later run of the same request finds them:

===================  =========================================================================
``vocabulary/``      the dense model with the pruned vocabulary
``finetuning/``      checkpoints of the dense model during fine-tuning
``teacher/``         the fine-tuned dense model
``blocks/``          the budgets, and the form of every fitted block
``factorized/``      the artefact before training
``training/``        checkpoints of the factors during training
===================  =========================================================================
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter

from dsformer.models.artefact import save as save_artefact
from dsformer.models.load import load
from dsformer.models.source import open_source, quiet
from dsformer.pipeline.allocate import allocate
from dsformer.pipeline.calibrate import calibrate
from dsformer.pipeline.dense import finetune, open_dense, prune_vocabulary
from dsformer.pipeline.factorize import factorize
from dsformer.pipeline.install import install
from dsformer.pipeline.save import save
from dsformer.pipeline.state import State, have
from dsformer.pipeline.train import evaluate, quantize, train
from dsformer.report.summary import Summary
from dsformer.utils.distributed import run_on_first_rank

Stage = Callable[[State], State]


def compress_dense(state: State) -> State:
    """Calibrate, allocate, factorize and install.

    If the factors are then trained, the dense model is kept as the teacher. A second copy is compressed, by the first
    of several processes, and all of them load what it has written.
    """
    if not state.request.trains:
        return run_stages(state, COMPRESSION)
    directory = state.request.work / "factorized"

    def write() -> None:
        if not directory.is_dir():
            own = replace(open_source(state.dense), name=have(state.source).name)
            request = replace(state.request, started=perf_counter())
            done = run_stages(replace(state, request=request, source=own), COMPRESSION)
            with quiet():
                save_artefact(have(done.network), directory, source=own)

    run_on_first_rank(write)
    network = load(directory)
    summary = Summary.from_dict(network.config.quantization_config.summary)
    return replace(state, network=network, summary=replace(summary, model=str(state.request.model)))


COMPRESSION: tuple[Stage, ...] = (calibrate, allocate, factorize, install)
STAGES: tuple[Stage, ...] = (
    prune_vocabulary,
    finetune,
    open_dense,
    compress_dense,
    train,
    quantize,
    evaluate,
    save,
)


def run_stages(state: State, stages: Sequence[Stage] = STAGES) -> State:
    """Run stages one after another and return the final state."""
    for stage in stages:
        state = stage(state)
    return state
