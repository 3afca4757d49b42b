"""Memory of a cell's training, from its first steps: `python -m mammo_aln.sweeps.measure DIR RUN_ID`.

The steps are real ones (data, forward, backward, optimiser, average) in a process of its own, which leaves nothing
behind; `--slots auto` places cells by what it prints.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mammo_aln.files import read_object, write_json
from mammo_aln.machine.memory import peak_memory_gb
from mammo_aln.machine.signals import die_with_parent
from mammo_aln.progress import say
from mammo_aln.settings import Settings
from mammo_aln.sweeps.plan import Cell, Plan

STEPS = 2
"""The second has the optimiser's moments, which the first one makes."""

CONTEXT_GB = 1.0
"""What CUDA and its libraries take of a card beside torch's own memory."""

SPARE = 1.25
"""Later steps may hold more crops than the first ones."""

KEPT_FILE = "memory.json"


@dataclass(frozen=True)
class Footprint:
    """Memory of a training and time of a step.

    Attributes:
        memory_gb: at its largest, of the GPU or, without one, of the process (1e9 bytes).
        step_s: seconds of the last step.
    """

    memory_gb: float
    step_s: float


def footprints(plan: Plan, cells: Sequence[Cell], environment: Mapping[str, str]) -> dict[str, float]:
    """Memory that each cell needs, in GB, by its id; one of a shape that cannot be measured needs a device alone (inf).

    Shapes that were measured before, by this machine, are not measured again.

    Args:
        plan: the sweep, which stands on disk.
        cells: cells that are to be trained.
        environment: variables of the measuring process, such as the device that it sees.
    """
    file = plan.out / KEPT_FILE
    kept: dict[str, dict[str, float]] = read_object(file) if file.is_file() else {}
    shapes = {cell.run_id: _shape(cell.settings) for cell in cells}
    unmeasured = {shape: cell for cell in reversed(cells) if (shape := shapes[cell.run_id]) not in kept}
    needs: dict[str, float] = {}
    for shape, cell in unmeasured.items():
        footprint = _measured(plan, cell, environment)
        if footprint is None:
            needs[shape] = math.inf
            continue
        kept[shape] = asdict(footprint)
        write_json(file, kept)
        say(f"{cell.name}: {footprint.memory_gb:.1f} GB, {footprint.step_s:.2f} s a step")
    needs |= {shape: SPARE * values["memory_gb"] for shape, values in kept.items()}
    return {run_id: needs[shape] for run_id, shape in shapes.items()}


def _shape(settings: Settings) -> str:
    """Digest of what decides on the memory of a training, and of the machine."""
    data, optim = settings.data, settings.optim
    trainer = replace(settings.trainer, max_epochs=1, patience=0, save_every_s=0.0, prune=False, keep_optimiser=False)
    loading = (data.batch_size, data.micro_batch, data.device_gb, data.augment, data.augment_engine)
    decides = (settings.model, settings.crop, optim.accumulate, optim.ema_decay > 0, loading, trainer)
    return hashlib.sha256(repr((os.uname().nodename, decides)).encode()).hexdigest()[:16]


def _measured(plan: Plan, cell: Cell, environment: Mapping[str, str]) -> Footprint | None:
    words = [sys.executable, "-m", "mammo_aln.sweeps.measure", str(plan.out), cell.run_id]
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        preexec_fn=die_with_parent,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        say(f"{cell.name}: its memory cannot be measured ({reason}); it trains without another cell beside it")
        return None
    return Footprint(**json.loads(done.stdout.splitlines()[-1]))


def first_steps(plan: Plan, cell: Cell) -> Footprint:
    """Train a cell's first steps in this process, written nowhere."""
    import pytorch_lightning as pl
    import torch

    from mammo_aln.machine.arithmetic import arithmetic
    from mammo_aln.machine.hardware import computes_on_gpu, resolved_precision
    from mammo_aln.model.backbones import compile_backbones
    from mammo_aln.model.micro_batch import MicroBatch
    from mammo_aln.settings.steps import step_shape
    from mammo_aln.training.build import build_model
    from mammo_aln.training.data.datamodule import MammoDataModule
    from mammo_aln.training.scoring import lightning_hushed

    settings = cell.settings
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    data = MammoDataModule.from_settings(settings, plan.cohort, plan.store)
    module = build_model(settings, data)
    if settings.trainer.compile:
        compile_backbones(module.network)
    step = step_shape(settings)
    module.micro_batch = MicroBatch(step, step.at_once, lambda patients: None)
    clock = _Clock()
    with lightning_hushed(), arithmetic(settings.trainer), tempfile.TemporaryDirectory() as nowhere:
        pl.Trainer(
            max_steps=STEPS,
            accelerator=settings.trainer.accelerator,
            devices=1,
            precision=resolved_precision(settings.trainer),
            logger=False,
            callbacks=[clock.callback()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
            use_distributed_sampler=False,
            default_root_dir=nowhere,
        ).fit(module, datamodule=data)
    if computes_on_gpu(settings.trainer):
        return Footprint(CONTEXT_GB + torch.cuda.max_memory_reserved() / 1e9, clock.step_s)
    return Footprint(peak_memory_gb(), clock.step_s)


class _Clock:
    """Seconds of the last step."""

    step_s = math.nan

    def callback(self):  # type: ignore[no-untyped-def]  # Lightning is imported late
        """A callback that looks at this clock before and after each step."""
        import pytorch_lightning as pl

        clock = self

        class Steps(pl.Callback):
            begun = 0.0

            def on_train_batch_start(self, *_: object) -> None:
                self.begun = time.perf_counter()

            def on_train_batch_end(self, *_: object) -> None:
                clock.step_s = time.perf_counter() - self.begun

        return Steps()


def main(out: Path, run_id: str) -> None:
    """Print a cell's footprint as JSON on the last line of standard output."""
    from mammo_aln.sweeps.plan_file import read_plan

    plan = read_plan(out)
    print(json.dumps(asdict(first_steps(plan, plan.cell(run_id)))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
