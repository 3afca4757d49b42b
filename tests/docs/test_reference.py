"""What is written from the code is current, functions that the docs name exist, and the site builds offline."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
STATISTICS = "mammo_aln.evaluation.statistics"
NAMED = re.compile(r"`([a-z_][\w.]*)?\.([a-z_]\w*)(?:\([^`]*\))?`")  # `module.function`, or `.another` of it


def test_the_generated_pages_are_current() -> None:
    code = "import json, generate; print(json.dumps(generate.pages()))"
    search = {**os.environ, "PYTHONPATH": os.pathsep.join([str(DOCS), str(DOCS.parent)])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=search)
    pages = json.loads(done.stdout)
    stale = [name for name, text in pages.items() if (DOCS / name).read_text(encoding="utf-8") != text]
    assert not stale, f"{', '.join(stale)}: type `python docs/generate.py`"


def test_every_function_in_the_table_of_statistics_exists() -> None:
    page = (DOCS / "explanation" / "evaluation.md").read_text(encoding="utf-8")
    table = page.split("## From Python")[1].split("\nLeft aside")[0]
    rows = [row.rsplit(" | ", 1)[1] for row in table.splitlines() if row.count(" | ") == 2]
    missing = []
    for row in rows:
        module = ""
        for named, function in NAMED.findall(row):
            module = named or module
            home = module if module.startswith("mammo_aln.") else f"{STATISTICS}.{module}"
            if not hasattr(importlib.import_module(home), function):
                missing.append(f"{home}.{function}")
    assert len(rows) > 20
    assert not missing


def test_readme_is_short_and_its_pictures_are_small() -> None:
    assert len((DOCS.parent / "README.md").read_text(encoding="utf-8").splitlines()) <= 100
    pictures = list((DOCS / "images").glob("*.png"))
    assert {picture.stem for picture in pictures} >= {"proof", "report", "board"}
    assert all(picture.stat().st_size < 150_000 for picture in pictures)


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "getting-started" / "own-cohort.html").is_file()
