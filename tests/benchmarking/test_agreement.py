from pathlib import Path

import pytest
import torch

from dsformer.benchmarking import Setting, open_contenders
from dsformer.benchmarking.agreement import Cosines, References, pooled
from dsformer.models.pooling import first_pooling, mean_pooling
from fixtures.training import write_base


def test_cosines():
    same, other = torch.tensor([1.0, 0.0]), torch.tensor([3.0, 4.0])
    found = Cosines.of([same, same], [2 * same, other])
    assert found is not None
    assert (found.mean, found.least) == pytest.approx((0.8, 0.6))
    assert Cosines.of([same], [torch.zeros(3)]) is None
    assert str(Cosines(0.99, 0.5)) == "0.9900 (0.5000)"


def test_pooling():
    hidden = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    assert pooled(hidden, mean_pooling).tolist() == [2, 4]
    assert pooled(hidden, first_pooling).tolist() == [1, 2]
    assert pooled(hidden[0], mean_pooling).tolist() == [1, 2]


def test_with_the_first_model_and_with_its_own(tmp_path: Path):
    first = write_base(tmp_path / "first", 0.15)
    other = write_base(tmp_path / "other", 0.3)
    contenders = open_contenders([first, other], ["eager", "bf16"])
    references = References(contenders, 4)
    found = [references.of(one, Setting(2, 12, 1, 6)) for one in contenders]
    assert all(one.first is not None and one.own is not None for one in found)
    plain, cast, theirs, theirs_cast = [(one.first, one.own) for one in found]
    assert plain[0] == plain[1]
    assert plain[0].least == pytest.approx(1)
    assert 0.99 < cast[0].least < 1
    assert theirs[0].mean < 0.9
    assert theirs[1].least == pytest.approx(1)
    assert 0.9 < theirs_cast[1].least < 1
    # The number of threads changes nothing that is compared.
    assert references.of(contenders[1], Setting(2, 12, 2, 6)) is found[1]
