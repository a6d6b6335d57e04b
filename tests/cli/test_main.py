import runpy
import sys

import pytest

from dsformer import __version__


def test_it_is_a_module_to_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys, "argv", ["dsformer", "--version"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("dsformer", run_name="__main__")
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"dsformer {__version__}\n"
