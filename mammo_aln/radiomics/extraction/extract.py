"""`radiomics extract`: features of a whole cohort, on all cores, picked up where a killed run stopped."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pywt

from mammo_aln import __version__
from mammo_aln.cohort.tables import Cohort, read_cohort
from mammo_aln.errors import InputError
from mammo_aln.files import json_ready, make_folder, write_csv, write_json, write_text
from mammo_aln.progress import Progress, say
from mammo_aln.radiomics.extraction.cases import (
    CALCULATION_VERSION,
    SHOWN,
    Case,
    crop_cases,
    load_regions,
    volume_cases,
)
from mammo_aln.radiomics.extraction.delta import with_delta
from mammo_aln.radiomics.extraction.features import radiomic_features
from mammo_aln.radiomics.extraction.pool import results_of
from mammo_aln.runs.identity import file_digest
from mammo_aln.runs.record import environment
from mammo_aln.settings import CropConfig, PixelConfig, RadiomicsConfig

PROVENANCE_COLUMNS = (
    *("patient_id", "side", "place", "region", "voxels", "volume_mm3", "spacing_mm", "shape", "notes", "image_sha256"),
    *("mask_sha256", "settings_key"),
)


def extract_features(
    root: str | Path,
    out: str | Path,
    settings: RadiomicsConfig,
    *,
    pixels: PixelConfig = PixelConfig(),
    crop: CropConfig = CropConfig(),
    store: Path | None = None,
    workers: int | None = None,
) -> Path:
    """Write OUT (features.csv), and beside it OUT's stem with `.provenance.csv` (a row per region) and `.json`.

    A cohort with `volumes.csv` gives its volumes' features, any other its mammograms'. Every finished image is kept in
    a hidden folder beside OUT, so that the same command goes on after a kill and computes only what is new or changed.

    Args:
        root: cohort folder.
        out: table to be written: `patient_id`, `side` where patients.csv states one, `radiomics_*`, `deep_*`; a value
            that cannot be had is empty.
        settings: what is computed, and how.
        pixels: how mammograms become display values.
        crop: which crop of the mammograms (`fixed_5cm`).
        store: crop store of the mammograms.
        workers: processes; by default one per core.

    Raises:
        InputError: wrong settings or tables, missing files, masks that do not lie on their images; all are listed.
    """
    _refuse_settings(settings)
    out = Path(out)
    cohort = read_cohort(root, need=("patients",))
    if len(cohort.volumes):
        cases = volume_cases(cohort)
    else:
        read_cohort(root, need=("patients", "images", "regions"))
        cases = crop_cases(cohort, pixels, crop, store, workers)
    if not cases:
        raise InputError(f"{root}: neither volumes.csv nor images.csv names an image of an eligible patient")
    done = _all_results(cases, settings, make_folder(out.parent / f".{out.stem}.parts"), workers)
    table, provenance = _tables(cohort, cases, done, settings)
    if settings.deep_runs:
        from mammo_aln.radiomics.extraction.trained import run_features

        table = table.join(run_features([Path(run) for run in settings.deep_runs], cohort, store))
    write_csv(out, table)
    write_csv(out.with_suffix(".provenance.csv"), provenance)
    write_json(out.with_suffix(".json"), _description(settings, cohort, len(cases), len(provenance)))
    _tell_notes(provenance)
    return out


def _refuse_settings(settings: RadiomicsConfig) -> None:
    faults = []
    if settings.wavelet not in pywt.wavelist(kind="discrete"):
        faults.append(
            f"radiomics.wavelet = {settings.wavelet!r}: expected a discrete wavelet of PyWavelets, e.g. coif1"
        )
    if len(settings.spacing_mm) not in (0, 1, 3):
        faults.append(f"radiomics.spacing_mm = {list(settings.spacing_mm)}: expected one or three lengths, or none")
    for name in ("spacing_mm", "log_sigma_mm", "rings_mm"):
        if any(value <= 0 for value in getattr(settings, name)):
            faults.append(f"radiomics.{name} = {list(getattr(settings, name))}: expected lengths above 0 mm")
    if settings.jitter_mm < 0:
        faults.append(f"radiomics.jitter_mm = {settings.jitter_mm:g}: expected a length from 0 mm")
    for name in ("families", "filters"):
        if len(set(getattr(settings, name))) < len(getattr(settings, name)):
            faults.append(f"radiomics.{name}: expected each name once")
    if not settings.filters or not settings.families:
        faults.append("radiomics.filters and radiomics.families: expected at least one of each")
    if faults:
        raise InputError("; ".join(faults))


def _all_results(cases: list[Case], settings: RadiomicsConfig, parts: Path, workers: int | None) -> list[Path]:
    """Each case's file in `parts`, in the order of the cases; what stands there is kept, the rest is computed."""
    keys = [case.key(settings) for case in cases]
    files = [parts / f"{key}.json" for key in keys]
    waiting = [place for place, file in enumerate(files) if not file.is_file()]
    progress = Progress(total=len(cases), what="features", unit="image", done=len(cases) - len(waiting))
    failed: list[str] = []
    for place, result in results_of(work, [(cases[place], settings, keys[place]) for place in waiting], workers):
        if "failure" in result:
            failed.append(result["failure"])
        else:
            write_text(files[waiting[place]], json.dumps(json_ready(result), allow_nan=False))
        progress.advance()
    progress.end()
    if failed:
        more = [f"  ... and {len(failed) - SHOWN} more"] if len(failed) > SHOWN else []
        told = [f"  {one}" for one in failed[:SHOWN]]
        raise InputError(
            "\n".join([f"{len(failed)} of {len(cases)} images failed; the others are kept:", *told, *more])
        )
    return files


