"""A cell on two nodes of a real SLURM, whose daemons share this machine; minutes, run by name:

pytest -m slow -n 0 tests/sweeps/test_slurm_nodes.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mammo_aln.sweeps.plan import read_plan
from tests.support.slurm_here import running_slurm
from tests.support.sweep_files import sweep, tiny_sweep

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    """A SLURM of two nodes."""
    with running_slurm(cpus=2, nodes=2):
        yield


def test_a_cell_on_two_nodes_is_the_training_of_two_processes_on_one(
    slurm: None, phantom: Path, store: Path, tmp_path: Path
) -> None:
    """The names of the nodes are this machine's own, which no network knows: the first one's address is given."""
    scores = []
    for name, trainer, flags in (
        ("nodes", {"num_nodes": 2, "devices": 1},
         ("--executor=slurm", "--cluster.poll_s=1", "--cluster.cpus_per_task=1", "--cluster.time_min=60",
          "--cluster.environment={MASTER_ADDR: 127.0.0.1}")),
        ("one", {"num_nodes": 1, "devices": 2}, ("--slots=1",)),
    ):  # fmt: skip
        settings = {"max_epochs": 2, "accelerator": "cpu", **trainer}
        file = tiny_sweep(tmp_path, f"{name}.yaml", trainer=settings, grid={"crop.strategy": ["lesion_box"]})
        out = tmp_path / name
        done = sweep("run", file, "--cohort", phantom, "--out", out, "--store", store, *flags)
        assert done.returncode == 0, done.stderr
        plan = read_plan(out)
        (cell,) = plan.cells
        scores.append((plan.runs / cell.run_id / "predictions.csv").read_bytes())
        if name == "nodes":
            (job,) = (out / "slurm").glob("*_submission.sh")
            assert "#SBATCH --nodes=2\n" in job.read_text()
            ranks = sorted(path.name for path in (out / "logs").glob("*.log"))
            assert ranks == [f"{cell.run_id}.log", f"{cell.run_id}.rank1.log"]
    assert scores[0] == scores[1]
