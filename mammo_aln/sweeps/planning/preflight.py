"""From a definition to a plan: crops are built once for all cells, and whatever can fail is looked at first."""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mammo_aln.cohort.check import check_cohort
from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.likeness.guard import refuse_leaks
from mammo_aln.cohort.split import with_fold
from mammo_aln.cohort.tables import Cohort, with_split
from mammo_aln.crops.build import build_crops
from mammo_aln.dicom.standing import looked_at_once
from mammo_aln.errors import InputError
from mammo_aln.machine.hardware import require_hardware, resolved
from mammo_aln.progress import say
from mammo_aln.runs.identity import run_identity, shaping_settings
from mammo_aln.runs.names import with_weights_of_named
from mammo_aln.runs.record import read_state
from mammo_aln.settings import CropConfig, PixelConfig, Settings, reads_images
from mammo_aln.settings.parse import settings_from
from mammo_aln.settings.steps import step_shape
from mammo_aln.sweeps.plan import Cell, Plan, name_of_point, stand_in_id, touched_settings
from mammo_aln.sweeps.planning.definition import Definition, Point
from mammo_aln.sweeps.planning.room import Network, disk_of, forward_s, require_room
from mammo_aln.training.build import build_model
from mammo_aln.training.data.base import read_for
from mammo_aln.training.data.datamodule import MammoDataModule
from mammo_aln.training.data.units import require_both_classes, require_one_each, say_whole_batch


