"""signature.json: one signature whole, so that another centre can score its patients by it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mammo_aln.cohort.declaration import Outcome
from mammo_aln.cohort.lineage import Source
from mammo_aln.errors import InputError, shortened
from mammo_aln.files import json_ready
from mammo_aln.model.origin import Seen
from mammo_aln.radiomics.signatures.portable.decoding import decoded, encoded, read_plain, write_plain
from mammo_aln.radiomics.signatures.portable.extraction import Extraction
from mammo_aln.radiomics.signatures.portable.models import AnyModel
from mammo_aln.runs.seal import digest_of
from mammo_aln.training.prediction_facts import OperatingPoint

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class LearntFrom:
    """Patients that a signature was fitted on, as salted hashes.

    Args:
        salt: the signature's run id.
        patients: of cohort name and patient_id.
        columns: features of `rows`, in their order.
        rows: of the values of each row that has enough of them.
    """

    salt: str
    patients: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[str, ...]

    @property
    def seen(self) -> Seen:
        """The same, as the guard of tests reads it."""
        return Seen(self.salt, frozenset(self.patients), frozenset(), columns=self.columns, rows=self.rows, whole=True)


@dataclass(frozen=True)
class SavedSignature:
    """A signature as its file holds it.

    Args:
        name: clinical, radiomics, deep or dlr.
        run_id: of its predictions.
        fit_id: of the fit that wrote it.
        package_version: of the program that wrote it.
        packages: versions of the libraries that it was fitted with; scoring needs none of them.
        cohort: name of the cohort that it learnt from.
        cohort_content: digest of that cohort's tables.
        outcome: what it learnt to tell.
        training_rows: rows that it was fitted on.
        classifier: the one that inner folds chose.
        steps: of the selection, with the features that each kept and dropped; of a fusion's members in turn.
        settings: of the fit.
        extraction: how its image features were extracted; None where their table did not say.
        model: the fitted numbers.
        calibration: of log-odds.
        threshold: of calibrated scores.
        lineage: data sets behind it, with their licences.
        learnt_from: whom it was fitted on, by names, clinical values and image features.
        leaks: what stands on both sides of its cohort by its owner's leave.
    """

    name: str
    run_id: str
    fit_id: str
    package_version: str
    packages: Mapping[str, str]
    cohort: str
    cohort_content: str
    outcome: Outcome
    training_rows: int
    classifier: str
    steps: tuple[Mapping[str, object], ...]
    settings: Mapping[str, object]
    extraction: Extraction | None
    model: AnyModel
    calibration: Mapping[str, object]
    threshold: Mapping[str, object]
    lineage: tuple[Source, ...]
    learnt_from: tuple[LearntFrom, ...]
    leaks: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        numbers = [_number(self.calibration.get(name)) for name in ("temperature", "intercept")]
        if not np.isfinite(numbers).all() or numbers[0] <= 0:
            raise InputError("calibration: expected a temperature above 0 and an intercept")
        if math.isnan(_number(self.threshold.get("value"))):
            raise InputError("threshold: expected a numeric value")

    @property
    def operating(self) -> OperatingPoint:
        """Calibration and threshold, as the JSON beside predictions holds them."""
        return OperatingPoint(dict(self.threshold), dict(self.calibration))

    def write(self, path: Path) -> str:
        """Write the file, and return its digest."""
        plain: Mapping[str, Any] = json_ready({"schema_version": SCHEMA_VERSION, **encoded(self)})
        digest = digest_of(plain)
        write_plain(path, {**plain, "digest": digest})
        return digest


def _number(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float | str) else math.nan
    except ValueError:
        return math.nan


def read_signature(path: Path) -> tuple[SavedSignature, str]:
    """Read a signature's file; returns it with its digest.

    Raises:
        InputError: no such file, no signature, one of another version, or one that was changed after it was written.
    """
    plain = read_plain(path)
    version, digest = plain.pop("schema_version", None), plain.pop("digest", None)
    if version is None or digest is None:
        raise InputError(f"{path}: not a signature that `radiomics fit` wrote (no schema_version, or no digest)")
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path}: a signature of schema {shortened(version)}, this version reads {SCHEMA_VERSION}; score with the"
            f" version that wrote it ({shortened(plain.get('package_version'))}), or fit again"
        )
    if digest_of({"schema_version": version, **plain}) != digest:
        raise InputError(f"{path}: changed after it was written (its digest does not fit); bring it back from a copy")
    try:
        return decoded(SavedSignature, plain, str(path)), digest
    except InputError as error:
        raise InputError(f"{error}: not as `radiomics fit` writes it; bring the file back from a copy") from error
