"""A search that is ready to ask for its cells: its study, its plan, and what would stop a later trial refused now."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from mammo_aln.errors import InputError
from mammo_aln.progress import counted, say
from mammo_aln.settings import Settings
from mammo_aln.sweeps.freezing import freeze
from mammo_aln.sweeps.local import alike_devices
from mammo_aln.sweeps.plan import Plan
from mammo_aln.sweeps.plan_file import read_plan
from mammo_aln.sweeps.planning.definition import FROM_SWEEP, Definition, Point, merged, nested
from mammo_aln.sweeps.planning.preflight import Planner, settings_of
from mammo_aln.sweeps.planning.space import Space
from mammo_aln.sweeps.planning.weights import pretrain_settings
from mammo_aln.sweeps.searching.pruning import begin_pruning
from mammo_aln.sweeps.searching.search import Search
from mammo_aln.sweeps.searching.study import open_study, study_name

SHARE_AT_ONCE = 5
"""One in so many of a search's trials is in training at once on a cluster: later ones learn from earlier ones."""
IMAGES = ("crop.", "pixels.")
DEVICES = "trainer.devices"


def plan_search(
    definition: Definition,
    space: Space,
    begins: Sequence[Point],
    planner: Planner,
    out: Path,
    command: str,
    *,
    executor: Literal["local", "slurm"],
    retries: int,
) -> Search:
    """Begin a search, or go on with the folder's; its plan grows with its trials.

    Args:
        definition: the sweep.
        space: its ranges.
        begins: points of its grid, paths of weights filled in.
        planner: gives cells their identities.
        out: the sweep's folder.
        command: the command line, for messages that say how to go on.
        executor: where cells train.
        retries: how often a cell is tried again.

    Raises:
        InputError: a place in the grid that cannot be trained, or trials that no slot serves alike.
    """
    several = [settings_of(point) for point in begins]
    if executor == "local":
        refuse_unlike_slots(space, several)
    if not any(name.startswith(IMAGES) for name in space.ranges):
        # Crops of all places from one decode, and each network, before the first trial.
        for cell in planner.plan(begins, several, out / "runs"):
            if cell.fault:
                raise InputError(f"search: {cell.name}: cannot be trained: {cell.fault}")
    content = planner.content(several[0])
    name = study_name(definition, space, content)
    about = {**space.to_json(), "study": name}
    cohort, store = planner.folder.absolute(), planner.store.absolute() if planner.store else None
    opens = definition.opens_test
    pruner = definition.pruner.to_json() if definition.pruner else None
    empty = Plan(
        out.absolute(), cohort, store, content, (), opens_test=opens, search=about, command=command, pruner=pruner
    )
    empty = replace(empty, cohort_name=planner.cohort_for(several[0]).name)
    begun = begun_plan(empty)
    plan = freeze(empty) if begun is empty else replace(begun, search=about, opens_test=opens, pruner=pruner)
    most = trials_at_once(space, executor)
    pruning = begin_pruning(plan, definition.pruner)
    return Search(definition, space, open_study(name, space, out), planner, plan, retries, most, begins, pruning)


def refuse_unlike_slots(space: Space, several: Sequence[Settings]) -> None:
    """`InputError` where a search's trials would need slots of several kinds on this machine."""
    if len({alike_devices(settings.trainer) for settings in several}) > 1 or DEVICES in space.ranges:
        raise InputError(
            f"search: its trials are trained in slots that are alike; expected one {DEVICES} and trainer.accelerator"
            " for all; take them out of grid: and space:, or use --executor slurm"
        )


def trials_at_once(space: Space, executor: Literal["local", "slurm"]) -> int:
    """Tell how many trials are in training at once at most; slots may be fewer."""
    return space.at_once or (max(1, space.trials // SHARE_AT_ONCE) if executor == "slurm" else space.trials)


def refuse_varied_pretraining(definition: Definition, asked: Sequence[Point]) -> None:
    """Refuse ranges that the pre-training takes over from the cells: each trial would need weights of its own.

    Raises:
        InputError: names the range.
    """
    if definition.search is None or definition.pretrain is None:
        return
    block = {key: value for key, value in definition.pretrain.items() if key != "cohort"}
    for point in asked:
        if point.settings.get("model", {}).get("pretrained") != FROM_SWEEP:
            continue
        for name, values in definition.search.ranges.items():
            ends = [
                pretrain_settings(replace(point, settings=merged(point.settings, nested(name, value))), block)
                for value in (values.low, values.high)
            ]
            if ends[0] != ends[1]:
                raise InputError(
                    f"search: space: {name}: the pre-training takes it over from the cells, so that each trial would"
                    f" need weights of its own; set {name} under pretrain:, or name one file by --pretrained FILE"
                )


def begun_plan(plan: Plan) -> Plan:
    """Take the folder's plan where it is of the same search, cohort and code: a search adds to it; else this empty one.

    Trials of another search are not ranked beside those of this one: they leave the table, which is said.
    """
    if not (plan.out / "plan.json").is_file():
        return plan
    there = read_plan(plan.out)
    if not (there.content == plan.content and there.of_this_code):
        return plan
    if _study_of(there) == _study_of(plan) or _study_of(there) == json.dumps((plan.search or {}).get("space")):
        return there
    if there.cells:
        say(
            f"the folder's {counted(len(there.cells), 'cell is', 'cells are')} of another search or of a grid"
            f" (other ranges, grid, settings or"
            f" seeds): they leave the table; their runs stay in {plan.runs}"
        )
    return plan


def _study_of(plan: Plan) -> str:
    """Name a plan's study, or, as of a plan that does not tell, the ranges; a grid has none."""
    search = plan.search or {}
    return str(search.get("study") or json.dumps(search.get("space")))
