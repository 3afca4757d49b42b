"""From a cohort's tables to requests for crops, image by image, so that each image is decoded once."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mammo_aln.dicom.header import read_header
from mammo_aln.dicom.orientation import Box
from mammo_aln.dicom.read import DisplayImage, read_image
from mammo_aln.errors import InputError, UnreadableDicom
from mammo_aln.settings import STRATEGIES, CropConfig, PixelConfig

if TYPE_CHECKING:  # worker processes read plans, and start faster without the tables' libraries
    from mammo_aln.cohort.tables import Cohort

PRIMARY = "primary"
_VIEW_ORDER = {"CC": 0, "MLO": 1}
_OTHER_SIDE = {"L": "R", "R": "L"}


@dataclass(frozen=True, slots=True)
class CropRequest:
    """One crop that a treated axilla (`unit_id`) asks of one image.

    Attributes:
        region: `primary` or an auxiliary name.
        ordinal: 1, 2, ... for several boxes of one region in one image.
        strategy: one of `config.STRATEGIES`.
        box: the region's box in stored pixels; `None` where it is estimated or not needed.
        size_mm: side of a `fixed_5cm` window.
        scale: multiplies the window's side (`peritumoral`).
        estimate: `axilla` or `contralateral` where the box comes from the anatomy, else empty.
        mirror_of: image that holds the lesion to be mirrored, and the lesion's box.
    """

    unit_id: str
    patient_id: str
    image_id: str
    region: str
    ordinal: int
    strategy: str
    box: Box | None
    size_mm: float
    scale: float = 1.0
    estimate: str = ""
    mirror_of: tuple[str, Box] | None = None

    @property
    def estimated(self) -> bool:
        """True where no human drew the box."""
        return bool(self.estimate)


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """One image, what its table row says of it, and all crops asked of it.

    `table_laterality`, `table_view` and `spacing_mm` are `None` where the table leaves them to the file; `laterality`
    and `view` are then the file's.
    """

    image_id: str
    patient_id: str
    center: str
    path: Path
    laterality: str
    view: str
    table_laterality: str | None
    table_view: str | None
    spacing_mm: float | None
    requests: tuple[CropRequest, ...] = ()
    boxes: Mapping[str, tuple[Box, ...]] = field(default_factory=dict)

    def read(self, pixels: PixelConfig) -> DisplayImage:
        """Read the file's pixels; what the table states wins over the header."""
        return read_image(
            self.path, pixels, spacing_mm=self.spacing_mm, laterality=self.table_laterality, view=self.table_view
        )


@dataclass(frozen=True)
class Exclusion:
    """A crop that cannot be had, and why; `image_id` is empty where the image itself is missing."""

    image_id: str
    patient_id: str
    region: str
    reason: str


@dataclass(frozen=True)
class CropPlan:
    """All images with their requests, in the order of `images.csv`, and what the tables already rule out."""

    images: tuple[ImagePlan, ...]
    exclusions: tuple[Exclusion, ...]


@dataclass(frozen=True)
class _Unit:
    """One treated axilla: its images by side, and the lesions that the primary region takes."""

    unit_id: str
    patient_id: str
    treated: tuple[ImagePlan, ...]
    other: tuple[ImagePlan, ...]
    lesions: tuple[tuple[ImagePlan, Box], ...]
    spare_lesions: tuple[tuple[ImagePlan, Box], ...]  # on views that `other_view` takes from the primary region
    crop: CropConfig
    side_known: bool

    def ask(self, image: ImagePlan, region: str, ordinal: int, strategy: str, box: Box | None) -> CropRequest:
        """Request one crop of an image."""
        size_mm = self.crop.size_mm if region == PRIMARY else self.crop.auxiliary_size_mm
        return CropRequest(self.unit_id, self.patient_id, image.image_id, region, ordinal, strategy, box, size_mm)

    def strategies(self, region: str) -> tuple[str, ...]:
        """Strategies that a region is cropped by."""
        chosen = self.crop.strategy if region == PRIMARY else self.crop.auxiliary_strategy
        return STRATEGIES if self.crop.strategy == "all" else (chosen,)


_Requests = tuple[list[CropRequest], list[Exclusion]]


def plan_crops(cohort: Cohort, crop: CropConfig) -> CropPlan:
    """Turn a cohort's tables and the crop settings into requests per image; only eligible patients ask for crops.

    Raises:
        InputError: an auxiliary name that is neither built in nor in `regions.csv`.
    """
    auxiliary = auxiliary_names(cohort, crop)
    images = _images(cohort)
    by_patient: dict[str, list[ImagePlan]] = defaultdict(list)
    for image in images:
        by_patient[image.patient_id].append(image)
    requests: dict[str, list[CropRequest]] = defaultdict(list)
    exclusions: list[Exclusion] = []
    for row in cohort.patients[cohort.patients["eligible"]].to_dict("records"):
        side = str(row["side"]) if row.get("side") in _OTHER_SIDE else None
        unit = _unit(str(row["unit_id"]), str(row["patient_id"]), side, by_patient[str(row["patient_id"])], crop)
        for asked, missing in [_primary(unit)] + [_AUXILIARY.get(name, _named)(unit, name) for name in auxiliary]:
            exclusions += missing
            for request in asked:
                requests[request.image_id].append(request)
    planned = [replace(image, requests=tuple(requests[image.image_id])) for image in images if requests[image.image_id]]
    return CropPlan(tuple(planned), tuple(exclusions))


