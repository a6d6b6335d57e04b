"""Training of the factors of a compressed model: learner, metrics and distillation put together and run."""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, set_seed

from dsformer.calibration.batching import make_model_batches
from dsformer.calibration.calibrate import calibrate
from dsformer.calibration.trace import Block
from dsformer.factorization.metric import Metric, linear_metric
from dsformer.format.schema import BlockConfig
from dsformer.models.casting import cast_model
from dsformer.models.config import DSFormerConfig
from dsformer.models.hf_quantizer import attach
from dsformer.models.layer_dropping import find_in_teacher
from dsformer.models.source import quiet
from dsformer.training.alignment import align_rows
from dsformer.training.config import LearningConfig, TrainingConfig
from dsformer.training.conversion import install_learned_blocks, install_learned_forms, reset_to_untrained
from dsformer.training.data import TrainingData
from dsformer.training.distillation import Distiller
from dsformer.training.dropout import disable_dropout
from dsformer.training.freezing import freeze_embeddings
from dsformer.training.learners import LEARNERS, Stage
from dsformer.training.parametrization import LearnedBlocks
from dsformer.training.projection import Projection, orient
from dsformer.training.schedule import steps_per_epoch, total_steps
from dsformer.training.teacher import Teacher
from dsformer.training.trainer import FactorizationTrainer, training_arguments
from dsformer.utils.distributed import average_gradients
from dsformer.utils.progress import Progress, silent


def learn(
    model: PreTrainedModel,
    teacher: Teacher,
    data: TrainingData,
    config: LearningConfig,
    work: Path,
    supervised: bool,
    progress: Progress = silent,
) -> None:
    """Train the factors of a compressed model in place, from the last checkpoint in ``work`` if there is one.

    Args:
        model: compressed, as loaded or as ``compress`` returns it.
        teacher: the dense model with the same modules; also computes the inputs that the metrics of projections use.
        data: to train on.
        config: how to train; ``Recipe.learning``.
        work: directory of checkpoints.
        supervised: whether the batches have labels.
        progress: notified of every step.
    """
    dtype, stored = next(model.parameters()).dtype, model.config.quantization_config
    trainer = make_trainer(model, teacher, data, config, work, supervised, progress)
    with quiet(), disable_dropout(model, not config.training.dropout):
        trainer.go_on(work)
    assert trainer.learner is not None
    trainer.learner.finish()
    learned = {block.names[0]: block for block in install_learned_forms(model, trainer.learner.stage.blocks)}
    cast_model(model, dtype)
    model.requires_grad_(True).eval()
    attach(model, [learned.get(block.names[0], block) for block in stored.blocks], stored.summary)


def make_trainer(
    model: PreTrainedModel,
    teacher: Teacher,
    data: TrainingData,
    config: LearningConfig,
    work: Path,
    supervised: bool,
    progress: Progress = silent,
) -> FactorizationTrainer:
    """Prepare a compressed model for training of its factors, and make its trainer. Arguments as of :func:`learn`."""
    settings, stored = config.training, model.config.quantization_config
    assert isinstance(stored, DSFormerConfig)
    set_seed(settings.seed)
    cast_model(model, torch.float32)
    kind = LEARNERS[settings.learner]
    learned = install_learned_blocks(model, stored.blocks, kind.block_type)
    head = [] if teacher.untrained is None else reset_to_untrained(model, teacher.untrained)
    stage = _stage(learned, teacher, data, config)
    learner = kind(stage, settings)
    if settings.rounding_aware:
        for block in learned:
            assert config.precision is not None
            block.round_to(config.precision)
    average_gradients(model, learned)
    if not settings.train_embeddings:
        freeze_embeddings(model)
    with quiet():
        return FactorizationTrainer(
            model=model,
            args=training_arguments(settings, work, len(data.features)),
            train_dataset=data.features,
            data_collator=data.collate,
            settings=settings,
            learner=learner,
            distiller=_distiller(model, teacher, learned, settings),
            supervised=supervised,
            head=head,
            progress=progress,
        )


def _stage(learned: LearnedBlocks, teacher: Teacher, data: TrainingData, config: LearningConfig) -> Stage:
    """Measure what the learner needs (metrics, dense weights) and describe the run to it."""
    settings, examples = config.training, len(data.features)
    made: list[Projection] = []
    weights: list[Tensor] = []
    if config.trains_weights:
        origin = teacher.model if teacher.untrained is None else teacher.untrained
        weights = [orient(_dense(origin, block.config).weight().float(), block.spec) for block in learned]
    if LEARNERS[settings.learner].projects:
        dense = [_dense(teacher.model, block.config) for block in learned]
        batches = _batches(teacher, data, config)
        _order_alike(teacher.model, batches[-1], dense, learned)
        metrics = _metrics(teacher, dense, batches, config)
        made = [
            Projection(block, metrics[one.name], orient(one.weight(), block.spec))
            for block, one in zip(learned, dense, strict=True)
        ]
    total, epoch = total_steps(settings, examples), steps_per_epoch(settings, examples)
    return Stage(learned, made, total, epoch, weights=weights, untrained=teacher.untrained is not None)


def _dense(teacher: nn.Module, config: BlockConfig) -> Block:
    """Return the dense layers of a compressed block."""
    return Block(config.kind, tuple(config.names), tuple(teacher.get_submodule(name) for name in config.names))


def _batches(teacher: Teacher, data: TrainingData, config: LearningConfig) -> list[dict[str, Tensor]]:
    """Tokenize the text that the factorization was calibrated on."""
    how = config.calibration
    return make_model_batches(teacher.model, teacher.tokenizer, data.sample(how), how.length, how.batch_size)


def _order_alike(model: nn.Module, batch: dict[str, Tensor], dense: list[Block], learned: LearnedBlocks) -> None:
    """Put the teacher's rows in the order of the compressed model's."""
    group = max(block.spec.pattern.group for block in learned)
    if group > 1 or any(block.spec.pattern.bank for block in learned):
        with torch.no_grad():
            weights = {
                one.name: orient(block.unit_weight().detach(), block.spec)
                for one, block in zip(dense, learned, strict=True)
            }
        align_rows(model.eval(), batch, dense, weights, group)


def _metrics(
    teacher: Teacher, blocks: list[Block], batches: list[dict[str, Tensor]], config: LearningConfig
) -> dict[str, Metric]:
    """Measure the metric of every block, as for the factorization."""
    how = config.calibration
    seen = calibrate(teacher.model.eval(), batches, blocks, weighting=how.weighting, cache=how.cache)
    return {
        block.name: linear_metric(seen.grams[block.name], seen.output_grams.get(block.name), config.ridge)
        for block in blocks
    }


def _distiller(
    model: PreTrainedModel, teacher: Teacher, learned: LearnedBlocks, settings: TrainingConfig
) -> Distiller | None:
    """Make the distillation loss; None: the recipe has no terms."""
    if not settings.terms:
        return None
    shared = [members for block in learned for members in block.config.readers if len(members) == 3]
    attention = [[member.name for member in members] for members in shared]
    return Distiller(
        teacher.model,
        model,
        settings.terms,
        settings.temperature,
        teacher.pooling,
        [(names, find_in_teacher(names, i, model, teacher.model)) for i, names in enumerate(attention)],
    )