class Planner:
    """Plans cells of one cohort; what cells have in common (tables, crops, networks) is read once.

    Args:
        cohort: cohort folder.
        store: crop store, or None for the cohort's own.
        here: cells train on this machine, which must have what they ask for; a login node need not.
        keep: False writes nothing to the store, the cohort's tables neither.
    """

    def __init__(self, cohort: Path, store: Path | None, *, here: bool = True, keep: bool = True) -> None:
        self.folder, self.store, self.here, self.keep = cohort, store, here, keep
        self._cohorts: dict[bool, Cohort] = {}
        self._keys: dict[Any, list[str]] = {}
        self._modules: dict[Any, MammoDataModule] = {}
        self._contents: dict[bool, str] = {}
        self.networks: dict[Any, Network] = {}

    def cohort_for(self, settings: Settings) -> Cohort:
        """The cohort, read as the settings' inputs need it."""
        images = reads_images(settings.model.inputs)
        if images not in self._cohorts:
            self._cohorts[images] = read_for(settings.model.inputs, self.folder, self.store, keep=self.keep)
        return self._cohorts[images]

    def module_for(self, settings: Settings) -> MammoDataModule:
        """The data module of the settings; cells that differ in seed, network and optimiser alone share it."""
        read = (settings.model.inputs, settings.crop, settings.pixels, settings.data, settings.trainer.accelerator)
        if read not in self._modules:
            cohort = self.cohort_for(settings)
            self._modules[read] = data = MammoDataModule.from_settings(settings, cohort, self.store)
            for split in ("train", "val"):
                require_both_classes(data.cohort.patients, split)
        return self._modules[read]

    def require_folds(self, several: Sequence[Settings]) -> None:
        """`InputError` where the patients cannot be dealt to so many folds; each number is dealt out once."""
        dealt = {(one.data.folds, one.data.fold_seed): one for one in several if one.data.folds}
        for (folds, seed), settings in dealt.items():
            with_fold(with_split(self.cohort_for(settings)), folds, 0, seed)

    def network_for(self, settings: Settings) -> Network:
        """The network of the settings, built once for all cells that share it."""
        data = self.module_for(settings)
        for split in ("train", "val"):
            require_one_each(data.cohort.patients, split, step_shape(settings).ranks)
        say_whole_batch(data.cohort.patients, settings.data.batch_size)
        return self._network(settings, data)

    def plan(self, points: Sequence[Point], several: Sequence[Settings], runs: Path) -> list[Cell]:
        """Cells with identities, from points and their settings; their crops stand in the store then.

        Raises:
            InputError: a setting or the cohort does not allow any training, or two cells are the same training.
        """
        if self.here:
            for trainer in dict.fromkeys(settings.trainer for settings in several):
                require_hardware(trainer)
        several = [resolved(settings, here=self.here) for settings in several]
        refuse_same_training(points, several)
        modules = [self.module_for(settings) for settings in several]
        # Before the first crop: a network or column that cannot be had keeps its cell from any decode.
        networks = [self.network_for(settings) for settings in several]
        if all(network.fault for network in networks):
            raise InputError(f"no cell can be trained: {name_of_point(points[0])}: {networks[0].fault}")
        sound = [data for data, network in zip(modules, networks, strict=True) if not network.fault]
        with looked_at_once():
            # Here once for all: cells that begin together on several nodes would each decode every image.
            by_split = {(data.reads_images, *data.whole_cohort.patients["split"]): data for data in sound}
            for data in by_split.values():
                refuse_leaks(data.whole_cohort, "split", data.store, pixels=data.reads_images)
            self._build_crops(sound)
        cells = [self._cell(*one, runs) for one in zip(points, several, modules, networks, strict=True)]
        by_id: dict[str, Cell] = {}
        for cell in cells:
            if cell.run_id in by_id:
                raise InputError(
                    f"two cells are the same training; remove one of them: {by_id[cell.run_id].name}; {cell.name}"
                )
            by_id[cell.run_id] = cell
        return cells

    def content(self, settings: Settings) -> str:
        """Digest of the cohort's tables."""
        images = reads_images(settings.model.inputs)
        if images not in self._contents:
            self._contents[images] = cohort_content(with_split(self.cohort_for(settings)))
        return self._contents[images]

    def _build_crops(self, modules: Sequence[MammoDataModule]) -> None:
        """All strategies and auxiliary regions that differ in nothing else, from one decode of each image."""
        groups: dict[tuple[PixelConfig, CropConfig], list[MammoDataModule]] = defaultdict(list)
        for data in modules:
            if data.reads_images:
                groups[data.pixels, replace(data.crop, strategy="all", auxiliary=())].append(data)
        for (pixels, crop), members in groups.items():
            strategies = {data.crop.strategy for data in members}
            auxiliary = tuple(dict.fromkeys(name for data in members for name in data.crop.auxiliary))
            strategy = "all" if len(strategies) > 1 else strategies.pop()
            build_crops(
                members[0].cohort, pixels, replace(crop, strategy=strategy, auxiliary=auxiliary), store=self.store
            )

    def _cell(self, point: Point, settings: Settings, data: MammoDataModule, network: Network, runs: Path) -> Cell:
        fault, cost, content = network.fault, 0.0, self.content(settings)
        try:
            run_id = (
                stand_in_id(settings, content)
                if fault
                else run_identity(settings, content, self._crop_keys(data)).run_id
            )
        except InputError as error:
            run_id, fault = stand_in_id(settings, content), str(error)
        if fault is None and read_state(runs / run_id).state != "completed":
            cost = network.step_s * settings.trainer.max_epochs
        fold = settings.data.fold if settings.data.folds else None
        return Cell(run_id, point.axes, point.shown, settings.seed, fold, settings, fault, cost)

    def _crop_keys(self, data: MammoDataModule) -> list[str]:
        if not data.reads_images:
            return []
        cut = (data.pixels, data.crop)
        if cut not in self._keys:
            self._keys[cut] = data.crop_set.table["key"].tolist()
        return self._keys[cut]

    def _network(self, settings: Settings, data: MammoDataModule) -> Network:
        shape = (repr(settings.model), settings.crop.size_px, data.regions, data.clinical_columns)
        if shape not in self.networks:
            try:
                module = build_model(settings, data)
            except InputError as error:
                self.networks[shape] = Network(str(error))
            else:
                count = sum(weight.numel() for weight in module.network.parameters())
                self.networks[shape] = Network(None, count, forward_s(module, settings.crop.size_px))
        return self.networks[shape]


def refuse_same_training(points: Sequence[Point], several: Sequence[Settings]) -> None:
    """Refuse cells that differ in nothing that a run learns from, before their crops are made.

    Those that begin from weights are told apart by the weights' content, when they get their ids.
    """
    seen: dict[str, str] = {}
    for point, settings in zip(points, several, strict=True):
        if settings.model.pretrained is not False:
            continue
        shape = json.dumps(shaping_settings(settings), sort_keys=True, default=str)
        name = name_of_point(point)
        if shape in seen:
            raise InputError(f"two cells are the same training; remove one of them: {seen[shape]}; {name}")
        seen[shape] = name


