"""What features are extracted from: one image (volume or mammogram) with the regions that lie on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mammo_aln import __version__
from mammo_aln.cohort.reading import split_numbers
from mammo_aln.cohort.tables import Cohort
from mammo_aln.errors import InputError
from mammo_aln.files import json_ready
from mammo_aln.progress import say
from mammo_aln.settings import CropConfig, PixelConfig, RadiomicsConfig

Mask = NDArray[np.bool_]
SHOWN = 20
CALCULATION_VERSION = 2
"""Raised whenever the same settings give other values, so that kept results are not taken for new ones."""


@dataclass(frozen=True)
class Region:
    """A region on a case's image, in the form that features are computed on.

    Args:
        name: region, or region and ring (`lesion-ring3mm`).
        array: intensities (slices, rows, columns) or (rows, columns).
        mask: the region, same shape.
        spacing_mm: distance between voxels along each axis.
        notes: what reading or preparing found worth telling.
    """

    name: str
    array: NDArray[np.float32]
    mask: Mask
    spacing_mm: tuple[float, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One image with its regions; all that a worker needs.

    Args:
        patient_id: whose.
        place: the part of a column's name that says where a value comes from (`pre_t2w`, `CC`).
        files: files that decide the result.
        regions: of a volume: (region, mask path, label); of a mammogram: (region, crop key, "").
        source: `volume` or `crop`.
        options: stated spacing of a volume, or the crop store.
        side: treated axilla that a mammogram belongs to; empty where the patient has one row, or for a volume, which
            shows both.
    """

    patient_id: str
    place: str
    files: tuple[Path, ...]
    regions: tuple[tuple[str, str, int], ...]
    source: str
    options: dict[str, Any] = field(default_factory=dict)
    side: str = ""

    def key(self, settings: RadiomicsConfig) -> str:
        """What the result of this case depends on, as one hash; files count by place, size and time."""
        stamps = [(str(path), *_stamp(path)) for path in self.files]
        content = [__version__, CALCULATION_VERSION, asdict(self), stamps, asdict(settings)]
        return hashlib.sha256(json.dumps(json_ready(content), sort_keys=True).encode()).hexdigest()[:24]


def _stamp(path: Path) -> tuple[int, int]:
    files = sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]
    stats = [one.stat() for one in files]
    return sum(one.st_size for one in stats), max((one.st_mtime_ns for one in stats), default=0)


def volume_cases(cohort: Cohort) -> list[Case]:
    """One case per image of `volumes.csv`, eligible patients only.

    Raises:
        InputError: lists every file that is missing.
    """
    eligible = set(cohort.patients.loc[cohort.patients["eligible"], "patient_id"])
    table = cohort.volumes[cohort.volumes["patient_id"].isin(eligible)]
    cases = []
    missing: dict[Path, str] = {}
    for (patient, timepoint, sequence), rows in table.groupby(["patient_id", "timepoint", "sequence"], sort=False):
        image = cohort.root / rows["image_path"].iloc[0]
        regions = tuple(
            (str(row["region"]), str(cohort.root / row["mask_path"]), int(row["mask_label"]))
            for row in rows.to_dict("records")
        )
        files = tuple(dict.fromkeys([image, *(Path(mask) for _, mask, _ in regions)]))
        missing |= {path: f"{path} (patient {patient})" for path in files if not path.exists()}
        stated = rows["spacing_mm"].dropna()
        options: dict[str, Any] = {
            "image": str(image),
            "spacing_mm": list(split_numbers(stated.iloc[0])) if len(stated) else [],
        }
        options |= {"timepoint": str(timepoint), "sequence": str(sequence)}
        cases.append(Case(str(patient), f"{timepoint}_{sequence}", files, regions, "volume", options))
    if missing:
        more = [f"  ... and {len(missing) - SHOWN} more"] if len(missing) > SHOWN else []
        told = [f"  {one}" for one in list(missing.values())[:SHOWN]]
        raise InputError("\n".join([f"{len(missing)} files of volumes.csv are missing:", *told, *more]))
    return cases


def crop_cases(
    cohort: Cohort, pixels: PixelConfig, crop: CropConfig, store: Path | None, workers: int | None
) -> list[Case]:
    """One case per mammogram and treated axilla with annotated regions; the crops are built where they are missing.

    An image of the other breast stands for no axilla, and gives no case.

    Raises:
        InputError: no crop can be made, or the crop's strategy does not keep millimetres.
    """
    from mammo_aln.crops.build import build_crops

    built = build_crops(cohort, pixels, crop, store=store, workers=workers)
    table = built.table[~built.table["estimated"].astype(bool)]
    sides = cohort.patients.set_index("unit_id")["side"].fillna("")
    _tell_both_breasts(table[table["unit_id"].map(sides) == ""])
    cases = []
    for (unit, image), rows in table.groupby(["unit_id", "image_id"], sort=False):
        regions = tuple((str(row["region"]), str(row["key"]), 0) for row in rows.to_dict("records"))
        view = rows["view"].iloc[0] or "other"
        options = {"store": str(built.store_path.resolve()), "image": str(image)}
        patient = str(rows["patient_id"].iloc[0])
        cases.append(Case(patient, str(view), (), regions, "crop", options, str(sides[str(unit)])))
    return cases


