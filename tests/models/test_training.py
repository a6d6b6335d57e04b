from pathlib import Path

import pytest
import torch

from dsformer.models.artefact import save
from fixtures.models import VOCABULARY, compress, tiny_model


class Examples(torch.utils.data.Dataset):
    """The label is whether the first token is even."""

    def __init__(self, count: int = 16):
        self.ids = torch.randint(0, VOCABULARY, (count, 9), generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.ids[i], "labels": self.ids[i, 0] % 2}


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_the_trainer_trains_a_loaded_model(gradient_checkpointing: bool, tmp_path: Path):
    pytest.importorskip("accelerate")
    from transformers import Trainer, TrainingArguments

    model = tiny_model("DistilBertForSequenceClassification")
    compress(model)
    loaded = type(model).from_pretrained(save(model, tmp_path / "m"))
    arguments = TrainingArguments(
        str(tmp_path / "run"),
        max_steps=4,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    if gradient_checkpointing:
        loaded.gradient_checkpointing_enable()
    before = {name: tensor.clone() for name, tensor in loaded.state_dict().items()}
    Trainer(loaded, arguments, train_dataset=Examples()).train()
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, before[name]) != tensor.is_floating_point(), name
    loaded.eval()
    trained = type(model).from_pretrained(save(loaded, tmp_path / "trained"))
    ids = Examples().ids
    with torch.no_grad():
        assert torch.equal(trained(ids).logits, loaded(ids).logits)
