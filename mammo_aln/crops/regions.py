"""From a cohort's tables to requests for crops: the rule of each region, for each treated axilla."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mammo_aln.crops.requests import PRIMARY, WHOLE_IMAGE, CropPlan, CropRequest, Exclusion, ImagePlan
from mammo_aln.dicom.header import read_header
from mammo_aln.dicom.orientation import Box
from mammo_aln.errors import InputError, UnreadableDicom
from mammo_aln.settings import STRATEGIES, CropConfig

if TYPE_CHECKING:
    from mammo_aln.cohort.tables import Cohort

_VIEW_ORDER = {"CC": 0, "MLO": 1}
_OTHER_SIDE = {"L": "R", "R": "L"}
_NO_PRIMARY_BOX = "no primary box in regions.csv"


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

    def ask(
        self, image: ImagePlan, region: str, ordinal: int, strategy: str, box: Box | None = None, scale: float = 1.0
    ) -> CropRequest:
        """Request one crop of an image."""
        size_mm = self.crop.size_mm if region == PRIMARY else self.crop.auxiliary_size_mm
        who = self.unit_id, self.patient_id, image.image_id
        return CropRequest(*who, region, ordinal, strategy, box, size_mm, scale)

    def lacks(self, region: str, reason: str, image_id: str = "") -> Exclusion:
        """Say why a region, or its crop of one image, cannot be had."""
        return Exclusion(image_id, self.patient_id, region, reason)

    def strategies(self, region: str) -> tuple[str, ...]:
        """Strategies that a region is cropped by."""
        chosen = self.crop.strategy if region == PRIMARY else self.crop.auxiliary_strategy
        return STRATEGIES if self.crop.strategy == "all" else (chosen,)


_Asked: TypeAlias = Iterator[CropRequest | Exclusion]


def plan_crops(cohort: Cohort, crop: CropConfig) -> CropPlan:
    """Turn a cohort's tables and the crop settings into requests per image; only eligible patients ask for crops.

    Raises:
        InputError: an auxiliary name that is neither built in nor in `regions.csv`; a patient with several exams of
            whom nothing says what is before NAT.
    """
    from mammo_aln.cohort.selection import used_images  # worker processes import this module, without pandas

    auxiliary = auxiliary_names(cohort, crop)
    used, set_aside = used_images(cohort)
    images = _images(replace(cohort, images=used))
    by_patient: dict[str, list[ImagePlan]] = defaultdict(list)
    for image in images:
        by_patient[image.patient_id].append(image)
    requests: dict[str, list[CropRequest]] = defaultdict(list)
    eligible = cohort.patients[cohort.patients["eligible"]]
    set_aside = set_aside[set_aside["patient_id"].isin(set(eligible["patient_id"]))]
    exclusions = [
        Exclusion(str(image), str(patient), WHOLE_IMAGE, str(reason))
        for image, patient, reason in set_aside[["image_id", "patient_id", "reason"]].itertuples(index=False)
    ]
    for row in eligible.to_dict("records"):
        side = str(row["side"]) if row.get("side") in _OTHER_SIDE else None
        unit = _unit(str(row["unit_id"]), str(row["patient_id"]), side, by_patient[str(row["patient_id"])], crop)
        asked = [_primary(unit), *(_AUXILIARY.get(name, _named)(unit, name) for name in auxiliary)]
        for request in chain.from_iterable(asked):
            if isinstance(request, Exclusion):
                exclusions.append(request)
            else:
                requests[request.image_id].append(request)
    planned = [replace(image, requests=tuple(requests[image.image_id])) for image in images if requests[image.image_id]]
    return CropPlan(tuple(planned), tuple(dict.fromkeys(exclusions)))


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
    names = [annotated if name == "annotated" else [name] for name in crop.auxiliary]
    return tuple(dict.fromkeys(chain.from_iterable(names)))


def source_images(cohort: Cohort, crop: CropConfig, inputs: Collection[str]) -> list[str]:
    """Identifiers of the images that a model with these inputs reads, in the order of `images.csv`.

    Args:
        cohort: may lack a region that the settings name: no image of it has one, then.
        crop: the model's crop settings.
        inputs: the model's inputs, of `primary`, `auxiliary` and `clinical`.
    """
    names = {*FOUND_BY_RULE, "annotated", *cohort.regions["region"]} if "auxiliary" in inputs else set()
    crop = replace(crop, auxiliary=tuple(name for name in crop.auxiliary if name in names))
    return [
        image.image_id
        for image in plan_crops(cohort, crop).images
        if any(("primary" if request.region == "primary" else "auxiliary") in inputs for request in image.requests)
    ]


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


def _boxed(
    unit: _Unit, region: str, lesions: Sequence[tuple[ImagePlan, Box]], otherwise: str, scale: float = 1.0
) -> _Asked:
    """Requests for boxes, numbered within each image, or the reason why there is none.

    A second whole breast of an image would be the first again, so that only `all` names it.
    """
    if not lesions:
        yield unit.lacks(region, otherwise)
    count: dict[str, int] = defaultdict(int)
    for image, box in lesions:
        count[image.image_id] += 1
        for strategy in unit.strategies(region):
            if strategy != "whole_breast" or count[image.image_id] == 1 or unit.crop.strategy == "all":
                yield unit.ask(image, region, count[image.image_id], strategy, box, scale)


def _primary(unit: _Unit) -> _Asked:
    strategies = unit.strategies(PRIMARY)
    needing = [strategy for strategy in strategies if strategy != "whole_breast"]
    if unit.lesions:
        yield from _boxed(unit, PRIMARY, unit.lesions, _NO_PRIMARY_BOX)
    elif not unit.treated:
        unknown = "the treated side is unknown: patients.csv gives no side and regions.csv no primary box"
        yield unit.lacks(PRIMARY, "no image of the treated side" if unit.side_known else unknown)
    else:
        if "whole_breast" in strategies:
            yield from (unit.ask(image, PRIMARY, 1, "whole_breast") for image in unit.treated)
        if needing:
            yield unit.lacks(PRIMARY, f"{_NO_PRIMARY_BOX}, which {', '.join(needing)} needs")


def _named(unit: _Unit, name: str) -> _Asked:
    boxed = [(image, box) for image in unit.treated for box in image.boxes.get(name, ())]
    return _boxed(unit, name, boxed, f"no box named {name} in regions.csv")


def _axilla(unit: _Unit, name: str) -> _Asked:
    oblique = [image for image in unit.treated if image.view == "MLO"]
    if any(name in image.boxes for image in unit.treated):
        yield from _named(unit, name)
    elif not oblique:
        yield unit.lacks(name, "no box named axilla and no MLO view of the treated side")
    else:
        for image in oblique:
            for strategy in unit.strategies(name):
                yield replace(unit.ask(image, name, 1, strategy), estimate="axilla")


def _other_view(unit: _Unit, name: str) -> _Asked:
    return _boxed(unit, name, unit.spare_lesions, "no primary box on a second view")


def _peritumoral(unit: _Unit, name: str) -> _Asked:
    return _boxed(unit, name, unit.lesions, _NO_PRIMARY_BOX, unit.crop.peritumoral_scale)


def _contralateral(unit: _Unit, name: str) -> _Asked:
    view_of = {image.image_id: image.view for image, _ in unit.lesions}
    numbers: dict[str, dict[tuple[str, int], int]] = defaultdict(dict)  # per mirror image, of each lesion
    for request in _boxed(unit, name, unit.lesions, _NO_PRIMARY_BOX):
        if isinstance(request, Exclusion):
            yield request
            continue
        view = view_of[request.image_id]
        mirror = next((image for image in unit.other if image.view == view and view), None)
        if mirror is None or request.box is None:
            yield unit.lacks(name, f"no {view} view of the other breast", request.image_id)
            continue
        on_mirror = numbers[mirror.image_id]
        yield replace(
            request,
            image_id=mirror.image_id,
            ordinal=on_mirror.setdefault((request.image_id, request.ordinal), len(on_mirror) + 1),
            box=None,
            estimate="contralateral",
            mirror_of=(request.image_id, request.box),
        )


_AUXILIARY: dict[str, Callable[[_Unit, str], _Asked]] = {
    "axilla": _axilla,
    "other_view": _other_view,
    "peritumoral": _peritumoral,
    "contralateral": _contralateral,
}
FOUND_BY_RULE = tuple(_AUXILIARY)
"""Auxiliary regions that need no row in `regions.csv`."""
