"""Images that features are extracted from: one volume or mammogram with the regions that lie on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from mammo_aln import __version__
from mammo_aln.cohort.reading import split_numbers
from mammo_aln.cohort.tables import Cohort
from mammo_aln.dicom.archive import file_on_disk
from mammo_aln.errors import InputError
from mammo_aln.files import json_ready
from mammo_aln.progress import say
from mammo_aln.settings import CropConfig, PixelConfig, RadiomicsConfig

MOST_LISTED = 20
CALCULATION_VERSION = 3
"""Raised whenever the same settings give other values, so that kept results are not taken for new ones."""


class RegionSource(NamedTuple):
    """A region's name, and where it is kept: a mask's path with label and ROI name, or a crop's key (label 0)."""

    name: str
    source: str
    label: int
    roi: str = ""


@dataclass(frozen=True)
class VolumeImage:
    """A volume's path, its stated spacing (empty where the header's holds), and when and how it was acquired."""

    image: str
    spacing_mm: tuple[float, ...]
    timepoint: str
    sequence: str


@dataclass(frozen=True)
class CropImage:
    """A mammogram's identifier, and the crop store that holds its regions."""

    store: str
    image: str


@dataclass(frozen=True)
class Case:
    """One image with its regions; all that a worker needs.

    Args:
        patient_id: whose.
        acquisition: the words of a column's name that say which image a value comes from (`pre_t2w`, `CC`).
        files: files that decide the result.
        regions: the regions on the image.
        image: the volume or the mammogram.
        side: treated axilla that a mammogram belongs to; empty where the patient has one row, or for a volume, which
            shows both.
    """

    patient_id: str
    acquisition: str
    files: tuple[Path, ...]
    regions: tuple[RegionSource, ...]
    image: VolumeImage | CropImage
    side: str = ""

    def key(self, settings: RadiomicsConfig) -> str:
        """Hash of all that decides this case's result; files count by path, size and time."""
        content = {
            "patient_id": self.patient_id,
            "place": self.acquisition,
            "files": self.files,
            "regions": self.regions,
            "source": "volume" if isinstance(self.image, VolumeImage) else "crop",
            "options": asdict(self.image),
            "side": self.side,
        }
        stamps = [(str(path), *_stamp(path)) for path in self.files]
        plain = json_ready([__version__, CALCULATION_VERSION, content, stamps, asdict(settings)])
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:24]


def _stamp(path: Path) -> tuple[int, int]:
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [file_on_disk(path)]
    stats = [file.stat() for file in files]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


def listed(lines: Iterable[str]) -> list[str]:
    """Indent lines for a message; the first 20 alone, and how many more there are."""
    every = list(lines)
    more = [f"  ... and {len(every) - MOST_LISTED} more"] if len(every) > MOST_LISTED else []
    return [*(f"  {line}" for line in every[:MOST_LISTED]), *more]


def volume_cases(cohort: Cohort) -> list[Case]:
    """List one case per image of `volumes.csv`, eligible patients only.

    Raises:
        InputError: lists every file that is missing.
    """
    eligible = set(cohort.patients.loc[cohort.patients["eligible"], "patient_id"])
    table = cohort.volumes[cohort.volumes["patient_id"].isin(eligible)]
    cases = []
    missing: dict[Path, str] = {}
    for (patient, timepoint, sequence), rows in table.groupby(["patient_id", "timepoint", "sequence"], sort=False):
        path = cohort.root / rows["image_path"].iloc[0]
        regions = tuple(
            RegionSource(
                str(row["region"]), str(cohort.root / row["mask_path"]), int(row["mask_label"]), str(row["mask_roi"])
            )
            for row in rows.to_dict("records")
        )
        files = tuple(dict.fromkeys([path, *(Path(region.source) for region in regions)]))
        missing |= {file: f"{file} (patient {patient})" for file in files if not (file.is_file() or file.is_dir())}
        stated = rows["spacing_mm"].dropna()
        spacing_mm = tuple(split_numbers(stated.iloc[0])) if len(stated) else ()
        image = VolumeImage(str(path), spacing_mm, str(timepoint), str(sequence))
        cases.append(Case(str(patient), f"{timepoint}_{sequence}", files, regions, image))
    if missing:
        raise InputError(
            "\n".join(
                [
                    f"{len(missing)} files of volumes.csv are missing, or neither file nor folder:",
                    *listed(missing.values()),
                ]
            )
        )
    return cases


def crop_cases(
    cohort: Cohort, pixels: PixelConfig, crop: CropConfig, store: Path | None, workers: int | None
) -> list[Case]:
    """List one case per mammogram and treated axilla with annotated regions; crops are built where they are missing.

    An image of the other breast stands for no axilla, and gives no case.

    Raises:
        InputError: no crop can be made, or the crop's strategy does not keep millimetres.
    """
    from mammo_aln.crops.build import build_crops

    built = build_crops(cohort, pixels, crop, store=store, workers=workers)
    table = built.table[~built.table["estimated"].astype(bool)]
    sides = cohort.patients.set_index("unit_id")["side"].fillna("")
    _warn_of_both_breasts(table[table["unit_id"].map(sides) == ""])
    cases = []
    for (unit, image), rows in table.groupby(["unit_id", "image_id"], sort=False):
        regions = tuple(RegionSource(str(row["region"]), str(row["key"]), 0) for row in rows.to_dict("records"))
        source = CropImage(str(built.store_path.resolve()), str(image))
        view, patient = str(rows["view"].iloc[0] or "other"), str(rows["patient_id"].iloc[0])
        cases.append(Case(patient, view, (), regions, source, str(sides[str(unit)])))
    return cases


def _warn_of_both_breasts(crops: pd.DataFrame) -> None:
    """Without a stated side nothing tells which of two annotated breasts drains to the axilla of the outcome."""
    sided = crops[crops["laterality"].isin(["L", "R"])]
    both = sided.groupby("patient_id")["laterality"].nunique()
    count = int((both > 1).sum())
    if count:
        first = both.index[both > 1][0]
        say(
            f"{count} patients without a side have annotated images of both breasts, which are averaged ({first}, ...);"
            " a column side in patients.csv keeps to the treated one"
        )
