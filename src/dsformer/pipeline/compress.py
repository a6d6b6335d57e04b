"""``compress``: from a model and a recipe to an artefact."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any

from dsformer.data.text import Text
from dsformer.errors import InputError
from dsformer.models.remote_code import trusting
from dsformer.pipeline.allocate import allocate
from dsformer.pipeline.calibrate import calibrate
from dsformer.pipeline.dense import open_dense, prune_vocabulary
from dsformer.pipeline.stages import run_stages
from dsformer.pipeline.state import Compressed, Model, Request, State, have
from dsformer.pipeline.workdir import working
from dsformer.recipe import Recipe
from dsformer.training.schedule import require_training
from dsformer.utils.atomic_io import scratch_directory, user_path
from dsformer.utils.distributed import world_size
from dsformer.utils.output_directory import reserve_on_first_rank
from dsformer.utils.progress import Progress, silent


def compress(
    model: Model,
    output: str | Path | None = None,
    *,
    recipe: Recipe | None = None,
    tokenizer: Any = None,
    texts: Sequence[Text] | None = None,
    data_dir: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
    **fields: Any,
) -> Compressed:
    """Compress a transformer: write every linear weight as a dense matrix times a sparse one.

    With ``training`` in the recipe the factors are then trained on a task or on plain text. A run keeps its work in
    ``OUTPUT.work``. After it was killed, the same call continues from there.

    Args:
        model: a Hugging Face or sentence-transformers directory, a directory of peft adapters, a GGUF file, a hub name,
            or a model object (changed in place).
        output: directory of the compressed model; appears whole or not at all. None: the model stays in memory.
        recipe: how to compress; fields not given keep their defaults.
        tokenizer: required with a model object.
        texts: calibration texts, or pairs of them, instead of the recipe's file, the task's text or the bundled sample.
        data_dir: folder of data sets, for the recipe's task.
        overwrite: replace ``output`` if it exists.
        progress: notified of every step.
        fields: recipe fields by name, such as ``ratio=2.8, pattern="grouped(8)"``.

    Raises:
        InputError: the model cannot be compressed as asked; nothing has been written then.
    """
    recipe = (recipe or Recipe()).merged(fields)
    folder = None if data_dir is None else user_path(data_dir)
    request = Request(model, recipe, Path(), False, None, tokenizer, texts, folder, overwrite, progress, perf_counter())
    _require_possible(request, output)
    with trusting(recipe.trust_remote_code), _prepared(request, output) as request:
        done = run_stages(State(request, model))
    return Compressed(have(done.network), have(done.source).tokenizer, have(done.summary), request.output)


def prepare(
    model: Model,
    *,
    recipe: Recipe | None = None,
    tokenizer: Any = None,
    texts: Sequence[Text] | None = None,
    data_dir: str | Path | None = None,
    progress: Progress = silent,
    **fields: Any,
) -> State:
    """Run the stages before the factorization, as ``--dry-run`` does. Arguments and errors as of :func:`compress`."""
    recipe = (recipe or Recipe()).merged(fields)
    folder = None if data_dir is None else user_path(data_dir)
    with trusting(recipe.trust_remote_code), scratch_directory() as work:
        # The measurements do not depend on training, and the dense model is not fine-tuned only to show the plan.
        request = Request(model, recipe, work, tokenizer=tokenizer, texts=texts, data_dir=folder, progress=progress)
        return run_stages(State(request, model), (prune_vocabulary, open_dense, calibrate, allocate))


def _require_possible(request: Request, output: str | Path | None) -> None:
    """Check that the request does not contradict itself.

    Raises:
        InputError: it does.
    """
    if not request.trains:
        if world_size() > 1:
            raise InputError("only training can be shared by several processes; start this without torchrun")
        return
    if request.tokenizer is not None:
        raise InputError("training takes the tokenizer that the model was saved with; save yours with it")
    if not isinstance(request.model, str | Path):
        raise InputError("training starts from a directory or a hub name, not from a model in memory")
    require_training(request.recipe.training)
    if output is None and world_size() > 1:
        raise InputError("several processes need a directory to write: output")


@contextmanager
def _prepared(request: Request, output: str | Path | None) -> Iterator[Request]:
    """Complete the request with its work directory, and reserve its output."""
    with ExitStack() as held:
        inputs = [request.model] if isinstance(request.model, str | Path) else []
        target = None
        if output is not None:
            target = held.enter_context(reserve_on_first_rank(output, request.overwrite, inputs))
        if target is None or not inputs:
            yield replace(request, output=target, work=held.enter_context(scratch_directory()))
            return
        work = held.enter_context(working(target, _described(request), discards=not request.trains))
        yield replace(request, output=target, work=work, resumes=True)


def _described(request: Request) -> dict[str, Any]:
    """Describe the run; only a run with the same description can continue its work."""
    described: dict[str, Any] = {
        "model": str(request.model),
        "recipe": request.recipe.model_dump(mode="json"),
        "data_dir": str(request.data_dir or ""),
    }
    if request.texts is not None:
        described["texts"] = sha256(repr(list(request.texts)).encode()).hexdigest()
    return described
