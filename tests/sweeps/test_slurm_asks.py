"""What each job of a sweep asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mammo_aln.errors import InputError
from mammo_aln.settings import ClusterConfig, Settings
from mammo_aln.sweeps.planning.definition import Axis, Choice
from mammo_aln.sweeps.slurm.asks import PLAN, PRETRAIN, cluster_of, cluster_of_cell, require_asks, require_fits

AXES = (Axis("config", (Choice("net_a", {}),)), Axis("model.backbone", (Choice("swinv2_small", {}),)))


def settings(backbone: str, seed: int = 0) -> Settings:
    plain = Settings()
    return replace(plain, seed=seed, model=replace(plain.model, backbone=backbone))


@pytest.mark.parametrize(
    ("backbone", "seed", "axes", "asked"),
    [
        ("resnet50", 0, {}, ("cpu", 60, None, None)),
        ("swinv2_base", 0, {}, ("a100", 60, 64, None)),
        ("swinv2_base", 3, {}, ("a100", 600, 64, None)),
        ("resnet50", 3, {}, ("cpu", 60, None, None)),
        ("resnet50", 0, {"config": "net_A"}, ("cpu", 60, None, 2)),
    ],
)
def test_a_cell_asks_for_what_the_rules_that_fit_it_say(
    backbone: str, seed: int, axes: dict[str, str], asked: tuple[Any, ...]
) -> None:
    cluster = ClusterConfig(
        partition="cpu",
        time="01:00:00",
        where={
            "model.backbone=swinv2_*": {"partition": "a100", "mem_gb": 64},
            "model.backbone=swinv2_*, seed=3": {"time_min": 600},
            "config=net_a": {"gpus_per_node": 2},
            "plan": {"partition": "short"},
        },
    )
    require_asks(cluster, AXES)
    cell = cluster_of_cell(cluster, axes, settings(backbone, seed))
    minutes = cell.time_min if cell.time is None else {"01:00:00": 60}[cell.time]
    assert (cell.partition, minutes, cell.mem_gb, cell.gpus_per_node) == asked
    assert cluster_of(cluster, PLAN).partition == "short"
    assert cluster_of(cluster, PRETRAIN) is cluster


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"model.backbon=x": {"mem_gb": 1}}, r"model\.backbon is neither a setting nor an axis .*model\.backbone"),
        ({"swinv2": {"mem_gb": 1}}, r"expected a setting and its value"),
        ({"seed=1": {"memory": 1}}, r"seed=1: memory: unknown"),
        ({"seed=1": {"mem_gb": 0}}, r"seed=1: mem_gb: expected 1 to 100000"),
        ({"seed=1": {"mem_gb": "much"}}, r"seed=1: mem_gb: expected"),
        ({"seed=1": {"max_jobs": 3}}, r"all jobs of a sweep have it in common; write cluster\.max_jobs"),
        ({"plan": {"time": "60"}}, r"cluster\.where: plan: cluster\.time"),
        ({"seed=1": {"extra": {"signal": "USR1@1"}}}, r"cluster\.where: seed=1: cluster\.extra: signal"),
    ],
)
def test_a_rule_that_cannot_be_read_is_refused_with_its_name(where: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        require_asks(ClusterConfig(where=where), AXES)


def test_a_rule_that_no_cell_meets_is_refused_with_what_there_is() -> None:
    cells = [({"model.backbone": name}, settings(name)) for name in ("resnet50", "densenet121")]
    require_fits(ClusterConfig(where={"model.backbone=dense*": {}, "plan": {}}), cells)
    with pytest.raises(InputError, match=r"no cell has this; model\.backbone is resnet50, densenet121"):
        require_fits(ClusterConfig(where={"model.backbone=swin*": {}}), cells)
