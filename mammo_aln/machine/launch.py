"""Processes that torchrun or srun started together for one training."""

from __future__ import annotations

import os
from collections.abc import Mapping

from mammo_aln.errors import InputError
from mammo_aln.settings import TrainerConfig


def launched_together(variables: Mapping[str, str] = os.environ) -> int:
    """Number of processes that torchrun or srun started for this command; 1 where it started alone."""
    name = "WORLD_SIZE" if "TORCHELASTIC_RUN_ID" in variables else "SLURM_NTASKS"
    count = variables.get(name, "")
    return int(count) if count.isdigit() else 1


def sharing_cores(ranks: int, variables: Mapping[str, str] = os.environ) -> int:
    """Number of a machine's ranks that share this process's cores: srun binds each task to cores of its own.

    Args:
        ranks: of the training, on this machine.
        variables: of the process.
    """
    by_srun = "TORCHELASTIC_RUN_ID" not in variables and launched_together(variables) > 1
    return 1 if by_srun and "SLURM_CPUS_PER_TASK" in variables else ranks


def require_launch(trainer: TrainerConfig, variables: Mapping[str, str] = os.environ) -> None:
    """Refuse to train on processes that nothing started, or that torchrun started in another number.

    A single process would wait for the other machines' without an end. With one device in the settings each of several
    processes would train the whole run by itself.

    Raises:
        InputError: names the settings and the commands that start such a training.
    """
    if "TORCHELASTIC_RUN_ID" not in variables:
        if trainer.num_nodes > 1 and launched_together(variables) == 1 and "NODE_RANK" not in variables:
            raise InputError(
                f"trainer.num_nodes = {trainer.num_nodes}: nothing started this training's processes on the other"
                f" machines; on each type `torchrun --nnodes={trainer.num_nodes} --nproc-per-node={trainer.devices}"
                " --rdzv-backend=c10d --rdzv-endpoint=FIRST_MACHINE:29500 -m mammo_aln ...`, or start it with `srun"
                f" --nodes={trainer.num_nodes} --ntasks-per-node={trainer.devices}`; on one machine leave"
                " trainer.num_nodes at 1"
            )
        return
    ranks, started = trainer.ranks, launched_together(variables)
    if ranks != started:
        raise InputError(
            f"torchrun started {started} process{'' if started == 1 else 'es'}; trainer.devices = {trainer.devices} and"
            f" trainer.num_nodes = {trainer.num_nodes} ask for {ranks}: expected trainer.devices ="
            f" {variables.get('LOCAL_WORLD_SIZE', started)} (processes of a machine), trainer.num_nodes = machines"
        )
