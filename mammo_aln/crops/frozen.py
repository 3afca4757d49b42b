"""A cohort's crops as they were described once, kept in the store: the next start reads one file and looks at no image.

What was kept holds as long as nothing that it was made from has changed. Its name is a digest of every cell of the
tables (the split excepted, which no crop depends on), of the pixel and crop settings, the version of the pixel path,
the package's code and the decoders' versions. Inside stand the states of all image files (inode, size, times of the
last change in content and in status) and the sizes of the store's segments; both are compared at each start. Whatever
differs, the crops are described anew, and what is kept is replaced.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mammo_aln.cohort.content import tables_digest
from mammo_aln.cohort.tables import Cohort, image_files
from mammo_aln.crops.keys import PIXEL_PATH_VERSION, CropJob
from mammo_aln.crops.store.index import StoreIndex
from mammo_aln.dicom.standing import standing_digest
from mammo_aln.errors import InputError
from mammo_aln.files import written_whole
from mammo_aln.machine.code import code_digest
from mammo_aln.progress import say

FROZEN_VERSION = 1
"""Raise this when the file's form changes."""

FOLDER = "frozen"
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
        people = set(cohort.patients.loc[cohort.patients["eligible"], "patient_id"])
        images = cohort.images[cohort.images["patient_id"].isin(people)]
        files = list(image_files(cohort, images).values())
        return cls(job.store / FOLDER / f"{name}.json", files, standing_digest(files))

    def read(self, store: Path) -> FrozenCrops | None:
        """Read what is kept; None where there is nothing, or it no longer holds."""
        try:
            digest, _, text = self.path.read_bytes().partition(b"\n")
        except OSError:
            return None
        if hashlib.sha256(text).hexdigest().encode() != digest:
            return None
        kept = json.loads(text)
        index = StoreIndex(
            tuple(kept["segments"]),
            tuple(kept["keys"]),
            _numbers(kept["rows"]).reshape(len(kept["keys"]), -1),
            tuple((journal, pixels) for journal, pixels in kept["sizes"]),
        )
        if kept["standing"] != self.standing or not index.holds(store):
            return None
        with suppress(OSError):
            self.path.touch()  # the youngest are kept
        return FrozenCrops(
            _table(kept["table"]),
            _table(kept["exclusions"]),
            _table(kept["uncropped"]),
            kept["cards"],
            kept["contents"],
            index,
        )

    def keep(self, crops: FrozenCrops) -> None:
        """Keep crops, unless a file has changed while they were described."""
        if standing_digest(self.files, anew=True) != self.standing:
            return
        plain = {
            "standing": self.standing,
            "segments": crops.index.segments,
            "keys": crops.index.keys,
            "rows": _packed(crops.index.rows.ravel()),
            "sizes": crops.index.sizes,
            "table": _columns(crops.table),
            "exclusions": _columns(crops.exclusions),
            "uncropped": _columns(crops.uncropped),
            "cards": crops.cards,
            "contents": dict(crops.contents),
        }
        text = json.dumps(plain, separators=(",", ":")).encode()
        try:
            with written_whole(self.path) as unfinished:
                unfinished.write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
            kept = sorted(self.path.parent.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
            for old in kept[:-MOST_KEPT]:
                old.unlink()
        except (OSError, InputError) as error:  # a finished store may be shared read-only
            say(f"the table of crops is not kept, the next start describes them again ({error})")


def _packed(values: np.ndarray) -> dict[str, str]:
    return {"dtype": values.dtype.str, "bytes": base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()}


def _numbers(packed: Mapping[str, str]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed["bytes"]), np.dtype(packed["dtype"]))


def _columns(table: pd.DataFrame) -> dict[str, object]:
    """A table as plain JSON: numbers packed, texts by their number among the distinct ones."""
    columns: dict[str, object] = {"": len(table)}
    for name in table.columns:
        column = table[name]
        if column.dtype.kind in "fib" and len(table):
            columns[str(name)] = {"numbers": _packed(column.to_numpy())}
        else:
            codes, texts = pd.factorize(column)
            columns[str(name)] = {"codes": _packed(codes.astype(np.int32)), "texts": [str(text) for text in texts]}
    return columns


def _table(columns: Mapping[str, Any]) -> pd.DataFrame:
    cells: dict[str, object] = {}
    for name, column in columns.items():
        if name and "numbers" in column:
            cells[name] = _numbers(column["numbers"]).copy()
        elif name:
            cells[name] = np.array(column["texts"], object)[_numbers(column["codes"])].tolist()
    return pd.DataFrame(cells) if columns[""] else pd.DataFrame([], columns=list(cells))
