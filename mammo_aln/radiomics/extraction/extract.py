"""`radiomics extract`: features of a whole cohort, on all cores, picked up where a killed run stopped."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pywt

from mammo_aln import __version__
from mammo_aln.cohort.lineage import Source, joined, stated_or_not
from mammo_aln.cohort.tables import Cohort, read_cohort
from mammo_aln.crops.keys import PIXEL_PATH_VERSION
from mammo_aln.errors import InputError
from mammo_aln.files import json_ready, make_folder, write_csv, write_json, write_text
from mammo_aln.machine.cage import caged
from mammo_aln.machine.deaths import Death, bounded_time, reason_of
from mammo_aln.machine.pool import FEW
from mammo_aln.progress import Progress, say
from mammo_aln.radiomics.extraction.cases import (
    CALCULATION_VERSION,
    Case,
    VolumeImage,
    crop_cases,
    listed,
    volume_cases,
)
from mammo_aln.radiomics.extraction.features import radiomic_features
from mammo_aln.radiomics.extraction.grey_levels import noted, of_sequence
from mammo_aln.radiomics.extraction.regions import Region, load_regions
from mammo_aln.radiomics.extraction.table import (
    PROVENANCE_COLUMNS,
    Cell,
    feature_table,
    provenance_table,
    settings_key,
    with_other_grids,
)
from mammo_aln.radiomics.filtering.fourier import WHOLE_BOUNDARIES, riesz_orders
from mammo_aln.radiomics.filtering.laws import kernel_names
from mammo_aln.runs.identity import file_digest
from mammo_aln.runs.lineage import read_lineage
from mammo_aln.runs.names import run_path
from mammo_aln.runs.record import environment
from mammo_aln.runs.seal import digest_of, require_unchanged
from mammo_aln.settings import CropConfig, ModelConfig, PixelConfig, RadiomicsConfig
from mammo_aln.settings.signatures import WIDEST_BIN

CASE_FACTOR = 10.0
"""A case, its volume and masks, may take so many times as long to read as an image (`pixels.decode_timeout_s`)."""


@dataclass(frozen=True)
class Measurement:
    """One image's features by column and its provenance, a row per region; or why it failed, in words."""

    features: dict[str, float]
    provenance: list[dict[str, Cell]]
    failure: str = ""


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
    """Write features.csv, and beside it its stem with `.provenance.csv` (a row per region) and `.json`.

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
    if settings.deep_backbone:
        from mammo_aln.radiomics.extraction.deep import backbone

        # A network that cannot be built ends here, not after the crops.
        backbone(settings)
    out = Path(out)
    cohort = read_cohort(root, need=("patients",))
    deep = None
    if settings.deep_runs:
        from mammo_aln.radiomics.extraction.trained import run_features

        deep = run_features([Path(run) for run in settings.deep_runs], cohort, store)
    if len(cohort.volumes):
        cases = volume_cases(cohort)
    else:
        read_cohort(root, need=("patients", "images", "regions"))
        cases = crop_cases(cohort, pixels, crop, store, workers)
    if not cases:
        raise InputError(f"{root}: neither volumes.csv nor images.csv names an image of an eligible patient")
    results = _all_results(cases, settings, pixels, make_folder(out.parent / f".{out.stem}.parts"), workers)
    table = feature_table(cohort, cases, results, delta=settings.delta)
    provenance, other_grids = with_other_grids(provenance_table(results, settings_key(settings)))
    if deep is not None:
        table = table.join(deep)
    write_csv(out, table)
    write_csv(out.with_suffix(".provenance.csv"), provenance)
    description = {
        "schema_version": 1,
        "package_version": __version__,
        "calculation_version": CALCULATION_VERSION,
        "settings": asdict(settings),
        **({} if len(cohort.volumes) else _of_mammograms(pixels, crop)),
        "networks": _networks(settings),
        "cohort": cohort.name,
        "images": len(cases),
        "regions": len(provenance),
        "environment": asdict(environment()),
        "lineage": [source.to_state() for source in _sources(cohort, settings)],
    }
    write_json(out.with_suffix(".json"), description)
    if other_grids:
        heading = (
            f"{len(other_grids)} regions have other voxels before NAT than after it: their textures, filters and"
            " changes compare grids, not tissue; set radiomics.spacing_mm"
        )
        say("\n".join([heading, *listed(other_grids)]))
    counts = Counter(note for notes in provenance["notes"] for note in str(notes).split(";") if note)
    for note, count in sorted(counts.items()):
        say(f"{note}: {count} regions (see the provenance table)")
    return out


def _of_mammograms(pixels: PixelConfig, crop: CropConfig) -> Mapping[str, object]:
    sections = {"pixels": asdict(pixels), "crop": asdict(crop)}
    return {"pixel_path_version": PIXEL_PATH_VERSION, "of_mammograms": sections}


def _networks(settings: RadiomicsConfig) -> Mapping[str, str]:
    """Digests of the runs and weights that deep features come from, by the paths in the settings."""
    weights = settings.deep_pretrained
    files = [weights] if isinstance(weights, str) and Path(weights).is_file() else []
    runs = {run: digest_of(require_unchanged(run_path(run))) for run in settings.deep_runs}
    return runs | {path: file_digest(path) for path in files}


def _sources(cohort: Cohort, settings: RadiomicsConfig) -> tuple[Source, ...]:
    """Data sets and weights behind the features."""
    sources = [stated_or_not(cohort.sources), *(read_lineage(Path(run)) for run in settings.deep_runs)]
    if settings.deep_backbone:
        from mammo_aln.model.lineage import weight_sources
        from mammo_aln.radiomics.extraction.deep import weights

        sources.append(weight_sources(ModelConfig(backbone=settings.deep_backbone, pretrained=weights(settings))))
    return joined(*sources)


def _refuse_settings(settings: RadiomicsConfig) -> None:
    faults = []
    if settings.wavelet not in pywt.wavelist(kind="discrete"):
        faults.append(
            f"radiomics.wavelet = {settings.wavelet!r}: expected a discrete wavelet of PyWavelets, e.g. coif1"
        )
    if settings.resegment_range and (
        len(settings.resegment_range) != 2 or settings.resegment_range[0] >= settings.resegment_range[1]
    ):
        faults.append(
            f"radiomics.resegment_range = {list(settings.resegment_range)}: expected two intensities, the lower first"
        )
    if settings.mean_voxels % 2 == 0:
        faults.append(f"radiomics.mean_voxels = {settings.mean_voxels}: expected an odd number, which has a middle")
    for check, texts in ((kernel_names, settings.laws), (riesz_orders, settings.riesz)):
        for text in texts:
            try:
                check(text)
            except InputError as error:
                faults.append(str(error))
    if {"simoncelli", "riesz"} & set(settings.filters) and settings.filter_boundary not in WHOLE_BOUNDARIES:
        faults.append(
            f"radiomics.filter_boundary = {settings.filter_boundary!r}: expected {' or '.join(WHOLE_BOUNDARIES)} with"
            " simoncelli and riesz, which look through the whole image"
        )
    for sequence, width in settings.bin_width_of.items():
        if not 0 < width <= WIDEST_BIN:
            faults.append(f"radiomics.bin_width_of: {sequence}: {width:g}: expected a width above 0, to {WIDEST_BIN}")
    if len(settings.spacing_mm) not in (0, 1, 3):
        faults.append(f"radiomics.spacing_mm = {list(settings.spacing_mm)}: expected one or three lengths, or none")
    for name in ("log_sigma_mm", "rings_mm"):
        if any(value <= 0 for value in getattr(settings, name)):
            faults.append(f"radiomics.{name} = {list(getattr(settings, name))}: expected lengths above 0 mm")
    if settings.jitter_mm < 0:
        faults.append(f"radiomics.jitter_mm = {settings.jitter_mm:g}: expected a length from 0 mm")
    for name in ("families", "filters", "riesz", "riesz_of"):
        if len(set(getattr(settings, name))) < len(getattr(settings, name)):
            faults.append(f"radiomics.{name} = {list(getattr(settings, name))}: expected each name once")
    if settings.deep_backbone and settings.deep_pretrained in ("", False):
        faults.append(
            "radiomics.deep_backbone: expected radiomics.deep_pretrained=true (timm's weights), a file of weights, or"
            " random (drawn: features of filters that learnt nothing)"
        )
    if not settings.filters or not settings.families:
        faults.append("radiomics.filters and radiomics.families: expected at least one of each")
    if faults:
        raise InputError("; ".join(faults))


def _all_results(
    cases: list[Case], settings: RadiomicsConfig, pixels: PixelConfig, folder: Path, workers: int | None
) -> list[Path]:
    """Each case's result file in `folder`, in the order of the cases; only those that are not there are computed."""
    keys = [case.key(settings) for case in cases]
    files = [folder / f"{key}.json" for key in keys]
    missing = [index for index, file in enumerate(files) if not file.is_file()]
    progress = Progress(total=len(cases), what="features", unit="image", done=len(cases) - len(missing))
    failures: list[str] = []
    tasks = [(cases[index], settings, keys[index], CASE_FACTOR * pixels.decode_timeout_s) for index in missing]
    for task, result in caged(measure, tasks, workers, few=FEW):
        if isinstance(result, Death):
            case, bounds = tasks[task][0], replace(pixels, decode_timeout_s=tasks[task][3])
            names = ", ".join(dict.fromkeys(path.name for path in case.files))
            failures.append(f"patient {case.patient_id}, {case.acquisition} ({names}): {reason_of(result, bounds)}")
        elif result.failure:
            failures.append(result.failure)
        else:
            content = {"features": result.features, "provenance": result.provenance}
            write_text(files[missing[task]], json.dumps(json_ready(content), allow_nan=False))
        progress.advance()
    progress.end()
    if failures:
        heading = (
            f"{len(failures)} of {len(cases)} images failed; the others are kept. Mend these files, or take their rows"
            " out of the cohort's tables to go on without them; then the same command goes on:"
        )
        raise InputError("\n".join([heading, *listed(failures)]))
    return files


