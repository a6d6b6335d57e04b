import importlib
import sys

import pytest

from dsformer.data import supervised


def test_the_former_name_gives_the_same_and_warns(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "dsformer.tasks.supervised", raising=False)
    with pytest.warns(DeprecationWarning, match=r"dsformer\.data\.supervised now"):
        former = importlib.import_module("dsformer.tasks.supervised")
    assert all(getattr(former, name) is getattr(supervised, name) for name in supervised.__all__)