def work(task: tuple[Case, RadiomicsConfig, str]) -> dict[str, Any]:
    """One image: `features` (column -> number), `provenance` (a row per region), or `failure` in words."""
    case, settings, key = task
    features: dict[str, float] = {}
    provenance = []
    try:
        digests = {str(path): _digest(path) for path in case.files}
        masks = {name: digests.get(source, "") for name, source, _ in case.regions}
        for region in load_regions(case, settings):
            place = f"{case.place}_{region.name}"
            voxel_mm3 = float(np.prod(region.spacing_mm))
            found = (
                radiomic_features(region.array, region.mask, region.spacing_mm, settings) if region.mask.any() else {}
            )
            features |= {f"radiomics_{place}_{name}": value for name, value in found.items()}
            if not region.mask.any() and "morph" in settings.families:
                features |= {f"radiomics_{place}_shape_morph_{name}": 0.0 for name in ("volume", "vol_approx")}
            if settings.deep_backbone and region.name in settings.deep_regions:
                from mammo_aln.radiomics.extraction.deep import deep_features

                deep = deep_features(region.array, region.mask, region.spacing_mm, settings)
                features |= {f"deep_{place}_{number:04d}": float(value) for number, value in enumerate(deep)}
            row = [
                case.patient_id,
                case.side,
                case.place,
                region.name,
                int(region.mask.sum()),
                region.mask.sum() * voxel_mm3,
            ]
            row += [" ".join(f"{step:.6g}" for step in region.spacing_mm), " ".join(map(str, region.array.shape))]
            row += [
                ";".join(region.notes),
                digests.get(str(case.options["image"]), ""),
                masks.get(region.name.split("-ring")[0], ""),
            ]
            provenance.append(dict(zip(PROVENANCE_COLUMNS, [*row, key], strict=True)))
    except InputError as error:
        return {"failure": f"patient {case.patient_id}, {case.place}: {error}"}
    return {"features": features, "provenance": provenance}


def _digest(path: Path) -> str:
    if not path.is_dir():
        return file_digest(path)
    import hashlib

    return hashlib.sha256(
        "".join(file_digest(one) for one in sorted(path.iterdir()) if one.is_file()).encode()
    ).hexdigest()


def _tables(
    cohort: Cohort, cases: list[Case], done: list[Path], settings: RadiomicsConfig
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row per treated axilla in the order of patients.csv (index: unit), and the provenance.

    Images of one axilla and place (two of one view) are averaged; a volume counts for all axillae of its patient. Files
    are read one at a time.
    """
    columns: dict[str, int] = {}
    provenance: list[dict[str, Any]] = []
    for file in done:
        result = json.loads(file.read_text(encoding="utf-8"))
        provenance += result["provenance"]
        for name in result["features"]:
            columns.setdefault(name, len(columns))
    units = cohort.patients[cohort.patients["eligible"]].assign(side=lambda table: table["side"].fillna(""))
    whose = [(case.patient_id, case.side) for case in cases]
    with_any = units["patient_id"].isin([patient for patient, side in whose if not side])
    with_any |= pd.Series(list(zip(units["patient_id"], units["side"], strict=True)), units.index).isin(whose)
    units = units[with_any].set_index("unit_id")[["patient_id", "side"]]
    rows_of: dict[tuple[str, str], list[int]] = {}
    for number, (patient, side) in enumerate(units.itertuples(index=False, name=None)):
        for key in {(patient, side), (patient, "")}:
            rows_of.setdefault(key, []).append(number)
    total, count = (np.zeros((len(units), len(columns))) for _ in range(2))
    for key, file in zip(whose, done, strict=True):
        features = json.loads(file.read_text(encoding="utf-8"))["features"]
        at = np.ix_(rows_of[key], [columns[name] for name in features])
        total[at] += np.array([float(value) for value in features.values()])
        count[at] += 1
    table = pd.DataFrame(total / np.where(count > 0, count, np.nan), index=units.index, columns=list(columns))
    table = with_delta(table) if settings.delta else table
    table = table[sorted(table.columns, key=lambda name: not str(name).startswith("radiomics_"))]
    if units["patient_id"].duplicated().any():
        table.insert(0, "side", units["side"])
    table.insert(0, "patient_id", units["patient_id"])
    return table, pd.DataFrame(provenance, columns=list(PROVENANCE_COLUMNS))


def _description(settings: RadiomicsConfig, cohort: Cohort, images: int, regions: int) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "package_version": __version__,
        "calculation_version": CALCULATION_VERSION,
        "settings": asdict(settings),
        "cohort": cohort.name,
        "images": images,
        "regions": regions,
        "environment": environment(),
    }


def _tell_notes(provenance: pd.DataFrame) -> None:
    counts = Counter(note for notes in provenance["notes"] for note in str(notes).split(";") if note)
    for note, count in sorted(counts.items()):
        say(f"{note}: {count} regions (see the provenance table)")