def measure(task: tuple[Case, RadiomicsConfig, str, float]) -> Measurement:
    """Measure one image: a task (the case, the settings, the case's key, seconds in which its files are to be read)."""
    case, settings, key, timeout_s = task
    if isinstance(case.image, VolumeImage):
        settings = of_sequence(settings, case.image.sequence)
    features: dict[str, float] = {}
    provenance = []
    try:
        digests = {str(path): _digest(path) for path in case.files}
        masks = {region.name: digests.get(region.source, "") for region in case.regions}
        with bounded_time(timeout_s):
            regions = list(load_regions(case, settings))
        for region in regions:
            features |= _features(region, f"{case.acquisition}_{region.name}", settings)
            voxels = int(region.mask.sum())
            row: list[Cell] = [
                case.patient_id,
                case.side,
                case.acquisition,
                region.name,
                voxels,
                region.mask.sum() * float(np.prod(region.spacing_mm)),
                " ".join(f"{step:.6g}" for step in region.spacing_mm),
                " ".join(map(str, region.array.shape)),
                ";".join((*region.notes, *noted(region.array.astype(np.float64), region.mask, settings))),
                digests.get(case.image.image, ""),
                masks.get(region.name.split("-ring")[0], ""),
                key,
            ]
            provenance.append(dict(zip(PROVENANCE_COLUMNS, row, strict=True)))
    except InputError as error:
        return Measurement({}, [], failure=f"patient {case.patient_id}, {case.acquisition}: {error}")
    return Measurement(features, provenance)


def _features(region: Region, source: str, settings: RadiomicsConfig) -> dict[str, float]:
    """Columns of one region; `source` names its acquisition and itself."""
    features: dict[str, float] = {}
    if region.mask.any():
        radiomic = radiomic_features(region.array, region.mask, region.spacing_mm, settings)
        features |= {f"radiomics_{source}_{name}": value for name, value in radiomic.items()}
    elif "morph" in settings.families:
        features |= {f"radiomics_{source}_shape_morph_{name}": 0.0 for name in ("volume", "vol_approx")}
    if settings.deep_backbone and region.name in settings.deep_regions:
        from mammo_aln.radiomics.extraction.deep import deep_features

        deep = deep_features(region.array, region.mask, region.spacing_mm, settings)
        features |= {f"deep_{source}_{number:04d}": float(value) for number, value in enumerate(deep)}
    return features


def _digest(path: Path) -> str:
    if not path.is_dir():
        return file_digest(path)
    digests = "".join(file_digest(file) for file in sorted(path.iterdir()) if file.is_file())
    return hashlib.sha256(digests.encode()).hexdigest()