def auxiliary_names(cohort: Cohort, crop: CropConfig) -> tuple[str, ...]:
    """The auxiliary regions' names in order, `annotated` replaced by every name that stands in `regions.csv`.

    Raises:
        InputError: a name that is neither built in nor in `regions.csv`.
    """
    annotated = sorted({str(name) for name in cohort.regions["region"]} - {PRIMARY})
    unknown = [name for name in crop.auxiliary if name not in {*annotated, *_AUXILIARY, "annotated"}]
    if unknown:
        raise InputError(
            f"crop.auxiliary = {', '.join(unknown)}: no such region; expected any of "
            f"{', '.join(sorted({*_AUXILIARY, 'annotated'}))}, or a name in regions.csv: "
            f"{', '.join(annotated) or 'none there'}"
        )
    names: list[str] = []
    for name in crop.auxiliary:
        names += annotated if name == "annotated" else [name]
    return tuple(dict.fromkeys(names))


def linked_groups(images: Iterable[ImagePlan]) -> list[tuple[ImagePlan, ...]]:
    """Group images that are worked on together: a mirrored lesion's image comes with the image that mirrors it."""
    by_id = {image.image_id: image for image in images}
    group_of = {image_id: image_id for image_id in by_id}

    def root(image_id: str) -> str:
        while group_of[image_id] != image_id:
            image_id = group_of[image_id]
        return image_id

    for image in by_id.values():
        for request in image.requests:
            if request.mirror_of is not None:
                group_of[root(image.image_id)] = root(request.mirror_of[0])
    groups: dict[str, list[ImagePlan]] = defaultdict(list)
    for image_id, image in by_id.items():
        groups[root(image_id)].append(image)
    return [tuple(group) for group in groups.values()]


def _images(cohort: Cohort) -> list[ImagePlan]:
    boxes: dict[str, dict[str, list[Box]]] = defaultdict(lambda: defaultdict(list))
    for row in cohort.regions.to_dict("records"):
        box = (float(row["x_min"]), float(row["y_min"]), float(row["x_max"]), float(row["y_max"]))
        boxes[str(row["image_id"])][str(row["region"])].append(box)
    centers = dict(zip(cohort.patients["patient_id"].astype(str), cohort.patients["center"].astype(str), strict=True))
    plans = []
    for image in cohort.images.to_dict("records"):
        path = cohort.dicom_root / str(image["path"])
        laterality = str(image["laterality"]) if image["laterality"] in _OTHER_SIDE else None
        view = str(image["view"]) if image["view"] in _VIEW_ORDER else None
        read_laterality, read_view = (laterality, view) if laterality and view else _from_header(path, laterality, view)
        image_id, patient_id = str(image["image_id"]), str(image["patient_id"])
        plans.append(
            ImagePlan(
                image_id,
                patient_id,
                centers.get(patient_id, ""),
                path,
                read_laterality or "",
                read_view or "",
                laterality,
                view,
                None if math.isnan(image["spacing_mm"]) else float(image["spacing_mm"]),
                boxes={name: tuple(drawn) for name, drawn in boxes[image_id].items()},
            )
        )
    return plans


def _from_header(path: Path, laterality: str | None, view: str | None) -> tuple[str | None, str | None]:
    """Fill in from the file what the table leaves open; an unreadable file is reported when its pixels are read."""
    try:
        header = read_header(path)
    except UnreadableDicom:
        return laterality, view
    return laterality or header.laterality, view or header.view


def _unit(unit_id: str, patient_id: str, side: str | None, images: list[ImagePlan], crop: CropConfig) -> _Unit:
    sides = {side} if side else {image.laterality for image in images if PRIMARY in image.boxes}
    if not sides and len({image.laterality for image in images}) == 1:
        sides = {images[0].laterality}
    treated = [image for image in images if image.laterality in sides or not image.laterality]
    treated.sort(key=lambda image: _VIEW_ORDER.get(image.view, len(_VIEW_ORDER)))
    other_sides = {_OTHER_SIDE[side] for side in sides if side} - sides
    lesions = [(image, box) for image in treated for box in image.boxes.get(PRIMARY, ())]
    spare: list[tuple[ImagePlan, Box]] = []
    if "other_view" in crop.auxiliary and lesions:
        first = lesions[0][0].view
        spare = [lesion for lesion in lesions if lesion[0].view != first]
        lesions = [lesion for lesion in lesions if lesion[0].view == first]
    others = tuple(image for image in images if image.laterality in other_sides)
    return _Unit(
        unit_id, patient_id, tuple(treated), others, tuple(lesions), tuple(spare), crop, bool(sides) or not images
    )


