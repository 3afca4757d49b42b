"""Pre-trained weights for the cells that ask for them: a given file, or a pre-training that the sweep makes first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mammo_aln.arguments import settings_from
from mammo_aln.config import ClusterConfig, PretrainSettings
from mammo_aln.errors import InputError
from mammo_aln.progress import say
from mammo_aln.slurm import await_jobs, submit
from mammo_aln.sweeps.definition import FROM_SWEEP, Definition, Nested, Point, merged

SHARED = ("pixels", "crop", "data", "trainer", "log")
"""Sections that a pre-training takes over from the cells; of `model` it takes the backbone."""


class PretrainJob:
    """A pre-training, here or as a SLURM job; requeued, it goes on from its last checkpoint."""

    def __init__(self, cohort: Path, out: Path, settings: PretrainSettings, store: Path | None) -> None:
        self.cohort, self.out, self.settings, self.store = cohort, out, settings, store

    def __call__(self) -> str:
        """Make the weights; returns the file's path."""
        from mammo_aln.training.pretrain import pretrain_run

        return str(pretrain_run(self.cohort, self.out, self.settings, store=self.store))

    def checkpoint(self) -> Any:
        """The same call again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def with_weights(
    found: Sequence[Point],
    definition: Definition,
    cohort: Path,
    out: Path,
    *,
    pretrained: Path | None,
    store: Path | None,
    cluster: ClusterConfig | None,
) -> list[Point]:
    """The points, with the path of the weights wherever a file says `model.pretrained: sweep`.

    Args:
        found: all points.
        definition: the sweep; its `pretrain` block tells what is pre-trained, over the cells' own settings, and on
            which `cohort` (by default the sweep's).
        cohort: the sweep's cohort.
        out: the sweep's folder; weights go to its folder `pretrain`.
        pretrained: a file to use instead.
        store: crop store of the sweep's cohort.
        cluster: pre-train in a SLURM job that asks for this; None pre-trains here.

    Raises:
        InputError: cells ask for weights and there are none, or none asks for those that were given.
    """
    asking = [point for point in found if point.settings.get("model", {}).get("pretrained") == FROM_SWEEP]
    if not asking:
        if pretrained is not None:
            raise InputError("--pretrained: no cell of this sweep says model.pretrained: sweep")
        return list(found)
    if pretrained is not None:
        return [_filled(point, str(pretrained)) for point in found]
    if definition.pretrain is None:
        names = ", ".join(dict.fromkeys(str(point.axes.get("step", point.axes)) for point in asking))
        raise InputError(f"these cells begin from pre-trained weights: {names}; name the file by --pretrained FILE")
    block = dict(definition.pretrain)
    other = block.pop("cohort", None)
    source, crops = (cohort, store) if other is None else (Path(str(other)), None)
    made: dict[str, str] = {}
    result = []
    for point in found:
        if point not in asking:
            result.append(point)
            continue
        settings = _settings(point, block)
        if repr(settings) not in made:
            say(f"pre-training {settings.model.backbone} for the cells that ask for it")
            job = PretrainJob(source.absolute(), (out / "pretrain").absolute(), settings, crops and crops.absolute())
            if cluster is not None:
                await_jobs(submit([job], out.absolute() / "slurm", "mammo-aln-pretrain", cluster), "pre-training")
            made[repr(settings)] = job()  # a finished one is not made again: this tells its path
        result.append(_filled(point, made[repr(settings)]))
    return result


def _settings(point: Point, block: Nested) -> PretrainSettings:
    """Settings of the pre-training behind a point."""
    own = {name: point.settings[name] for name in SHARED if name in point.settings}
    network = {
        key: point.settings["model"][key] for key in ("backbone", "backbone_args") if key in point.settings["model"]
    }
    plain = merged(merged(own, {"model": {**network, "inputs": ["primary"]}}), block)
    plain.get("data", {}).pop("fold", None)
    plain.get("data", {}).pop("folds", None)
    return settings_from(PretrainSettings, plain, "pretrain")


def _filled(point: Point, path: str) -> Point:
    model = point.settings.get("model", {})
    if model.get("pretrained") != FROM_SWEEP:
        return point
    return replace(point, settings={**point.settings, "model": {**model, "pretrained": path}})
