"""Fixtures shared by all rooms' tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("WANDB_SILENT", "true")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real files and reference values that lies beside a full checkout; a bare clone has none."""
    folder = Path(__file__).resolve().parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"real files and R reference values are not beside this clone ({folder.name}/)")
    return folder


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small three-centre phantom cohort of real DICOM files; read it, never write into it."""
    from mammo_aln.phantom.mammography import write_phantom

    return write_phantom(tmp_path_factory.mktemp("phantom") / "cohort", patients=36, centers=3, seed=3)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One crop store for all tests: what one test built, another reads."""
    return tmp_path_factory.mktemp("store")
