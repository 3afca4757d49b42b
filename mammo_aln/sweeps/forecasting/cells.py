"""Forecast of a sweep's cells, one by one; what they have in common is looked at once, and nothing is written."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from mammo_aln.crops.keys import KnownCrops, known_crops
from mammo_aln.errors import InputError
from mammo_aln.machine.hardware import computes_on_gpu, resolved
from mammo_aln.runs.identity import run_identity
from mammo_aln.runs.record import read_state
from mammo_aln.settings import CropConfig, PixelConfig, Settings
from mammo_aln.settings.steps import step_shape
from mammo_aln.sweeps.forecasting.steps import step_seconds
from mammo_aln.sweeps.plan import Cell, name_of_point
from mammo_aln.sweeps.plan_file import PLAN, read_plan
from mammo_aln.sweeps.planning.combinations import unweighted
from mammo_aln.sweeps.planning.definition import FROM_SWEEP, Point
from mammo_aln.sweeps.planning.preflight import Planner, settings_of
from mammo_aln.sweeps.planning.room import Network, disk_of
from mammo_aln.sweeps.withheld import BY_FILE, BY_HAND, reason_withheld
from mammo_aln.training.data.datamodule import MammoDataModule

FORWARD_PASSES = 3.0
"""A training step in forward passes: the way back costs about two; validation is one pass."""


@dataclass(frozen=True)
class CellForecast:
    """Forecast of a cell's training.

    Attributes:
        name: its place in the grid, seed and fold.
        epochs: at most.
        prunes: its last checkpoint goes when it is completed.
        is_completed: its run stands in the folder, completed.
        fault: why it cannot be trained, if so.
        withheld: why it is not trained although it could be: cancelled, dropped or pruned.
        steps: of an epoch, about: patients without a crop are known only when it is cut.
        seconds: of all its steps and validations; 0 where it is not trained.
        network: its network.
    """

    name: str
    epochs: int
    prunes: bool
    is_completed: bool = False
    fault: str | None = None
    withheld: str | None = None
    steps: int = 0
    seconds: float = 0.0
    network: Network = field(default_factory=lambda: Network(None))

    @property
    def is_trained(self) -> bool:
        """Tell whether the sweep's command would train it."""
        return not self.is_completed and self.fault is None and self.withheld is None

    @property
    def state(self) -> str:
        """Say what would become of it."""
        if self.withheld:
            return self.withheld
        return "cannot be trained" if self.fault else "completed" if self.is_completed else "to train"


class Forecaster:
    """Looks at cells without writing anything.

    Args:
        planner: of the cohort, and keeps nothing.
        out: the sweep's folder.
        threads: threads of a cell on the CPU.
    """

    def __init__(self, planner: Planner, out: Path, threads: int) -> None:
        self.planner, self.out, self.threads = planner, out, threads
        self.crops: dict[tuple[PixelConfig, CropConfig], KnownCrops] = {}
        self.dropped = _dropped_by_hand(out)
        self._patient_s: dict[object, float] = {}

    def fault_of(self, point: Point) -> str | None:
        """Say why a point cannot be trained, by its network or the weights that it begins from; None where it can."""
        settings = resolved(settings_of(unweighted(point)), here=self.planner.here)
        awaits = point.settings.get("model", {}).get("pretrained") == FROM_SWEEP
        try:
            data, network = self.planner.module_for(settings), self.planner.network_for(settings)
            if network.fault is None and not awaits:
                self._run_id(point, settings, self._known(data))
        except InputError as error:
            return str(error)
        return network.fault

    def cell(self, point: Point) -> CellForecast:
        """Forecast one cell; the id of one that awaits weights is not known, so that it is to be trained."""
        settings = resolved(settings_of(unweighted(point)), here=self.planner.here)
        trainer, fold = settings.trainer, settings.data.fold if settings.data.folds else None
        name = name_of_point(point)
        awaits = point.settings.get("model", {}).get("pretrained") == FROM_SWEEP
        cell = Cell("", point.axes, {}, settings.seed, fold, settings)
        try:
            data, network = self.planner.module_for(settings), self.planner.network_for(settings)
            known = self._known(data)
            run_id = None if awaits or network.fault else self._run_id(point, settings, known)
        except InputError as error:
            return CellForecast(name, trainer.max_epochs, trainer.prune, fault=str(error))
        withheld = BY_HAND if cell.seat in self.dropped else run_id and reason_withheld(self.out, run_id)
        rows = data.cohort.patients["split"]
        train, val = int((rows == "train").sum()), int((rows == "val").sum())
        steps = max(1, train // settings.data.batch_size)
        forecast = CellForecast(
            name,
            trainer.max_epochs,
            trainer.prune,
            is_completed=run_id is not None and read_state(self.out / "runs" / run_id).state == "completed",
            fault=network.fault,
            withheld=None if withheld == BY_FILE else withheld or None,
            steps=steps,
            network=disk_of(network, trainer),
        )
        if not forecast.is_trained:
            return forecast
        passes = min(train, steps * settings.data.batch_size) + val / FORWARD_PASSES
        seconds = trainer.max_epochs * passes * self._seconds_of_patient(settings, data, known)
        return replace(forecast, seconds=seconds)

    def _run_id(self, point: Point, settings: Settings, known: KnownCrops | None) -> str:
        whole = resolved(settings_of(point), here=self.planner.here)
        return run_identity(whole, self.planner.content(settings), list(known.keys) if known else []).run_id

    def _known(self, data: MammoDataModule) -> KnownCrops | None:
        if not data.reads_images:
            return None
        cut = (data.pixels, data.crop)
        if cut not in self.crops:
            self.crops[cut] = known_crops(data.cohort, data.pixels, data.crop, data.store)
        return self.crops[cut]

    def _seconds_of_patient(self, settings: Settings, data: MammoDataModule, known: KnownCrops | None) -> float:
        """Time a training step of a network, per patient; each network of a batch and size is timed once."""
        crops = max(1, round(known.requests / known.units)) if known and known.units else 1
        shape = (repr(settings.model), settings.crop.size_px, settings.data.batch_size, data.clinical_columns, crops)
        if shape not in self._patient_s:
            patients = step_shape(settings).at_once if computes_on_gpu(settings.trainer) else 2
            self._patient_s[shape] = step_seconds(settings, data, patients, crops, self.threads) / patients
        return self._patient_s[shape]


def _dropped_by_hand(out: Path) -> Collection[tuple[object, ...]]:
    """List the seats of a folder's cells that were dropped by hand, and stay so."""
    if not (out / PLAN).is_file():
        return ()
    return {cell.seat for cell in read_plan(out).dropped if cell.dropped == BY_HAND}
