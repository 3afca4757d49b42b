"""Boxes on a raw image become boxes of the image that its device made from it for the reader.

CAD reads images For Processing, and its reports name those. The mammogram of the same exposure names its raw image in
SourceImageSequence, with the same pixels in the same positions unless SpatialLocationsPreserved says otherwise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd
from pydicom.dataset import Dataset

from mammo_aln.cohort.annotations.dicom.objects import elements_of, items, words
from mammo_aln.cohort.annotations.matching import UID, ListedImage, Matches
from mammo_aln.dicom.decode import read_file
from mammo_aln.dicom.kinds import FOR_PROCESSING_CLASSES
from mammo_aln.errors import UnreadableDicom
from mammo_aln.progress import say, track

FOR_PROCESSING = "FOR PROCESSING"


def raw_instances(matches: Matches, images: pd.DataFrame) -> set[str]:
    """SOP Instance UIDs that may be raw images: those of no image, and those of images that `index` listed as raw.

    Args:
        matches: names matched so far.
        images: `images.csv`.
    """
    raw: set[str] = set()
    if "presentation_intent" in images:
        is_raw = images["presentation_intent"].fillna("").astype(str).str.upper() == FOR_PROCESSING
        raw = set(images.loc[is_raw, "image_id"])
    listed = {name for name, image_id in matches.image_ids.items() if image_id in raw}
    return {name for name in (*matches.unmatched, *listed) if UID.fullmatch(name)}


def with_raw_images(
    matches: Matches, instances: Collection[str], images: Sequence[ListedImage], files: Sequence[Path]
) -> Matches:
    """The matches with raw images' names at the mammogram that was made from the raw image, where there is one.

    Args:
        matches: names matched so far.
        instances: names that may be raw images, see `raw_instances`.
        images: the cohort's images.
        files: their files, in the same order.
    """
    derived = _images_by_raw_instance(images, files, instances)
    if not derived:
        return matches
    image_ids = {uid: ids[0] for uid, ids in derived.items() if len(ids) == 1}
    ambiguous = {uid: tuple(ids) for uid, ids in derived.items() if len(ids) > 1}
    say(f"  {len(derived)} pictures are raw images (For Processing): their boxes go to the mammograms made from them")
    return Matches(
        {**matches.image_ids, **image_ids},
        tuple(name for name in matches.unmatched if name not in derived),
        {**matches.ambiguous, **ambiguous},
    )


def _images_by_raw_instance(
    images: Sequence[ListedImage], files: Sequence[Path], uids: Collection[str]
) -> Mapping[str, list[str]]:
    derived: dict[str, list[str]] = defaultdict(list)
    pairs = list(zip(images, files, strict=True))
    for image, file in track(pairs, total=len(pairs), what="raw images", unit="file"):
        try:
            with elements_of(file):
                uid = raw_instance(read_file(file, with_pixels=False))
        except UnreadableDicom:
            continue  # `check` tells of it; here it is an image that no name is matched to
        if uid in uids:
            derived[uid].append(image.image_id)
    return derived


def raw_instance(header: Dataset) -> str:
    """SOPInstanceUID of the one image For Processing that an image was made from pixel by pixel, or empty."""
    sources = items(header, "SourceImageSequence")
    if len(sources) != 1 or words(sources[0], "ReferencedSOPClassUID") not in FOR_PROCESSING_CLASSES:
        return ""
    moved = words(sources[0], "SpatialLocationsPreserved") not in ("", "YES")
    return "" if moved else words(sources[0], "ReferencedSOPInstanceUID")
