"""A small longitudinal cohort of phantom scans, drawn and written once."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def mri_phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 patients of two centres (NIfTI and NRRD); read it, never write into it."""
    from mammo_aln.phantom.mri import write_mri_phantom

    out = tmp_path_factory.mktemp("mri") / "cohort"
    return write_mri_phantom(out, patients=24, centers=2, external_patients=8, seed=5, workers=1)
