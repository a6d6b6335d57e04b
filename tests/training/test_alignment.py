from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import dsformer
from dsformer.format.row_spans import RowSpan
from dsformer.models.source import open_source
from dsformer.recipe import Recipe
from dsformer.training.alignment import match_rows
from dsformer.training.data import TrainingData
from dsformer.training.loop import make_trainer
from dsformer.training.teacher import Teacher


def test_an_order_is_found_again():
    generator = torch.Generator().manual_seed(0)
    spans = (RowSpan((0, 8), 8), RowSpan((16,), 16))
    rows = torch.randn(32, 6, generator=generator)
    one, other = torch.randperm(8, generator=generator), 16 + torch.randperm(16, generator=generator)
    order = torch.cat([one, 8 + one, other])
    near = rows[order] + 0.1 * torch.randn(32, 6, generator=generator)
    assert torch.equal(match_rows(rows, near, spans), order)


@pytest.mark.parametrize("pattern", ["free", "grouped(8)", "banked(16)"])
def test_projections_start_from_the_dense_weight_in_the_order_of_the_compressed_one(
    pattern: str, teacher: Path, task_file: Path, data: TrainingData, factorized: Callable, tmp_path: Path
):
    recipe = Recipe(training={"train": "stf", "task": str(task_file), "epochs": 1, "bf16": False})
    source, batch = open_source(teacher), data.collate([data.features[0], data.features[1]])
    with torch.no_grad():
        before = source.model.eval()(**batch).logits
    trainer = make_trainer(
        dsformer.load(factorized(pattern)),
        Teacher(source.model, source.tokenizer),
        data,
        recipe.learning,
        tmp_path,
        True,
    )
    for block, projection in trainer.learner.over_blocks():
        with torch.no_grad():
            apart = (block.unit_weight() - projection.weight).norm() / projection.weight.norm()
        assert apart < 1.1, block.config.names  # in another order they would be 1.3 to 1.4 apart
    with torch.no_grad():
        torch.testing.assert_close(source.model(**batch).logits, before, rtol=1e-4, atol=1e-4)
