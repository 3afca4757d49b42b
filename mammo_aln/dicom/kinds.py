"""Tell projections from tomosynthesis, synthetic and stereotactic images; one rule for `index` and for the pixels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

Kind = Literal["projection", "synthetic_2d", "tomosynthesis", "stereotactic"]

TOMOSYNTHESIS_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.13.1.{number}" for number in (3, 4, 5))
"""Breast Tomosynthesis, and Breast Projection X-Ray For Presentation and For Processing."""

FOR_PROCESSING_CLASSES = ("1.2.840.10008.5.1.4.1.1.1.2.1", "1.2.840.10008.5.1.4.1.1.1.1.1")

SYNTHETIC_WORDS = re.compile(
    "TOMO_2D|GENERATED_2D|INTELLIGENT ?2D|C-?VIEW|S-VIEW|INSIGHT ?2D|V-PREVIEW|SYNTHETIC[ _]?2D"
)
"""Vendors' names for the 2D image that they compute from tomosynthesis, in ImageType or a description."""


def kind_of(sop_class: str, image_type: Sequence[str], descriptions: Sequence[str], frames: int) -> Kind:
    """The kind of an image.

    A synthetic 2D image is one frame whose ImageType or description has a vendor's word for it, though its ImageType
    may say tomosynthesis as well. Else a tomosynthesis class, or a value of ImageType that begins with TOMO, is
    tomosynthesis.

    Args:
        sop_class: SOPClassUID.
        image_type: values of ImageType, upper case.
        descriptions: SeriesDescription and AcquisitionDeviceProcessingDescription, upper case.
        frames: number of frames.
    """
    words = "|".join((*image_type, *descriptions))
    if frames <= 1 and SYNTHETIC_WORDS.search(words):
        return "synthetic_2d"
    if sop_class in TOMOSYNTHESIS_CLASSES or any("TOMO" in value and "2D" not in value for value in image_type):
        return "tomosynthesis"
    return "stereotactic" if "STEREO" in words else "projection"
