from pathlib import Path

import pytest

from dsformer.data import find_data
from dsformer.data.sources import find_file
from dsformer.errors import InputError


def test_a_local_folder_is_preferred_to_the_bundled_one(tmp_path: Path):
    (tmp_path / "banking77").mkdir()
    assert find_data("banking77", tmp_path) == tmp_path / "banking77"


@pytest.mark.parametrize("with_data_dir", [True, False])
def test_the_bundled_folder_is_the_fallback(tmp_path: Path, with_data_dir: bool):
    folder = find_data("banking77", tmp_path if with_data_dir else None)
    assert (folder / "train.csv.gz").is_file()


def test_a_missing_data_set_says_which_folder_and_option(tmp_path: Path):
    with pytest.raises(InputError, match=r"'glue-stsb' is not bundled: --data-dir must name a folder"):
        find_data("glue-stsb")
    with pytest.raises(InputError, match=r"expected a folder 'glue-stsb' in .*--data-dir"):
        find_data("glue-stsb", tmp_path)
    with pytest.raises(InputError, match="nowhere is not a folder"):
        find_data("banking77", tmp_path / "nowhere")


def test_find_file_takes_the_first_name_plain_or_gzipped(tmp_path: Path):
    (tmp_path / "b.csv").touch()
    (tmp_path / "a.csv.gz").touch()
    assert find_file(tmp_path, "a.csv", "b.csv").name == "a.csv.gz"
    with pytest.raises(InputError, match=r"has no c\.csv or d\.csv"):
        find_file(tmp_path, "c.csv", "d.csv")