def settings_of(point: Point) -> Settings:
    """A point's settings as dataclasses; paths of weights do not depend on where a cell is trained."""
    settings = with_weights_of_named(_parsed(point))
    if isinstance(settings.model.pretrained, str):
        absolute = str(Path(settings.model.pretrained).absolute())
        settings = replace(settings, model=replace(settings.model, pretrained=absolute))
    return settings


_PARSED: dict[str, Settings] = {}
"""Settings by their text without seed and fold: to parse those of thousands of cells would take a minute."""


def _parsed(point: Point) -> Settings:
    data = point.settings.get("data")
    seed, fold = point.settings.get("seed", 0), data.get("fold", 0) if isinstance(data, dict) else None
    name = name_of_point(point)
    if type(seed) is not int or type(fold) is not int or min(seed, fold) < 0:
        return settings_from(Settings, point.settings, name)
    plain = {**point.settings, "seed": 0, "data": {**point.settings["data"], "fold": 0}}
    text = json.dumps(plain, sort_keys=True, default=repr)
    if text not in _PARSED:
        _PARSED[text] = settings_from(Settings, plain, name)
    settings = _PARSED[text]
    return replace(settings, seed=seed, data=replace(settings.data, fold=fold))


def plan_sweep(
    definition: Definition,
    points: Sequence[Point],
    cohort: Path,
    out: Path,
    *,
    store: Path | None,
    slots: int,
    elsewhere: int = 0,
    check: bool = True,
    planner: Planner | None = None,
) -> Plan:
    """Look at everything once: settings, cohort, crops, weights, memory and disk; nothing is written but crops.

    Args:
        definition: the sweep.
        points: its points, paths of weights filled in.
        cohort: cohort folder.
        out: folder of the sweep.
        store: crop store; by default `.crops` in the cohort folder.
        slots: cells that train at once on this machine; 0 where they train elsewhere.
        elsewhere: so many train at once there; 0 where nothing bounds them.
        check: check the cohort's tables, splits and headers as `mammo-aln check` does.
        planner: has looked at the cohort already.

    Raises:
        InputError: whatever would keep every cell from its training.
    """
    several = [settings_of(point) for point in points]
    if check:
        require_sound_cohort(cohort, several, store)
    planner = planner or Planner(cohort, store, here=slots > 0)
    cells = planner.plan(points, several, out / "runs")
    faulty = [cell for cell in cells if cell.fault]
    if len(faulty) == len(cells):
        raise InputError(f"no cell can be trained: {faulty[0].name}: {faulty[0].fault}")
    for cell in faulty:
        say(f"{cell.name}: cannot be trained: {cell.fault}")
    waiting = [
        (disk_of(planner.network_for(cell.settings), cell.settings.trainer), cell.settings.trainer.prune)
        for cell in cells
        if not cell.fault and read_state(out / "runs" / cell.run_id).state != "completed"
    ]
    require_room(waiting, out, slots, elsewhere)
    touched = dict.fromkeys(
        name for axis in definition.axes for choice in axis.choices for name in touched_settings(choice.settings)
    )
    return Plan(
        out.absolute(),
        cohort.absolute(),
        store.absolute() if store else None,
        planner.content(several[0]),
        tuple(cells),
        tuple(touched),
        definition.opens_test,
        cohort_name=planner.cohort_for(several[0]).name,
    )


def require_sound_cohort(cohort: Path, several: Sequence[Settings], store: Path | None, *, pixels: bool = True) -> None:
    """`InputError` where `mammo-aln check` finds a problem for cells with these settings and this crop store.

    Without `pixels` it decodes nothing and writes nothing.
    """
    clinical = any("clinical" in settings.model.inputs for settings in several)
    problems = check_cohort(cohort, clinical_inputs=clinical, kept_in=store, pixels=pixels)
    if problems:
        raise InputError(
            f"{cohort}: {len(problems)} problem(s), see above; `mammo-aln check {shlex.quote(str(cohort))}` lists them"
        )
