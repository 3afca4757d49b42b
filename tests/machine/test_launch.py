"""Processes of one training: how many were started, and how many the settings ask for."""

from __future__ import annotations

import pytest

from mammo_aln.errors import InputError
from mammo_aln.machine.launch import launched_together, require_launch, sharing_cores
from mammo_aln.settings import TrainerConfig

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "SLURM_NTASKS": "1"}


@pytest.mark.parametrize(("variables", "count"), [({}, 1), (TORCHRUN, 8), ({"SLURM_NTASKS": "3"}, 3)])
def test_processes_are_counted_as_their_launcher_tells(variables: dict[str, str], count: int) -> None:
    assert launched_together(variables) == count


@pytest.mark.parametrize(
    ("variables", "ranks"),
    [
        ({}, 4),
        ({"SLURM_NTASKS": "4", "SLURM_CPUS_PER_TASK": "9"}, 1),  # each task has nine
        ({"SLURM_NTASKS": "4"}, 4),
        ({"SLURM_NTASKS": "1", "SLURM_CPUS_PER_TASK": "36"}, 4),  # one task starts the others itself
        ({**TORCHRUN, "SLURM_NTASKS": "2", "SLURM_CPUS_PER_TASK": "36"}, 4),
    ],
)
def test_cores_are_shared_unless_srun_dealt_them_out(variables: dict[str, str], ranks: int) -> None:
    assert sharing_cores(4, variables) == ranks


def test_torchrun_and_the_settings_must_agree() -> None:
    require_launch(TrainerConfig(), {})
    require_launch(TrainerConfig(devices=4, num_nodes=2), TORCHRUN)
    with pytest.raises(InputError, match=r"started 8 processes; .* ask for 1: expected trainer.devices = 4"):
        require_launch(TrainerConfig(), TORCHRUN)


def test_several_machines_without_a_launcher_are_refused_before_they_wait_for_each_other() -> None:
    two = TrainerConfig(devices=4, num_nodes=2)
    for alone in ({}, {"SLURM_NTASKS": "1"}):
        with pytest.raises(InputError, match=r"trainer\.num_nodes = 2: .*torchrun --nnodes=2 --nproc-per-node=4.*srun"):
            require_launch(two, alone)
    for started in ({"SLURM_NTASKS": "8"}, {"NODE_RANK": "1", "MASTER_ADDR": "first"}, TORCHRUN):
        require_launch(two, started)
    require_launch(TrainerConfig(devices=4), {})  # one machine: Lightning starts the others
