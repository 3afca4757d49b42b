"""A run as its trackers name it: so that the cells of a sweep can be told apart, grouped and found again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mammo_aln.runs.identity import RunIdentity
from mammo_aln.settings import PretrainSettings, Settings

COHORT_DIGITS = 8
MOST_OF_A_TAG = 64
"""Characters that W&B takes of a tag."""


@dataclass(frozen=True)
class CellOfSweep:
    """A run's position in a sweep.

    Args:
        sweep: name of the sweep's folder.
        cell: its name in the sweep's messages and tables.
        configuration: what the cells that differ in seed and fold alone have in common.
    """

    sweep: str
    cell: str
    configuration: str


@dataclass(frozen=True)
class Mirrored:
    """A run as its trackers name it.

    Args:
        run: its directory, named by its id; trackers that write files write them there.
        settings: all settings.
        identity: what its id was made from: digests of the cohort and its crops, versions of the code.
        cell: its position in a sweep, where it is of one.
    """

    run: Path
    settings: Settings
    identity: RunIdentity
    cell: CellOfSweep | None = None

    @property
    def title(self) -> str:
        """Name a cell as its sweep does, else BACKBONE-STRATEGY-sSEED, and -fFOLD where it has one."""
        if self.cell is not None:
            return self.cell.cell
        model, crop, data = self.settings.model, self.settings.crop, self.settings.data
        fold = f"-f{data.fold}" if data.folds else ""
        return f"{model.backbone.removeprefix('timm:')}-{crop.strategy}-s{self.settings.seed}{fold}"

    @property
    def group(self) -> str:
        """Group the cells of a sweep, or else the runs that learn from one cohort."""
        return self.cell.sweep if self.cell is not None else self._cohort

    @property
    def job_type(self) -> str:
        """`train` or `pretrain`."""
        return "pretrain" if isinstance(self.settings, PretrainSettings) else "train"

    @property
    def tags(self) -> list[str]:
        """Backbone, crop, inputs, cohort and, of a cell, its sweep; each as much as a tag takes."""
        model = self.settings.model
        sweep = [f"sweep:{self.cell.sweep}"] if self.cell is not None else []
        tags = [model.backbone, self.settings.crop.strategy, *model.inputs, self._cohort, *sweep]
        return list(dict.fromkeys(tag[:MOST_OF_A_TAG] for tag in tags))

    @property
    def config(self) -> dict[str, object]:
        """Shaping settings by section, and beside them what identifies the run; no path, host or patient."""
        cell = vars(self.cell) if self.cell is not None else {}
        return {
            **self.identity.settings,
            "run_id": self.run.name,
            "cohort_digest": self.identity.cohort,
            "crops_digest": self.identity.crops,
            "package_version": self.identity.package_version,
            "learning_version": self.identity.learning_version,
            **cell,
        }

    @property
    def _cohort(self) -> str:
        return f"cohort:{self.identity.cohort[:COHORT_DIGITS]}"
