"""requirements.lock, the images that install it, and pyproject.toml say the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NEEDED = [*PROJECT["dependencies"], *EXTRAS["slurm"], *EXTRAS["search"]]
ENTRIES = [entry for entry in re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text().strip()) if entry]


def pins() -> dict[str, list[tuple[str, str]]]:
    """Versions and markers by name; a package may have several, each for other Pythons."""
    pinned: dict[str, list[tuple[str, str]]] = {}
    for entry in ENTRIES:
        name, version, marker = re.fullmatch(
            r"([a-z0-9.-]+)==(\S+)(?: ; (.*?))?", entry.splitlines()[0].rstrip(" \\")
        ).groups()
        pinned.setdefault(canonicalize_name(name), []).append((version, marker or ""))
    return pinned


@pytest.mark.parametrize("text", NEEDED)
def test_what_the_project_asks_for_is_pinned_within_its_bounds(text: str) -> None:
    requirement = Requirement(text)
    versions = pins()[canonicalize_name(requirement.name)]
    assert all(requirement.specifier.contains(version) for version, _ in versions)


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_each_python_gets_one_version_of_each_package(python: str) -> None:
    machine = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    for name, versions in pins().items():
        chosen = [version for version, marker in versions if not marker or Marker(marker).evaluate(machine)]
        assert len(chosen) <= 1, name
    assert len([v for v, marker in pins()["torch"] if not marker or Marker(marker).evaluate(machine)]) == 1


def test_every_pin_has_digests_and_no_address() -> None:
    for entry in ENTRIES:
        digests = entry.splitlines()[1:]
        assert digests, entry
        assert all(re.fullmatch(r" {4}--hash=sha256:[0-9a-f]{64}( \\)?", line) for line in digests), entry[:60]


def test_both_images_install_the_lock_with_its_digests_and_nothing_else() -> None:
    for name in ("Dockerfile", "mammo_aln.def"):
        installs = [line.strip() for line in (ROOT / name).read_text().splitlines() if "pip install" in line]
        assert [re.sub(r"^RUN ", "", line) for line in installs] == [
            "pip install --no-cache-dir --require-hashes -r requirements.lock",
            "pip install --no-cache-dir --no-deps .",
        ]


def test_the_recipe_s_files_are_there_and_its_sections_are_apptainer_s() -> None:
    text = (ROOT / "mammo_aln.def").read_text()
    sections = re.findall(r"^%(\w+)", text, flags=re.MULTILINE)
    assert sections == ["files", "post", "environment", "runscript", "test", "labels"]
    copied = re.search(r"%files\n(.*?)\n\n", text, flags=re.DOTALL).group(1).splitlines()
    for line in copied:
        source, target = line.split()
        assert (ROOT / source).exists()
        assert target == f"/opt/mammo_aln/{source}"
    docker = (ROOT / "Dockerfile").read_text()
    base = re.search(r"^FROM (\S+)", docker, flags=re.MULTILINE).group(1)
    assert f"From: {base}" in text
