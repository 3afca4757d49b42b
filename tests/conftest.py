"""Fixtures shared by all rooms' tests."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

LONGEST = (
    "sweeps/test_local.py",
    "training/test_train.py",
    "training/test_resume.py",
    "training/test_trackers.py",
    "training/test_pretrain.py",
    "sweeps/test_sealed.py",
    "radiomics/test_fit.py",
    "training/test_ddp.py",
    "evaluation/test_report.py",
    "phantom/test_mammography.py",
    "model/test_ranks.py",
)
"""Files whose tests take longest, and come first: two processes then end together."""
PROCESS = os.environ.get("PYTEST_XDIST_WORKER")
"""Name of this process among those that share the tests (`gw0`); none where there is one."""

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("WANDB_SILENT", "true")


def pytest_configure(config: pytest.Config) -> None:
    """Keep each process of the suite to a core of its own, so that what it starts per core is one process too.

    Slow tests have all cores: they start schedulers and whole pages of commands.
    """
    if PROCESS and config.getoption("markexpr") != "slow" and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(PROCESS.removeprefix("gw")) % len(cores)]})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    here = Path(__file__).parent
    items.sort(key=lambda item: ranks.get(item.path.relative_to(here).as_posix(), len(ranks)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real files and reference values that lies beside a full checkout; a bare clone has none."""
    folder = Path(__file__).resolve().parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"real files and R reference values are not beside this clone ({folder.name}/)")
    return folder


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small three-centre phantom cohort of real DICOM files; read it, never write into it.

    It is drawn once, and each process of the suite has a copy: scoring writes openings into it.
    """
    from mammo_aln.phantom.mammography import write_phantom

    folder = tmp_path_factory.mktemp("phantom") / "cohort"
    drawn = tmp_path_factory.getbasetemp()
    drawn = (drawn.parent if PROCESS else drawn) / "drawn_phantom"
    with drawn.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not drawn.exists():
            write_phantom(drawn, patients=36, centers=3, seed=3)
    return shutil.copytree(drawn, folder)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One crop store for all tests: what one test built, another reads."""
    return tmp_path_factory.mktemp("store")
