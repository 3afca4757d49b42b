"""The limits that keep the package readable: its size, its folders, its words and its types."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import mammo_aln

PACKAGE = Path(mammo_aln.__file__).parent
SOURCES = {path: path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
MOST_LINES = 72_200
MOST_FILES = 20
MOST_BARE_DICTS = 60
MOST_VAGUE_NAMES = 0
MOST_QUESTIONS = 0
VAGUE = {"told", "found", "made", "wanted", "place", "part"}
QUESTION = re.compile(r"(What|Whether|How|Which)\b")


def nodes() -> Iterator[tuple[Path, ast.AST]]:
    for path, text in SOURCES.items():
        for node in ast.walk(ast.parse(text)):
            yield path.relative_to(PACKAGE), node


def test_the_package_stays_within_its_lines() -> None:
    assert sum(text.count("\n") for text in SOURCES.values()) <= MOST_LINES


def test_no_folder_holds_too_many_files() -> None:
    counts = Counter(path.parent.relative_to(PACKAGE) for path in SOURCES)
    assert {str(folder): count for folder, count in counts.items() if count > MOST_FILES} == {}


def test_names_are_nouns_of_the_field() -> None:
    vague = []
    for path, node in nodes():
        name = node.id if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else None
        name = node.arg if isinstance(node, ast.arg) else name
        if name in VAGUE:
            vague.append(f"{path}:{node.lineno}: {name}")
    assert len(vague) <= MOST_VAGUE_NAMES, "\n".join(vague)


def test_contracts_have_types() -> None:
    assert sum(text.count("dict[str, Any]") for text in SOURCES.values()) <= MOST_BARE_DICTS


def test_a_docstring_names_its_thing() -> None:
    questions = []
    for path, node in nodes():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            words = ast.get_docstring(node) or ""
            if QUESTION.match(words):
                questions.append(f"{path}:{getattr(node, 'lineno', 1)}: {words.splitlines()[0]}")
    assert len(questions) <= MOST_QUESTIONS, "\n".join(questions)


@pytest.mark.parametrize("folder", ["utils", "helpers", "base", "manager"])
def test_no_room_is_a_cupboard(folder: str) -> None:
    allowed = {PACKAGE / "training" / "data" / "base.py"}
    assert [path for path in PACKAGE.rglob("*") if path.stem == folder and path not in allowed] == []


def test_no_caller_s_variables_are_read() -> None:
    """Python 3.13.0 dies where a frame's locals are read during a comprehension, as pandas' query and eval do."""
    readers = []
    for path, node in nodes():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            if name in {"_getframe", "currentframe", "locals"} or (name in {"query", "eval"} and node.args):
                readers.append(f"{path}:{node.lineno}: {name}")
    assert readers == []
