"""Declared, imported, tested and described dependencies are the same; an audit never calls unknown what is known."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LISTED = [Requirement(text) for texts in (PROJECT["dependencies"], *EXTRAS.values()) for text in texts]
DIRECT = [listed for listed in LISTED if listed.name != "mammo-aln"]
NOT_TESTED = {Requirement(text).name for text in EXTRAS["bench"]}
ENDS = sorted((ROOT / "docs" / "supply" / "ends").glob("*.txt"))
PLUGINS = {"pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "python-gdcm"}  # pydicom imports them
ENTERED_BY_ANOTHER = {"docstring_parser"}  # jsonargparse[signatures] brings it; a developer's command asks for it


def pins(path: Path) -> dict[str, Version]:
    lines = [line.split("==") for line in path.read_text().splitlines() if not line.startswith("#")]
    return {name: Version(number) for name, number in lines}


def test_the_page_names_each_dependency_in_both_of_its_tables_and_nothing_else() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    for head in ("oldest passed", "owners on PyPI"):
        tables = re.findall(rf"^\| package \|.* {head} .*\n\|[-|]+\n((?:\|.*\n)+)", page, re.M)
        named = [row.split(" | ")[0].removeprefix("| ") for table in tables for row in table.splitlines()]
        assert sorted(named) == sorted(listed.name for listed in DIRECT)
    assert "None" not in page


@pytest.mark.parametrize("listed", DIRECT, ids=lambda listed: listed.name)
def test_a_floor_is_the_release_that_passed(listed: Requirement) -> None:
    (oldest,) = [path for path in ENDS if path.stem == "lowest-3.11"]
    floors = [Version(bound.version) for bound in listed.specifier if bound.operator in (">=", "==")]
    assert len(floors) == 1, f"{listed.name} has no floor"
    if listed.name not in NOT_TESTED:
        assert pins(oldest)[listed.name] in listed.specifier
        # 2.0 is written for 2.0.0, and a release mended after its number (4.70.0.20261106) counts as its own first
        assert str(pins(oldest)[listed.name]).startswith(str(floors[0]))


@pytest.mark.parametrize("path", ENDS, ids=lambda path: path.stem)
def test_an_end_ran_on_a_python_that_is_declared(path: Path) -> None:
    python = path.stem.split("-")[1]
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
    head, *lines = path.read_text().splitlines()
    assert head.startswith(f"# {path.stem.split('-')[0]}, Python {python}.")
    runs = [line for line in lines if line.startswith("# ")]
    assert any(re.search(r"\d+ passed", run) for run in runs)


def test_each_python_that_is_declared_is_an_end_and_the_images_stand_on_one() -> None:
    declared = {name.rsplit(" ", 1)[1] for name in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", name)}
    assert {path.stem.split("-")[1] for path in ENDS} == declared
    allowed = SpecifierSet(PROJECT["requires-python"])
    assert {f"3.{minor}" for minor in range(30) if f"3.{minor}.0" in allowed} == declared
    base = re.search(r"^FROM python:(\S+)-slim$", (ROOT / "Dockerfile").read_text(), re.M).group(1)
    assert base in declared
    workflows = [path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yml")]
    assert all(f'"{python}"' in text for python in declared for text in workflows)


def test_what_the_code_imports_is_declared_and_what_is_installed_with_it_is_imported() -> None:
    brought_by = packages_distributions()
    declared = {canonicalize_name(listed.name) for listed in DIRECT if listed.name not in NOT_TESTED}
    imported: set[str] = set()
    for path in (ROOT / "mammo_aln").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"mammo_aln", "_typeshed", *ENTERED_BY_ANOTHER}
    assert {"torch", "cv2", "joblib"} <= foreign
    undeclared = [
        name for name in foreign if not declared & {canonicalize_name(brought) for brought in brought_by.get(name, [])}
    ]
    assert undeclared == []
    used = {canonicalize_name(brought) for name in foreign for brought in brought_by[name]}
    always = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    assert always - used == PLUGINS


def advisory(name: str, events: list[dict[str, str]], **more: object) -> dict[str, object]:
    ranges = [{"type": "ECOSYSTEM", "events": events}] if events else []
    affected = {"package": {"ecosystem": "PyPI", "name": name}, "ranges": ranges, "versions": more.pop("versions", [])}
    return {"id": f"PLANTED-{name}", "modified": "2026-11-01T00:00:00Z", "affected": [affected], **more}


def audit(road: str, file: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(ROOT / "scripts" / "audit.py"), road, str(file)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def locked(name: str) -> str:
    return re.search(rf"^{name}==(\S+)", (ROOT / "requirements.lock").read_text(), re.M).group(1)


def test_a_download_of_advisories_is_held_against_every_pin(tmp_path: Path) -> None:
    numpy, jinja2 = locked("numpy"), locked("jinja2")
    major = Version(numpy).major
    planted = {
        "NumPy": advisory("NumPy", [{"introduced": "0"}, {"fixed": f"{major + 1}"}], summary="planted hole"),
        "scipy": advisory("scipy", [{"introduced": "0"}, {"fixed": locked("scipy")}]),
        "pandas": advisory("pandas", [{"introduced": "0"}, {"last_affected": locked("pandas")}]),
        "pillow": advisory("pillow", [{"fixed": "1"}, {"introduced": "0"}, {"introduced": "99"}]),
        "joblib": advisory("joblib", [{"introduced": "0"}], withdrawn="2026-10-01T00:00:00Z"),
        "Jinja2": advisory("Jinja2", [], versions=["0.1", jinja2]),
        "absent": advisory("no-package-of-ours", [{"introduced": "0"}]),
    }
    with ZipFile(tmp_path / "all.zip", "w") as archive:
        for name, text in planted.items():
            archive.writestr(f"{name}.json", json.dumps(text))
    done = audit("database", tmp_path / "all.zip")
    hit = [f"jinja2 {jinja2}: PLANTED-Jinja2", f"numpy {numpy}: PLANTED-NumPy planted hole"]
    assert (done.returncode, sorted(done.stdout.splitlines())) == (
        1,
        [*hit, f"pandas {locked('pandas')}: PLANTED-pandas"],
    )
    assert "6 advisories, the newest of 2026-11-01" in done.stderr  # the withdrawn one is none


@pytest.mark.parametrize(("name", "content"), [("cut.zip", b"PK\3\4"), ("other.zip", None), ("none.zip", b"")])
def test_a_database_without_advisories_is_refused(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is None:
        with ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(
                "a.json", json.dumps({"id": "GO-1", "affected": [{"package": {"ecosystem": "Go", "name": "x"}}]})
            )
    else:
        (tmp_path / name).write_bytes(content)
    done = audit("database", tmp_path / name)
    assert done.returncode == 2
    assert name in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_package_that_could_not_be_asked_about_is_not_without_holes(tmp_path: Path) -> None:
    entries = [
        {"name": "numpy", "version": "2.0", "vulns": []},
        {"name": "scipy", "skip_reason": "not on the registry"},
    ]
    (tmp_path / "answer.json").write_text(json.dumps({"dependencies": entries}))
    done = audit("answer", tmp_path / "answer.json")
    assert done.returncode == 2
    assert "1 of 2 packages: scipy: not on the registry" in done.stderr
    (tmp_path / "answer.json").write_text(
        json.dumps({"dependencies": [{"name": "numpy", "version": "2.0", "vulns": [{"id": "CVE-1"}]}]})
    )
    done = audit("answer", tmp_path / "answer.json")
    assert (done.returncode, done.stdout) == (1, "numpy 2.0: CVE-1\n")
