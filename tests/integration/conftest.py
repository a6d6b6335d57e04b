from pathlib import Path

import pytest

from fixtures.training import reviews, write_base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("models") / "base", 0.15)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [text for text, _ in reviews(60)]
