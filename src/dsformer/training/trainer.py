"""The Hugging Face ``Trainer`` with trained factors, distillation and separate learning rates."""

import json
import shutil
from collections.abc import Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler

from dsformer.evaluation.scoring import LABELS
from dsformer.training.attention import SinglePrecisionAttention
from dsformer.training.config import TrainingConfig
from dsformer.training.distillation import Distiller
from dsformer.training.divergence import DivergedError, is_finite, what_diverged
from dsformer.training.learners import Learner
from dsformer.training.qat import EVERY
from dsformer.training.schedule import bf16, total_steps
from dsformer.utils.distributed import is_first_rank
from dsformer.utils.progress import Progress, silent, tell_loss
from dsformer.utils.system_errors import as_os_errors

STATE = "training_state.safetensors"
# Learning rate of a new head, which starts from random values, relative to the rate of the other parameters.
HEAD_RATE = 5.0


class FactorizationTrainer(Trainer):
    """Trains a compressed or a dense model.

    Checkpoints hold the state of training and cannot be loaded as models; the compressed model is written at the end.

    Args:
        args: arguments of transformers' ``Trainer``.
        settings: learning rates and the weight of distillation.
        learner: trains the factors; None trains a dense model.
        distiller: a loss to mix with the task's; None: none.
        supervised: whether batches have labels.
        head: parameters of a new head.
        progress: notified of every step.
        stage: the name of this stage for ``progress`` and for errors.
        kwargs: keyword arguments of transformers' ``Trainer``.
    """

    def __init__(
        self,
        *args: Any,
        settings: TrainingConfig,
        learner: Learner | None = None,
        distiller: Distiller | None = None,
        supervised: bool = True,
        head: Sequence[nn.Parameter] = (),
        progress: Progress = silent,
        stage: str = "train",
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.settings, self.learner, self.distiller = settings, learner, distiller
        self.supervised, self.head = supervised, head
        self.stage = stage
        self.loss_of_step: Tensor | None = None
        if distiller is not None:
            distiller.teacher.to(self.args.device)
            distiller.autocast = self.accelerator.autocast
        # This loss is always a mean over the batch, however many batches are accumulated.
        self.model_accepts_loss_kwargs = False
        self.remove_callback(PrinterCallback)
        self.add_callback(_Following(self, progress, stage))

    model: PreTrainedModel

    def go_on(self, work: Path) -> None:
        """Train from the last checkpoint in ``work``, or from the start.

        On leaving, the model's forward pass, which accelerate wraps in autocast, is restored.
        """
        found = last_checkpoint(work)
        try:
            with as_os_errors(work):
                self.train(resume_from_checkpoint=None if found is None else str(found))
        except BaseException:
            if is_first_rank():
                remove_incomplete(work)
            raise
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Make an AdamW with the parameter groups of :func:`parameter_groups`."""
        if self.optimizer is None:
            self.optimizer = torch.optim.AdamW(
                parameter_groups(self.model, self.settings, self.learner, self.head),
                lr=self.settings.learning_rate,
                weight_decay=0.0,
                fused=True,
            )
        if self.learner is not None:
            self.learner.stage.optimizer = self.optimizer
        return self.optimizer

    def compute_loss(
        self,
        model: nn.Module,
        inputs: MutableMapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Compute the loss of the task, of distillation, or their weighted mean.

        Args:
            model: to train or to evaluate.
            inputs: the batch.
            return_outputs: return the outputs too.
            num_items_in_batch: not used.
        """
        distil = self.distiller if model.training else None
        with SinglePrecisionAttention():
            outputs = model(**inputs, **(distil.wants if distil else {}))
        loss = outputs["loss"] if self.supervised else None
        if distil is not None:
            bare = {name: value for name, value in inputs.items() if name not in LABELS}
            distilled = distil(outputs, bare)
            weight = self.settings.distill_weight
            loss = distilled if loss is None else (1 - weight) * loss + weight * distilled
        if model.training and loss is not None:
            said = loss.detach()
            self.loss_of_step = said if self.loss_of_step is None else self.loss_of_step + said
        return (loss, outputs) if return_outputs else loss

    def require_finite(self) -> None:
        """Check that the step just taken has not led to NaN or infinity.

        Raises:
            DivergedError: the loss or a trained weight is not finite.
        """
        wrong = what_diverged(self.loss_of_step, self.model)
        self.loss_of_step = None
        if wrong is None:
            return
        good = last_checkpoint(Path(str(self.args.output_dir)))
        kept = "there is no checkpoint yet" if good is None else f"the last good checkpoint is {good}"
        raise DivergedError(
            f"{self.stage}: diverged in step {self.state.global_step} of {self.state.max_steps} ({wrong} is NaN or "
            f"infinite); give a lower learning_rate than {self.settings.learning_rate:g}; {kept}"
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroupedSampler:
        return _SameOrder(self, self.train_dataset if train_dataset is None else train_dataset)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        directory = Path(output_dir or str(self.args.output_dir))
        directory.mkdir(parents=True, exist_ok=True)
        save_model(self.model, str(directory / STATE))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        load_model(model or self.model, Path(resume_from_checkpoint) / STATE)


class _SameOrder(LengthGroupedSampler):
    """Groups examples of similar length, in an order that depends on seed and epoch alone.

    The sampler of transformers draws the order from the state of the generator at the start of the epoch, which a run
    resumed within the epoch does not know.
    """

    def __init__(self, trainer: FactorizationTrainer, examples: Any):
        self.trainer, args = trainer, trainer.args
        super().__init__(args.train_batch_size * args.gradient_accumulation_steps, examples)

    def __iter__(self) -> Iterator[int]:
        epoch = int(self.trainer.state.epoch or 0)
        self.generator = torch.Generator().manual_seed(10_000 * self.trainer.args.seed + epoch)
        return super().__iter__()


class _Following(TrainerCallback):
    """Notifies the learner and the progress display of steps."""

    def __init__(self, trainer: FactorizationTrainer, progress: Progress, stage: str):
        self.trainer, self.progress, self.stage = trainer, progress, stage

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        learner = self.trainer.learner
        if learner is not None:
            if state.global_step == 0:
                learner.start()
            learner.resume(state.global_step)
        self.progress(self.stage, state.global_step, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            tell_loss(self.progress, self.stage, float(logs["loss"]))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.require_finite()
        if self.trainer.learner is not None:
            self.trainer.learner.stepped(state.global_step)
            if state.global_step % EVERY == 0:
                for block in self.trainer.learner.stage.blocks:
                    block.look_again()
        self.progress(self.stage, state.global_step, state.max_steps)


def parameter_groups(
    model: nn.Module, settings: TrainingConfig, learner: Learner | None, head: Sequence[nn.Parameter]
) -> list[dict[str, Any]]:
    """Divide the parameters into groups of one learning rate: values and dictionaries, a new head, everything else.

    A parameter that a learner stops training for a while is still in its group.

    Args:
        model: to train.
        settings: learning rates.
        learner: None for a dense model.
        head: parameters of a new head.
    """
    factors = [] if learner is None else [p for block in learner.stage.blocks for p in learner.trained(block)]
    special = {id(p) for p in [*factors, *head]}
    fixed = set() if learner is None else {id(p) for p in learner.stage.blocks.parameters()}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in special | fixed]
    groups = [(rest, 1.0), (factors, settings.factor_rate), (list(head), HEAD_RATE)]
    return [{"params": params, "lr": settings.learning_rate * scale} for params, scale in groups if params]


def training_arguments(settings: TrainingConfig, directory: Path, examples: int) -> TrainingArguments:
    """Translate the settings to the ``TrainingArguments`` of transformers.

    Args:
        settings: of training.
        directory: of checkpoints.
        examples: number of training examples.
    """
    total = total_steps(settings, examples)
    return TrainingArguments(
        output_dir=str(directory),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=2 * settings.batch_size,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=round(settings.warmup * total),
        save_strategy="steps",
        save_steps=settings.save_steps or max(1, total // 4),
        save_total_limit=2,
        logging_steps=max(1, total // 20),
        report_to=settings.report_to,
        seed=settings.seed,
        bf16=bf16(settings),
        use_cpu=not torch.cuda.is_available(),
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        label_names=list(LABELS),
    )


def last_checkpoint(directory: Path) -> Path | None:
    """Return the newest checkpoint that is complete and finite; None: there is none.

    A run that was killed while writing leaves a checkpoint without its last file.
    """
    found = sorted(directory.glob("checkpoint-*"), key=lambda path: -int(path.name.rsplit("-", 1)[1]))
    return next((path for path in found if _complete(path)), None)


def remove_incomplete(directory: Path) -> None:
    """Remove incomplete checkpoints."""
    for checkpoint in directory.glob("checkpoint-*"):
        if not _complete(checkpoint):
            shutil.rmtree(checkpoint, ignore_errors=True)


def _complete(checkpoint: Path) -> bool:
    """Return whether a checkpoint has all its files, and finite values."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return False
    there = all((checkpoint / name).is_file() for name in (STATE, "optimizer.pt", "scheduler.pt"))
    return there and is_finite(checkpoint / STATE)
