import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from dsformer.data.supervised import load_task
from dsformer.errors import InputError, MissingExtraError
from dsformer.models.heads import open_for_task
from dsformer.models.load import load
from dsformer.models.source import open_source
from dsformer.nn.linear import DenseSparseLinear
from dsformer.recipe import Recipe
from dsformer.training.config import TrainingConfig
from dsformer.training.conversion import install_learned_blocks
from dsformer.training.data import TrainingData, tokenize_task
from dsformer.training.distillation import Distiller
from dsformer.training.freezing import freeze_embeddings
from dsformer.training.learners import LEARNERS, Stage
from dsformer.training.loop import learn
from dsformer.training.schedule import bf16, require_training, steps_per_epoch, total_steps
from dsformer.training.teacher import Teacher
from dsformer.training.trainer import (
    HEAD_RATE,
    STATE,
    FactorizationTrainer,
    last_checkpoint,
    parameter_groups,
    training_arguments,
)
from fixtures.models import compress, tiny_model
from fixtures.processes import together

LEARNING = {"batch_size": 16, "learning_rate": 1e-3, "bf16": False, "distill": "none"}


@pytest.fixture(scope="module")
def data(task_file: Path, teacher: Path) -> TrainingData:
    settings = TrainingConfig(task=str(task_file), examples=128)
    source = open_source(teacher)
    return tokenize_task(load_task(str(task_file)), settings, source.tokenizer, source.model)


def forget_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif hasattr(module, "dropout_prob"):  # transformers 4
            module.dropout_prob = 0.0


@pytest.fixture
def trainer(data: TrainingData, base: Path, task_file: Path, tmp_path: Path) -> Callable[..., FactorizationTrainer]:
    """Of a dense model that never saw the task, without dropout."""

    def of(distiller: Callable[[PreTrainedModel], Distiller] | None = None, **fields: Any) -> FactorizationTrainer:
        settings = TrainingConfig(task=str(task_file), **LEARNING | fields)
        torch.manual_seed(0)
        model, _ = open_for_task(base, load_task(str(task_file)))
        forget_dropout(model)
        return FactorizationTrainer(
            model=model,
            args=training_arguments(settings, tmp_path / "work", len(data.features)),
            train_dataset=data.features,
            data_collator=data.collate,
            settings=settings,
            distiller=None if distiller is None else distiller(model),
        )

    return of


def batch(data: TrainingData) -> dict[str, torch.Tensor]:
    return dict(data.collate([data.features[i] for i in range(8)]))


@pytest.mark.parametrize(
    ("fields", "examples", "epoch", "total"),
    [
        ({"batch_size": 32, "epochs": 3}, 64, 2, 6),
        ({"batch_size": 32, "epochs": 3}, 65, 3, 9),
        ({"batch_size": 16, "accumulate": 2, "epochs": 2}, 65, 3, 6),
        ({"batch_size": 32, "epochs": 0.5}, 400, 13, 7),
        ({"batch_size": 32, "epochs": 0.01}, 400, 13, 1),
    ],
)
def test_steps(fields: dict[str, Any], examples: int, epoch: int, total: int):
    settings = TrainingConfig(**fields)
    assert (steps_per_epoch(settings, examples), total_steps(settings, examples)) == (epoch, total)


