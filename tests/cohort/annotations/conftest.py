"""A cohort of ten small mammograms for each test to write regions into."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.annotated_cohort import linked_cohort, write_annotated_cohort


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_annotated_cohort(tmp_path_factory.mktemp("annotated"))


@pytest.fixture
def cohort(written: Path, tmp_path: Path) -> Path:
    return linked_cohort(written, tmp_path / "cohort")
