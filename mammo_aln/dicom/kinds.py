"""Tell 2D mammograms from everything else that bears a mammogram's tags; one rule for `index` and for the pixels."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

Kind = Literal[
    "projection",
    "synthetic_2d",
    "stereotactic",
    "secondary_capture",
    "contrast_low_energy",
    "contrast_high_energy",
    "contrast_subtraction",
    "contrast_unstated",
    "tomosynthesis",
    "derived_picture",
]

TOMOSYNTHESIS_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.13.1.{number}" for number in (3, 4, 5))
"""Breast Tomosynthesis, and Breast Projection X-Ray For Presentation and For Processing."""

FOR_PROCESSING_CLASSES = ("1.2.840.10008.5.1.4.1.1.1.2.1", "1.2.840.10008.5.1.4.1.1.1.1.1")
SECONDARY_CAPTURE_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.7",
    *(f"1.2.840.10008.5.1.4.1.1.7.{number}" for number in range(1, 5)),
)

SYNTHETIC_WORDS = re.compile(
    "TOMO_2D|GENERATED_2D|INTELLIGENT ?2D|C-?VIEW|S-VIEW|INSIGHT ?2D|V-PREVIEW|SYNTHETIC[ _]?2D"
)
"""Vendors' names for the 2D image that they compute from tomosynthesis, in ImageType or a description."""

_TOMOSYNTHESIS = re.compile(r"TOMO|\bDBT\b|\bBTO\b|\bSLABS?\b|\bPLANES\b")
_TWO_DIMENSIONAL = re.compile(r"2 ?-?D|FFDM|CONVENTIONAL")
_LOW_ENERGY = re.compile(r"LOW[ _-]?ENERGY|(CESM|CEM|CEDM).*\bLE\b")
_HIGH_ENERGY = re.compile(r"HIGH[ _-]?ENERGY|(CESM|CEM|CEDM).*\bHE\b")
_SUBTRACTION = re.compile(r"SUBTRACT|RECOMBIN|DUAL[ _-]?ENERGY")
_CONTRAST = re.compile(r"CESM|\bCEM\b|CEDM|\bCE2D\b|CONTRAST[ _-]?ENHANCED|SENOBRIGHT|\bI-?VIEW\b")
_NO_AGENT = ("", "NO", "NONE", "N", "N/A", "NA", "WITHOUT", "0")
_RESULT = re.compile(
    r"HEAT[ _-]?MAP|SALIENCY|OVERLAY|\bCAD[EX]\b|CAD[ _-](RESULT|MARK|OUTPUT|REPORT)|SCREEN[ _-]?(SAVE|SHOT|CAPTURE)"
)
_RESULT_IN_CAPTURE = re.compile(
    r"\bAI\b|RESULT|REPORT|SUMMARY|\bMARKS\b|ANNOTAT|FINDINGS|SCORE|KEY IMAGE|\bMASKS?\b|CROPPED|\bROI\b|DENSITY|"
    "LUNIT|TRANSPARA|MAMMOSCREEN|PROFOUND|VOLPARA|QUANTRA|IBREAST|GENIUS|SEGMENTATION|PROBABILITY"
)
"""Words of captured pictures of results: of reading aids and density meters by name, of masks and cut-outs."""
HIGH_ENERGY_KVP = (40.0, 60.0)
"""Kilovolts: ordinary mammograms lie below (23 to 39), high-energy exposures of contrast mammography between."""

REASONS: dict[Kind, str] = {
    "tomosynthesis": "tomosynthesis, or a slice of it",
    "contrast_high_energy": "contrast mammography, the high-energy exposure",
    "contrast_subtraction": "contrast mammography, the subtraction image",
    "contrast_unstated": "contrast mammography, and no tag says that it is the low-energy exposure",
    "derived_picture": "a picture of a result, not of an exposure",
}
"""Kinds that are no 2D mammogram, in words; all other kinds are used, flagged."""


