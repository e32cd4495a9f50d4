"""What may be compiled, told by the source: mypyc takes the rest, and means something else by it."""

import ast
from pathlib import Path

import pytest

from router.compile import MODULES, PACKAGE

# mypyc passes no keywords on to a metaclass: `frozen` and `gc` would be lost without a word.
_STRUCT = {"msgspec.Struct", "Struct"}


def _tree(name: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MODULES)
def test_compiled_module_declares_no_struct(name: str) -> None:
    """Structs live in `router.turns`, `router.access_line` and wherever else nothing is compiled."""
    classes = [node for node in ast.walk(_tree(name)) if isinstance(node, ast.ClassDef)]
    assert not [found.name for found in classes if _STRUCT & {ast.unparse(base) for base in found.bases}]


@pytest.mark.parametrize("name", MODULES)
def test_compiled_class_is_extended_by_compiled_ones_alone(name: str) -> None:
    """An interpreted class cannot inherit from a compiled one."""
    mine = {node.name for node in ast.walk(_tree(name)) if isinstance(node, ast.ClassDef)}
    others = [path for path in PACKAGE.glob("*.py") if path.stem not in MODULES]
    heirs = [
        f"{path.stem}.{node.name}"
        for path in others
        for node in ast.walk(_tree(path.stem))
        if isinstance(node, ast.ClassDef) and mine & {ast.unparse(base) for base in node.bases}
    ]
    assert not heirs


def test_modules_are_there_once_and_in_order() -> None:
    """The list is one that can be read."""
    assert sorted(set(MODULES)) == list(MODULES)
    assert not [name for name in MODULES if not Path(PACKAGE, f"{name}.py").is_file()]
