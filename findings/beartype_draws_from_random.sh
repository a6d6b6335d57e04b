#!/usr/bin/env bash
# beartype 0.23.1 checks one item of a list, and picks it with Python's global random generator: a call of a decorated
# function moves that generator on, so that a seeded program draws other numbers with the checks than without them.
#
# Seen on 2026-11-30:
#   no call: 0.134364
#   a call with a list, not decorated: 0.134364
#   a call with a list: 0.569204
#   a call with a number: 0.134364
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check beartype==0.23.1
"$folder/venv/bin/python" - <<'PYTHON' | tee "$folder/seen"
import random

from beartype import beartype


def plain(values: list[int]) -> None:
    pass


@beartype
def listed(values: list[int]) -> None:
    pass


@beartype
def number(value: int) -> None:
    pass


for name, call in (
    ("no call", lambda: None),
    ("a call with a list, not decorated", lambda: plain([1, 2, 3])),
    ("a call with a list", lambda: listed([1, 2, 3])),
    ("a call with a number", lambda: number(1)),
):
    random.seed(1)
    call()
    print(f"{name}: {random.random():.6f}")
PYTHON
diff "$folder/seen" - <<'SEEN'
no call: 0.134364
a call with a list, not decorated: 0.134364
a call with a list: 0.569204
a call with a number: 0.134364
SEEN
