"""What a module of this project imports, read from the source without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = ("rdmc", "pipeline")


def modules() -> list[Path]:
    """Every module of the project, relative to its root."""
    return sorted(path.relative_to(ROOT) for package in OURS for path in (ROOT / package).rglob("*.py"))


@cache
def has_code(module: Path) -> bool:
    """Whether a module holds more than a docstring. The ``__init__`` of most packages does not."""
    body = ast.parse((ROOT / module).read_text()).body
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)


@cache
def names(module: Path) -> frozenset[str]:
    """Dotted names that a module imports, ``from a import b`` counting as both ``a`` and ``a.b``."""
    return frozenset(_imports(ast.parse((ROOT / module).read_text())))


def _imports(node: ast.AST) -> Iterator[str]:
    """Names in a tree's import statements, except imports for type checkers only."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from _named(child)
            yield from _imports(child)


def _named(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(module: Path) -> set[Path]:
    """The project's modules that a module imports, including the ``__init__`` of each parent package."""
    found = set()
    for name in names(module):
        parts = name.split(".")
        if parts[0] in OURS:
            for length in range(1, len(parts) + 1):
                base = Path(*parts[:length])
                found |= {path for path in (base.with_suffix(".py"), base / "__init__.py") if (ROOT / path).is_file()}
    return found


def closure(module: Path) -> set[Path]:
    """A module and everything of the project that it imports, directly or not."""
    seen: set[Path] = set()
    todo = [module]
    while todo:
        current = todo.pop()
        if current not in seen:
            seen.add(current)
            todo.extend(own_imports(current))
    return seen
