"""Distillation of a finished artefact from its dense model."""

from dataclasses import replace
from pathlib import Path
from time import perf_counter

from dsformer.models.source import open_source
from dsformer.pipeline.dense import teacher_of
from dsformer.pipeline.save import save
from dsformer.pipeline.state import Compressed, Request, State, have
from dsformer.pipeline.train import account, quantize_trained
from dsformer.recipe import Recipe
from dsformer.training.data import tokenize_text
from dsformer.utils.atomic_io import scratch_directory
from dsformer.utils.progress import Progress


def distil(done: Compressed, source: str | Path, output: Path, recipe: Recipe, progress: Progress) -> Compressed:
    """Distil a compressed model on the recipe's text and write it in place of the untrained one.

    Args:
        done: what ``compress`` returned.
        source: the dense model it was made from, a sentence encoder.
        output: directory of the artefact.
        recipe: its ``training`` says how to train, its ``factors`` what factors are quantized to afterwards.
        progress: notified of every step.

    Raises:
        InputError: the text is missing, or ``source`` is not a sentence encoder.
    """
    # Imported here because it imports transformers' Trainer, which takes a second that other runs do not need.
    from dsformer.training.loop import learn

    origin = open_source(source)
    data = tokenize_text(recipe.training, origin.tokenizer, origin.model)
    started = perf_counter()
    with scratch_directory() as work:
        learn(done.model, teacher_of(origin, None), data, recipe.learning, work, False, progress)
    quantize_trained(done.model, recipe, data, origin.tokenizer)
    summary = replace(done.summary, training=account(recipe.training, None, data, perf_counter() - started))
    request = Request(source, recipe, output, output=output, overwrite=True, progress=progress)
    state = save(State(request, source, source=origin, network=done.model, summary=summary))
    return replace(done, summary=have(state.summary), output=output)
