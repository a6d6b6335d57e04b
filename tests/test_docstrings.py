"""Docstrings explain every argument of public functions that take three or more."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = (ROOT / "src" / "dsformer", ROOT / "runtime" / "src" / "dsformer_runtime")
FILES = sorted(path for source in SOURCES for path in source.rglob("*.py") if "cli" not in path.parts)
MANY = 3


def public_functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef, str]]:
    """Functions and methods that others may call, with the docstring that has to explain their arguments."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node, ast.get_docstring(node) or ""
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            own = ast.get_docstring(node) or ""
            for method in (one for one in node.body if isinstance(one, ast.FunctionDef)):
                if method.name == "__init__":
                    yield node.name, method, f"{own}\n{ast.get_docstring(method) or ''}"
                elif not method.name.startswith("_"):
                    yield f"{node.name}.{method.name}", method, ast.get_docstring(method) or ""


def unexplained(function: ast.FunctionDef, docstring: str) -> list[str]:
    """Arguments of a function of many that its docstring says nothing of."""
    given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    names = [one.arg for one in given if one.arg not in ("self", "cls") and not one.arg.startswith("_")]
    if len(names) < MANY or re.search(r"[Aa]rguments.{0,40} as (of|for) ", docstring, re.DOTALL):
        return []
    lines = re.findall(r"^\s*((?:\w+, )*\w+):", docstring, re.MULTILINE)
    explained = {name.strip() for line in lines for name in line.split(",")}
    return [name for name in names if name not in explained]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arguments_are_explained(path: Path):
    found = {
        name: missing
        for name, function, docstring in public_functions(ast.parse(path.read_text(encoding="utf-8")))
        if (missing := unexplained(function, docstring))
    }
    assert not found


def test_what_is_unexplained_is_found():
    function = ast.parse('def f(a, b, c):\n    """Add.\n\n    Args:\n        a: one.\n        b: two.\n    """').body[0]
    assert isinstance(function, ast.FunctionDef)
    assert unexplained(function, ast.get_docstring(function) or "") == ["c"]
