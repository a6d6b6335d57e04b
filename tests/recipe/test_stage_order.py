"""Which steps can follow which."""

from itertools import permutations
from pathlib import Path

import pytest

from dsformer.errors import InputError
from dsformer.recipe import Recipe, load_recipe
from dsformer.recipe.stage_order import STAGES

ALL = {"vocabulary": "corpus.txt", "factors": "int8", "training": {"train": "fixed", "task": "mrpc"}}


def test_without_a_list_the_other_fields_say():
    assert Recipe().sequence == ("factorize",)
    assert Recipe().merged(ALL).sequence == tuple(STAGES)
    assert Recipe().merged({"factors": "int4"}).sequence == ("factorize", "round")


def test_one_order_of_all_is_right():
    assert Recipe().merged({**ALL, "steps": tuple(STAGES)}).sequence == tuple(STAGES)
    for order in set(permutations(STAGES)) - {tuple(STAGES)}:
        with pytest.raises(InputError, match="cannot precede"):
            Recipe().merged({**ALL, "steps": order})


def test_a_model_that_knows_the_task_needs_no_finetuning():
    listed = ("vocabulary", "factorize", "train", "round")
    assert Recipe().merged({**ALL, "steps": listed}).sequence == listed


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"steps": ("factorize", "round", "train")}, "steps: round cannot precede train: integers"),
        ({"steps": ("factorize", "vocabulary", "train", "round")}, "steps: factorize cannot precede vocabulary"),
        ({"steps": ("vocabulary", "factorize", "train")}, "steps: round is not listed, but factors asks for it"),
        ({"steps": ("prune", "factorize")}, "steps: 'prune' is not one of vocabulary, finetune"),
        ({"steps": ("factorize", "factorize")}, "steps: factorize is listed twice"),
    ],
)
def test_what_is_wrong_is_named(fields, said):
    with pytest.raises(InputError, match=said):
        Recipe().merged({**ALL, **fields})


def test_what_nothing_asks_for_is_refused():
    with pytest.raises(InputError, match=r"steps: train is listed, but training\.train does not ask for it"):
        Recipe().merged({"steps": ("factorize", "train")})


def test_a_file_lists_them(tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text("factors: int8\nsteps: [factorize, round]\n")
    assert load_recipe(tmp_path / "recipe.yaml").steps == ("factorize", "round")
    (tmp_path / "recipe.yaml").write_text("factors: int8\nsteps: [round, factorize]\n")
    with pytest.raises(InputError, match="round cannot precede factorize"):
        load_recipe(tmp_path / "recipe.yaml")
