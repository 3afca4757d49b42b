"""A cohort's crops as they were described once, kept in the store: the next start reads one file and looks at no image.

What was kept holds as long as nothing that it was made from has changed. Its name is a digest of every cell of the
tables (the split excepted, which no crop depends on), of the pixel and crop settings, the version of the pixel path,
the package's code and the decoders' versions. Inside stand the states of all image files (inode, size, times of the
last change in content and in status) and the sizes of the store's segments; both are compared at each start. Whatever
differs, the crops are described anew, and what is kept is replaced.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mammo_aln.cohort.content import tables_digest
from mammo_aln.cohort.packed import Packed, mark_used, read_packed, write_packed
from mammo_aln.cohort.tables import Cohort, image_files
from mammo_aln.crops.keys import PIXEL_PATH_VERSION, CropJob
from mammo_aln.crops.store.index import StoreIndex
from mammo_aln.dicom.standing import standing_digest
from mammo_aln.errors import InputError
from mammo_aln.machine.code import code_digest
from mammo_aln.progress import say

FROZEN_VERSION = 2
"""Raise this when the file's form changes."""

FOLDER = "frozen"
SUFFIX = ".crops"
MOST_KEPT = 32
ROOMS = ("cohort", "crops", "dicom", "settings")


@dataclass(frozen=True)
class FrozenCrops:
    """Description of a cohort's crops, as it is kept.

    Attributes:
        table: a row per crop.
        exclusions: what cannot be had.
        uncropped: images without a crop.
        cards: grouped recipe cards, plain JSON.
        contents: SHA-256 of each image's file, by `image_id`.
        index: where the crops stand in the store.
    """

    table: pd.DataFrame
    exclusions: pd.DataFrame
    uncropped: pd.DataFrame
    cards: list[Any]
    contents: Mapping[str, str]
    index: StoreIndex


@dataclass(frozen=True)
class Freezer:
    """The file that keeps a cohort's crops under some settings, and the image files that it depends on.

    Attributes:
        path: of the file.
        files: paths of every image of an eligible patient.
        standing: digest of their states when this was made.
    """

    path: Path
    files: Sequence[str]
    standing: str

    @classmethod
    def of(cls, cohort: Cohort, job: CropJob) -> Freezer:
        """Look at a cohort's files as they stand now."""
        made_from = {
            "form": FROZEN_VERSION,
            "pixel_path": PIXEL_PATH_VERSION,
            "pixels": asdict(job.pixels),
            "crop": asdict(job.crop),
            "tables": tables_digest(cohort, without=("split",)),
            "code": code_digest(ROOMS),
        }
        name = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:32]
        people = cohort.patients.loc[cohort.patients["eligible"], "patient_id"].unique()
        files = list(image_files(cohort, cohort.images[cohort.images["patient_id"].isin(people)]).values())
        return cls(job.store / FOLDER / f"{name}{SUFFIX}", files, standing_digest(files))

    def read(self, store: Path) -> FrozenCrops | None:
        """Read what is kept; None where there is nothing, or it no longer holds."""
        packed = read_packed(self.path)
        if packed is None:
            return None
        tables, facts = packed.tables, packed.facts
        places = tables["places"]
        index = StoreIndex(
            tuple(facts["segments"]),
            tuple(places["key"].tolist()),
            np.column_stack([places[str(number)].to_numpy() for number in range(places.shape[1] - 1)]),
            tuple((journal, pixels) for journal, pixels in facts["sizes"]),
        )
        if facts["standing"] != self.standing or not index.holds(store):
            return None
        mark_used(self.path)
        contents = tables["contents"]
        return FrozenCrops(
            tables["table"],
            tables["exclusions"],
            tables["uncropped"],
            facts["cards"],
            dict(zip(contents["image_id"].tolist(), contents["sha256"].tolist(), strict=True)),
            index,
        )

    def keep(self, crops: FrozenCrops) -> None:
        """Keep crops, unless a file has changed while they were described."""
        if standing_digest(self.files, anew=True) != self.standing:
            return
        index = crops.index
        contents = {"image_id": list(crops.contents), "sha256": list(crops.contents.values())}
        packed = Packed(
            {
                "table": crops.table,
                "exclusions": crops.exclusions,
                "uncropped": crops.uncropped,
                "contents": pd.DataFrame(contents, dtype=object),
                "places": pd.DataFrame({"key": index.keys, **_numbered(index.rows)}),
            },
            {"standing": self.standing, "segments": index.segments, "sizes": index.sizes, "cards": crops.cards},
        )
        try:
            write_packed(self.path, packed, most=MOST_KEPT)
        except (OSError, InputError) as error:  # a finished store may be shared read-only
            say(f"the table of crops is not kept, the next start describes them again ({error})")


def _numbered(rows: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    return {str(number): column for number, column in enumerate(rows.T)}