class KindTags(NamedTuple):
    """Tags that tell an image's kind; text in upper case.

    Args:
        sop_class: SOPClassUID.
        image_type: values of ImageType.
        descriptions: SeriesDescription and AcquisitionDeviceProcessingDescription.
        frames: number of frames.
        modality: Modality.
        agent: ContrastBolusAgent.
        kvp: KVP, kilovolts; None where it is not stated.
        burnt_in: BurnedInAnnotation.
    """

    sop_class: str
    image_type: tuple[str, ...]
    descriptions: tuple[str, ...]
    frames: int
    modality: str = ""
    agent: str = ""
    kvp: float | None = None
    burnt_in: str = ""


@lru_cache(maxsize=4096)
def kind_of(tags: KindTags) -> tuple[Kind, str]:
    """Name the kind of an image and the tags that say so, by the first rule that holds.

    1. A synthetic 2D image is one frame whose ImageType or description has a vendor's word for it, though its ImageType
       may say tomosynthesis as well.
    2. A tomosynthesis class, or a value of ImageType with TOMO and without 2D, is tomosynthesis; so is a description
       with a word for it and none for 2D (single slices, and tomosynthesis kept in Secondary Capture).
    3. Contrast mammography: the energy that ImageType names, else a description, else a KVP above 40; an agent or a
       word for contrast mammography without any of them leaves it open.
    4. A picture of a result: words for one in a description; in a Secondary Capture also burnt-in annotation.
    5. Any other Secondary Capture, then stereotactic images; what is left is a projection.
    """
    return _tomosynthesis(tags) or _contrast(tags) or _captured(tags) or ("projection", "")


def _tomosynthesis(tags: KindTags) -> tuple[Kind, str] | None:
    if tags.frames <= 1:
        for keyword, values in _texts(tags):
            for value in values:
                if SYNTHETIC_WORDS.search(value):
                    return "synthetic_2d", keyword
    if tags.sop_class in TOMOSYNTHESIS_CLASSES:
        return "tomosynthesis", "SOPClassUID"
    if any("TOMO" in value and "2D" not in value for value in tags.image_type):
        return "tomosynthesis", "ImageType"
    if any(_TOMOSYNTHESIS.search(words) and not _TWO_DIMENSIONAL.search(words) for words in tags.descriptions):
        return "tomosynthesis", "SeriesDescription"
    return None


def _contrast(tags: KindTags) -> tuple[Kind, str] | None:
    for keyword, values in _texts(tags):
        words = "|".join(values)
        for kind, pattern in _ENERGIES:
            if pattern.search(words):
                return kind, keyword
    low, high = HIGH_ENERGY_KVP
    if tags.modality == "MG" and tags.kvp is not None and low < tags.kvp <= high:
        return "contrast_high_energy", "KVP"
    if tags.agent not in _NO_AGENT:
        return "contrast_unstated", "ContrastBolusAgent"
    named = next((keyword for keyword, values in _texts(tags) if _CONTRAST.search("|".join(values))), "")
    return ("contrast_unstated", named) if named else None


def _captured(tags: KindTags) -> tuple[Kind, str] | None:
    captured = tags.sop_class in SECONDARY_CAPTURE_CLASSES
    for keyword, values in _texts(tags):
        words = "|".join(values)
        if _RESULT.search(words) or (captured and _RESULT_IN_CAPTURE.search(words)):
            return "derived_picture", keyword
    if captured and tags.burnt_in == "YES":
        return "derived_picture", "BurnedInAnnotation"
    if captured:
        return "secondary_capture", "SOPClassUID"
    stereotactic = next((keyword for keyword, values in _texts(tags) if "STEREO" in "|".join(values)), "")
    return ("stereotactic", stereotactic) if stereotactic else None


def _texts(tags: KindTags) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return ("ImageType", tags.image_type), ("SeriesDescription", tags.descriptions)


_ENERGIES: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("contrast_subtraction", _SUBTRACTION),
    ("contrast_high_energy", _HIGH_ENERGY),
    ("contrast_low_energy", _LOW_ENERGY),
)