def _boxed(unit: _Unit, region: str, lesions: Iterable[tuple[ImagePlan, Box]]) -> Iterator[CropRequest]:
    """Requests for boxes, numbered within each image; a second whole breast of an image would be the first again, so
    that only `all` names it."""
    count: dict[str, int] = defaultdict(int)
    for image, box in lesions:
        count[image.image_id] += 1
        for strategy in unit.strategies(region):
            if strategy != "whole_breast" or count[image.image_id] == 1 or unit.crop.strategy == "all":
                yield unit.ask(image, region, count[image.image_id], strategy, box)


def _missing(unit: _Unit, region: str, reason: str, image_id: str = "") -> _Requests:
    return [], [Exclusion(image_id, unit.patient_id, region, reason)]


def _primary(unit: _Unit) -> _Requests:
    strategies = unit.strategies(PRIMARY)
    if unit.lesions:
        return list(_boxed(unit, PRIMARY, unit.lesions)), []
    if not unit.treated:
        unknown = "the treated side is unknown: patients.csv gives no side and regions.csv no primary box"
        return _missing(unit, PRIMARY, "no image of the treated side" if unit.side_known else unknown)
    whole = [unit.ask(image, PRIMARY, 1, "whole_breast", None) for image in unit.treated]
    needing = [strategy for strategy in strategies if strategy != "whole_breast"]
    reason = f"no primary box in regions.csv, which {', '.join(needing)} needs"
    missing = _missing(unit, PRIMARY, reason)[1] if needing else []
    return whole if "whole_breast" in strategies else [], missing


def _named(unit: _Unit, name: str) -> _Requests:
    boxed = [(image, box) for image in unit.treated for box in image.boxes.get(name, ())]
    if not boxed:
        return _missing(unit, name, f"no box named {name} in regions.csv")
    return list(_boxed(unit, name, boxed)), []


def _axilla(unit: _Unit, name: str) -> _Requests:
    annotated, _ = _named(unit, name)
    if annotated:
        return annotated, []
    oblique = [image for image in unit.treated if image.view == "MLO"]
    if not oblique:
        return _missing(unit, name, "no box named axilla and no MLO view of the treated side")
    strategies = unit.strategies(name)
    requests = [unit.ask(image, name, 1, strategy, None) for image in oblique for strategy in strategies]
    return [replace(request, estimate="axilla") for request in requests], []


def _other_view(unit: _Unit, name: str) -> _Requests:
    if not unit.spare_lesions:
        return _missing(unit, name, "no primary box on a second view")
    return list(_boxed(unit, name, unit.spare_lesions)), []


def _peritumoral(unit: _Unit, name: str) -> _Requests:
    if not unit.lesions:
        return _missing(unit, name, "no primary box in regions.csv")
    boxed = _boxed(unit, name, unit.lesions)
    return [replace(request, scale=unit.crop.peritumoral_scale) for request in boxed], []


def _contralateral(unit: _Unit, name: str) -> _Requests:
    if not unit.lesions:
        return _missing(unit, name, "no primary box in regions.csv")
    requests: list[CropRequest] = []
    exclusions: list[Exclusion] = []
    numbers: dict[str, dict[tuple[str, int], int]] = defaultdict(dict)  # per mirror image, of each lesion
    for request in _boxed(unit, name, unit.lesions):
        lesion_image = next(image for image, _ in unit.lesions if image.image_id == request.image_id)
        mirrors = [image for image in unit.other if image.view == lesion_image.view and image.view]
        if not mirrors or request.box is None:
            reason = f"no {lesion_image.view} view of the other breast"
            exclusions.append(Exclusion(lesion_image.image_id, unit.patient_id, name, reason))
            continue
        on_mirror = numbers[mirrors[0].image_id]
        requests.append(
            replace(
                request,
                image_id=mirrors[0].image_id,
                ordinal=on_mirror.setdefault((request.image_id, request.ordinal), len(on_mirror) + 1),
                box=None,
                estimate="contralateral",
                mirror_of=(lesion_image.image_id, request.box),
            )
        )
    return requests, list(dict.fromkeys(exclusions))


_AUXILIARY: dict[str, Callable[[_Unit, str], _Requests]] = {
    "axilla": _axilla,
    "other_view": _other_view,
    "peritumoral": _peritumoral,
    "contralateral": _contralateral,
}
FOUND_BY_RULE = tuple(_AUXILIARY)
"""Auxiliary regions that need no row in `regions.csv`."""