def test_processes_share_the_batches(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert steps_per_epoch(TrainingConfig(batch_size=32, accumulate=2), 400) == 4


@pytest.mark.parametrize("fields", [{"epochs": 0.3}, {"epochs": 1, "accumulate": 3}, {"epochs": 2, "batch_size": 30}])
def test_the_trainer_counts_the_same_steps(fields: dict[str, Any], trainer: Callable, data: TrainingData):
    made = trainer(**fields)
    made.go_on(Path(made.args.output_dir))
    assert made.state.global_step == made.state.max_steps == total_steps(made.settings, len(data.features))


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Between two states, over all weights: single ones without a gradient (biases of keys) move by rounding alone."""
    return float(sum((one[key].double() - tensor.double()).square().sum() for key, tensor in other.items()) ** 0.5)


def test_more_batches_a_step_are_as_good_as_a_larger_batch(trainer: Callable):
    whole, parts = trainer(batch_size=32, epochs=1), trainer(batch_size=8, accumulate=4, epochs=1)
    start = {name: tensor.clone() for name, tensor in whole.model.state_dict().items()}
    for one, name in ((whole, "whole"), (parts, "parts")):
        one.args.output_dir = f"{one.args.output_dir}-{name}"
        one.go_on(Path(one.args.output_dir))
    assert whole.state.global_step == parts.state.global_step == 4
    done = whole.model.state_dict()
    assert distance(parts.model.state_dict(), done) < 0.02 * distance(done, start)


def orders(made: FactorizationTrainer, epochs: int = 2) -> list[list[int]]:
    found = []
    for epoch in range(epochs):
        made.state.epoch = float(epoch)
        found.append(list(made._get_train_sampler()))
    return found


def test_the_order_of_examples_is_one_of_seed_and_epoch(trainer: Callable, data: TrainingData):
    made = trainer()
    first, second = orders(made)
    assert sorted(first) == sorted(second) == list(range(len(data.features)))
    assert first != second
    torch.manual_seed(123)
    torch.rand(5)
    assert orders(made) == [first, second]
    made.state.epoch = 0.6
    assert list(made._get_train_sampler()) == first
    assert orders(trainer(seed=1))[0] not in (first, second)


def test_batches_are_of_like_length(trainer: Callable, data: TrainingData):
    lengths = [len(data.features[i]["input_ids"]) for i in orders(trainer())[0]]
    within = [max(part) - min(part) for part in (lengths[i : i + 16] for i in range(0, len(lengths), 16))]
    assert sum(within) / len(within) < (max(lengths) - min(lengths)) / 2


def test_the_loss_is_that_of_labels_and_teacher_in_the_proportion_asked_for(
    trainer: Callable, data: TrainingData, teacher: Path
):
    dense = open_source(teacher).model
    made = trainer(lambda model: Distiller(dense, model, ["logits"]), distill_weight=0.25)
    made.model.train()
    given = batch(data)
    labels = made.model(**given).loss
    bare = {name: tensor for name, tensor in given.items() if name != "labels"}
    distilled = made.distiller(made.model(**bare), bare)
    torch.testing.assert_close(made.compute_loss(made.model, given), 0.75 * labels + 0.25 * distilled)
    made.supervised = False
    torch.testing.assert_close(made.compute_loss(made.model, bare), distilled)
    made.supervised = True
    made.model.eval()
    torch.testing.assert_close(made.compute_loss(made.model, given), labels)


def rates(groups: list[dict[str, Any]], settings: TrainingConfig) -> dict[int, float]:
    return {id(p): group["lr"] / settings.learning_rate for group in groups for p in group["params"]}


@pytest.mark.parametrize("learner", [name for name, kind in LEARNERS.items() if not kind.prunes])
def test_everything_that_is_trained_has_its_rate_once(learner: str):
    model = tiny_model("RobertaForSequenceClassification")
    compress(model)
    head = list(model.classifier.out_proj.parameters())
    kind = LEARNERS[learner]
    learned = install_learned_blocks(model, model.config.quantization_config.blocks, kind.block_type)
    freeze_embeddings(model)
    settings = TrainingConfig(factor_rate=3)
    groups = parameter_groups(model, settings, kind(Stage(learned, [], 1, 1), settings), head)
    found = rates(groups, settings)
    assert sum(len(group["params"]) for group in groups) == len(found)
    assert set(found) == {id(p) for p in model.parameters() if p.requires_grad}
    assert not any(id(p) in found for p in model.get_input_embeddings().parameters())
    for block in learned:
        assert all(found[id(p)] == 3 for p in block.parameters() if p.requires_grad)
    assert found[id(model.roberta.encoder.layer[0].output.dense.bias)] == 1
    assert found[id(model.classifier.out_proj.bias)] == HEAD_RATE


def test_tables_are_trained_on_request(teacher: Path):
    model = open_source(teacher).model
    table = model.get_input_embeddings().weight
    settings = TrainingConfig()
    assert id(table) in rates(parameter_groups(model, settings, None, ()), settings)
    freeze_embeddings(model)
    assert id(table) not in rates(parameter_groups(model, settings, None, ()), settings)


def checkpoint(directory: Path, step: int, without: str = "", value: float = 1.0) -> Path:
    path = directory / f"checkpoint-{step}"
    path.mkdir()
    for name in (STATE, "optimizer.pt", "scheduler.pt", "trainer_state.json"):
        if name == STATE:
            save_file({"weight": torch.full((2,), value)}, path / name)
        elif name != without:
            (path / name).write_text("{}")
    return path


def test_the_last_checkpoint_is_the_newest_whole_one(tmp_path: Path):
    assert last_checkpoint(tmp_path) is None
    assert last_checkpoint(tmp_path / "none") is None
    older, newer = checkpoint(tmp_path, 9), checkpoint(tmp_path, 10)
    assert last_checkpoint(tmp_path) == newer
    for name in (STATE, "optimizer.pt", "scheduler.pt", "trainer_state.json"):
        content = (newer / name).read_bytes()
        (newer / name).unlink()
        assert last_checkpoint(tmp_path) == older
        (newer / name).write_bytes(content)
    for value in (math.nan, math.inf):
        checkpoint(tmp_path, 11, value=value)
        assert last_checkpoint(tmp_path) == newer
        shutil.rmtree(tmp_path / "checkpoint-11")
    (checkpoint(tmp_path, 11) / STATE).write_bytes(b"cut short")
    assert last_checkpoint(tmp_path) == newer
    (newer / "trainer_state.json").write_text('{"global_step": 1')
    assert last_checkpoint(tmp_path) == older


def test_a_run_that_was_killed_after_its_last_step_trains_no_more(trainer: Callable):
    done = trainer(epochs=0.75)
    work = Path(done.args.output_dir)
    done.go_on(work)
    again = trainer(epochs=0.75)
    again.go_on(work)
    for name, tensor in done.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor), name


def test_bf16_is_used_as_asked(monkeypatch: pytest.MonkeyPatch):
    assert bf16(TrainingConfig(bf16=True))
    assert not bf16(TrainingConfig(bf16=False))
    assert isinstance(bf16(TrainingConfig()), bool)
    monkeypatch.setattr("dsformer.training.schedule.fast_bf16", lambda: False)
    assert torch.cuda.is_available() or not bf16(TrainingConfig())


def test_accelerate_is_needed(monkeypatch: pytest.MonkeyPatch):
    require_training(TrainingConfig())
    monkeypatch.setattr("dsformer.training.schedule.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "dsformer\[train\]"'):
        require_training(TrainingConfig())


def test_where_reports_go_is_looked_at_before_the_work():
    with pytest.raises(InputError, match="report_to: 'tensorbord' is not one of what is installed: none, all"):
        require_training(TrainingConfig(report_to="tensorbord"))


def learned(words: dict[str, Any]) -> PreTrainedModel:
    """A factorized model that was trained; also what each of two processes runs."""
    recipe = Recipe(training=words["training"])
    source = open_source(words["teacher"])
    model = load(words["factorized"])
    settings = recipe.training
    data = tokenize_task(load_task(settings.task), settings, source.tokenizer, source.model)
    learn(model, Teacher(source.model, source.tokenizer), data, recipe.learning, Path(words["work"]), True)
    return model


def weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Every parameter, compressed ones multiplied out: supports that differ in little are no great distance."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, DenseSparseLinear)}
    found = {f"{name}.weight": layer.densified().weight.detach() for name, layer in layers.items()}
    rest = {name: parameter.detach() for name, parameter in model.named_parameters()}
    return found | {name: one for name, one in rest.items() if name.rpartition(".")[0] not in layers}


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"train": "fixed"},
        {"train": "codes"},
        {"train": "refactor"},
        {"train": "stf", "projections": 3, "ramp": 1.5, "latent_rate": 1e-4},
    ],
    ids=lambda fields: fields["train"],
)
def test_two_processes_do_what_one_does_with_batches_twice_as_large(
    fields: dict[str, Any], teacher: Path, factorized: Callable, task_file: Path, tmp_path: Path
):
    training = {"task": str(task_file), "epochs": 2, "examples": 128, **LEARNING, **fields}
    words = {"teacher": str(teacher), "factorized": str(factorized("free")), "training": training}
    script = tmp_path / "run.py"
    script.write_text(
        "import json, os, sys\n"
        f"sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}\n"
        "import torch\n"
        "from test_trainer import learned, weights\n"
        "words = json.loads(sys.argv[1])\n"
        "torch.save(weights(learned(words)), f\"{words['work']}-{os.environ['RANK']}.pt\")\n"
    )
    together(str(script), json.dumps(words | {"work": str(tmp_path / "two")}))
    first, second = (torch.load(tmp_path / f"two-{rank}.pt") for rank in range(2))
    assert all(torch.equal(second[key], tensor) for key, tensor in first.items())
    larger = words | {"training": training | {"batch_size": 2 * LEARNING["batch_size"]}, "work": str(tmp_path / "one")}
    alone, start = weights(learned(larger)), weights(load(factorized("free")))
    assert distance(first, alone) < 0.05 * distance(alone, start)