def _tell_both_breasts(crops: pd.DataFrame) -> None:
    """Without a stated side nothing tells which of two annotated breasts drains to the axilla of the outcome."""
    known = crops[crops["laterality"].isin(["L", "R"])]
    both = known.groupby("patient_id")["laterality"].nunique()
    count = int((both > 1).sum())
    if count:
        first = both.index[both > 1][0]
        say(
            f"{count} patients without a side have annotated images of both breasts, which are averaged ({first}, ...);"
            " a column side in patients.csv keeps to the treated one"
        )


def load_regions(case: Case, settings: RadiomicsConfig) -> Iterator[Region]:
    """The case's regions with their rings, read and prepared."""
    from mammo_aln.radiomics.extraction.rings import ring

    found = list(_LOADERS[case.source](case, settings))
    if settings.jitter_mm:
        found = [_drawn_again(case, region, settings) for region in found]
    for region in found:
        yield region
        for width_mm in settings.rings_mm:
            around = ring(region.mask, region.spacing_mm, width_mm)
            if region.array.ndim == 2:
                around &= region.array > 0.0  # air is no tissue
            yield Region(f"{region.name}-ring{width_mm:g}mm", region.array, around, region.spacing_mm, region.notes)


def _drawn_again(case: Case, region: Region, settings: RadiomicsConfig) -> Region:
    from mammo_aln.radiomics.extraction.jitter import jittered, seed_for

    image = case.options["image"] if case.source == "crop" else ""  # a volume's is a path, which differs by machine
    seed = seed_for(settings.jitter_seed, case.patient_id, case.side, case.place, region.name, image)
    mask = jittered(region.mask, region.spacing_mm, settings.jitter_mm, seed)
    if region.array.ndim == 2:
        mask &= region.array > 0.0
    return replace(region, mask=mask, notes=(*region.notes, "jittered"))


def _volume_regions(case: Case, settings: RadiomicsConfig) -> Iterator[Region]:
    from mammo_aln.radiomics.extraction.preprocess import prepare
    from mammo_aln.radiomics.extraction.volumes import read_volume

    for name, mask, label in case.regions:
        volume = read_volume(
            Path(case.options["image"]),
            Path(mask),
            label=label,
            stated_spacing_mm=tuple(case.options["spacing_mm"]),
            resample_mask=settings.resample_masks,
        )
        notes = volume.notes
        if not volume.mask.any():
            if case.options["timepoint"] == "pre":
                label_told = f" (mask_label {label}; the mask's values: {_shown(volume.labels)})" if label else ""
                raise InputError(f"{mask}: region {name} is empty before NAT; expected at least one voxel{label_told}")
            notes = (*notes, "empty_mask")
        ready = prepare(volume, case.options["sequence"], settings)
        if volume.mask.any() and not ready.mask.any():
            if case.options["timepoint"] == "pre":
                raise InputError(
                    f"{mask}: region {name} ({int(volume.mask.sum())} voxels) is lost by resampling; set a finer"
                    " radiomics.spacing_mm"
                )
            notes = (*notes, "lost_by_resampling")
        yield Region(name, ready.array, ready.mask, ready.spacing_mm, notes)


def _shown(labels: tuple[float, ...]) -> str:
    more = f", ... ({len(labels)} in all)" if len(labels) > SHOWN else ""
    return ", ".join(f"{label:g}" for label in labels[:SHOWN]) + more


def _crop_regions(case: Case, settings: RadiomicsConfig) -> Iterator[Region]:
    """The annotated box on its crop, in display values; a region's second box is named `region.2`."""
    from mammo_aln.crops.store.store import CropStore
    from mammo_aln.crops.window import source_to_crop

    store = CropStore(case.options["store"])
    for number, (name, key, _) in enumerate(case.regions):
        crop = store.crop(key)
        image = store.image(crop.image)
        array = store.read_values(key)
        size_px, window, spacing = crop.size_px, crop.window, image.spacing
        if spacing is None or crop.box is None:
            raise InputError(f"image {case.options['image']}: no pixel spacing or no box; shape needs both")
        x_min, y_min, x_max, y_max = crop.box
        corners = np.array([[x_min, y_min], [x_max, y_max]], dtype=float)
        placed = source_to_crop(corners, window, size_px, image.orientation)
        (left, top), (right, bottom) = placed.min(axis=0), placed.max(axis=0)
        centre = np.arange(size_px) + 0.5
        mask = ((centre >= top) & (centre < bottom))[:, None] & ((centre >= left) & (centre < right))[None, :]
        mask &= array > 0.0
        row_mm = window.height * spacing.row_mm / size_px
        column_mm = window.width * spacing.column_mm / size_px
        again = [one for one, _, _ in case.regions[:number]].count(name)
        yield Region(f"{name}.{again + 1}" if again else name, array, mask, (row_mm, column_mm))


_LOADERS = {"volume": _volume_regions, "crop": _crop_regions}
