"""Read what each job of a sweep asks for: `cluster`, and `cluster.where` for the cells that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from mammo_aln.errors import InputError, did_you_mean
from mammo_aln.machine.slurm_jobs import require_sound
from mammo_aln.settings import ClusterConfig, Settings
from mammo_aln.settings.flags import flags_of
from mammo_aln.settings.parse import settings_from
from mammo_aln.sweeps.planning.definition import Axis, Label, label_of

PLAN, PRETRAIN = "plan", "pretrain"
"""Jobs that train no cell: of `--plan_on_node`, and of the pre-training."""
OF_THE_SWEEP = ("where", "max_jobs", "poll_s")
"""Settings that all jobs of a sweep have in common."""


def cluster_of_cell(cluster: ClusterConfig, axes: Mapping[str, Label], settings: Settings) -> ClusterConfig:
    """Settings of the job of a cell with these labels and settings."""
    for key in cluster.where:
        if key not in (PLAN, PRETRAIN) and _fits(key, axes, settings):
            cluster = _changed(cluster, key)
    return cluster


def cluster_of(cluster: ClusterConfig, job: str) -> ClusterConfig:
    """Settings of the job `plan` or `pretrain`."""
    return _changed(cluster, job) if job in cluster.where else cluster


def require_asks(cluster: ClusterConfig, axes: Sequence[Axis]) -> None:
    """Read everything that jobs may ask for, before anything is planned.

    Args:
        cluster: the settings.
        axes: of the sweep's grid.

    Raises:
        InputError: names the setting, and what is expected.
    """
    require_sound(cluster)
    names = [*flags_of(Settings), *(axis.name for axis in axes), "fold"]
    for key in cluster.where:
        if key not in (PLAN, PRETRAIN):
            for name, _ in _conditions(key):
                if name not in names:
                    raise InputError(f"cluster.where: {key}: {name} is neither a setting nor an axis of this sweep"
                                     f"{did_you_mean(name, names)}")  # fmt: skip
        changed = _changed(cluster, key)
        try:
            require_sound(changed)
        except InputError as error:
            raise InputError(f"cluster.where: {key}: {error}") from error


def require_fits(cluster: ClusterConfig, cells: Sequence[tuple[Mapping[str, Label], Settings]]) -> None:
    """`InputError` where `cluster.where` names jobs that no cell of the grid has."""
    for key in cluster.where:
        if key not in (PLAN, PRETRAIN) and not any(_fits(key, axes, settings) for axes, settings in cells):
            name = _conditions(key)[0][0]
            there = dict.fromkeys(str(_value(name, axes, settings)) for axes, settings in cells)
            raise InputError(f"cluster.where: {key}: no cell has this; {name} is {', '.join(there)}")


def _conditions(key: str) -> list[tuple[str, str]]:
    """Read `model.backbone=swinv2_*, seed=0` as names and patterns.

    Raises:
        InputError: it is not of that form.
    """
    pairs = [condition.partition("=") for condition in key.split(",")]
    if not all(name.strip() and equals for name, equals, _ in pairs):
        raise InputError(
            f"cluster.where: {key}: expected a setting and its value (model.backbone=swinv2_*), several joined by"
            f" commas, or {PLAN} or {PRETRAIN}"
        )
    return [(name.strip(), pattern.strip()) for name, _, pattern in pairs]


def _fits(key: str, axes: Mapping[str, Label], settings: Settings) -> bool:
    return all(
        fnmatchcase(str(_value(name, axes, settings)).casefold(), pattern.casefold())
        for name, pattern in _conditions(key)
    )


def _value(name: str, axes: Mapping[str, Label], settings: Settings) -> Label:
    if name in axes:
        return axes[name]
    section, _, field = ("data", "", "fold") if name == "fold" else name.partition(".")
    value = getattr(settings, section, "")
    return label_of(getattr(value, field) if field else value)


def _changed(cluster: ClusterConfig, key: str) -> ClusterConfig:
    """Settings with the changes that `cluster.where` has under a key."""
    changes = cluster.where[key]
    where = f"cluster.where: {key}"
    if shared := [name for name in OF_THE_SWEEP if name in changes]:
        raise InputError(f"{where}: {shared[0]}: all jobs of a sweep have it in common; write cluster.{shared[0]}")
    read = settings_from(ClusterConfig, changes, where)
    fields = {name: getattr(read, name) for name in changes}
    if "time_min" in changes and "time" not in changes:
        fields["time"] = None
    return replace(cluster, **fields)
