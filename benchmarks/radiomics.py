"""Radiomics: seconds per region against other libraries, and conformity to IBSI."""

from __future__ import annotations

import csv
import importlib.util
import logging
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from threadpoolctl import threadpool_limits

from benchmarks.page import ROOT, Section, table
from benchmarks.rounds import in_turn
from mammo_aln.radiomics.extraction.features import radiomic_features
from mammo_aln.settings import RadiomicsConfig

REFERENCE = ROOT.parent / "shared/data/ibsi/ibsi_1_reference_values_digital_phantom.csv"
Case = tuple[np.ndarray, np.ndarray, tuple[float, ...]]


def cases() -> dict[str, Case]:
    """A lesion of 13k and a breast of 304k pixels on a 714 x 714 crop, a tumour of 41k voxels in 64 x 64 x 32."""
    rng = np.random.default_rng(0)
    plane = gaussian_filter(rng.normal(size=(714, 714)), 2.0) * 1000 + 2000
    y, x = np.mgrid[:714, :714]
    radius = np.hypot(y - 350, x - 350)
    volume = gaussian_filter(rng.normal(size=(32, 64, 64)), 1.5) * 1000 + 2000
    z, y, x = np.mgrid[:32, :64, :64]
    tumour = ((z - 15.5) / 14.5) ** 2 + ((y - 31.5) / 26) ** 2 + ((x - 31.5) / 26) ** 2 < 1
    return {
        "714 x 714 crop, lesion 13k px": (plane, radius < 64.5, (0.1, 0.1)),
        "714 x 714 crop, breast 304k px": (plane, radius < 311, (0.1, 0.1)),
        "64 x 64 x 32, tumour 41k voxels": (volume, tumour, (2.0, 1.0, 1.0)),
    }


def ours(case: Case, filters: tuple[str, ...]) -> Callable[[], int]:
    settings = RadiomicsConfig(filters=filters)  # type: ignore[arg-type]
    return lambda: len(radiomic_features(*case, settings))


def by_mirp(case: Case) -> Callable[[], int]:
    import mirp

    array, mask, _ = case
    flat = array.ndim == 2
    how = "2d_average" if flat else "3d_average"
    image, region = (array[None], mask[None]) if flat else (array, mask)
    # without "morphological": its Moran's I over all pairs takes minutes and is in nobody's default here
    families = ["statistics", "cm", "rlm", "szm", "dzm", "ngtdm", "ngldm"]

    def run() -> int:
        features = mirp.extract_features(
            image=image,
            mask=region.astype(int),
            by_slice=flat,
            glcm_spatial_method=how,
            glrlm_spatial_method=how,
            base_discretisation_method="fixed_bin_number",
            base_discretisation_n_bins=32,
            base_feature_families=families,
        )[0]
        return sum(name.split("_")[0] in ("stat", "cm", "rlm", "szm", "dzm", "ngt", "ngl") for name in features.columns)

    return run


def by_flash(case: Case) -> Callable[[], int]:
    import SimpleITK as sitk
    from flash_radiomics import featureextractor

    array, mask, spacing = case
    image, region = sitk.GetImageFromArray(array), sitk.GetImageFromArray(mask.astype(np.uint8))
    for volume in (image, region):
        volume.SetSpacing(tuple(spacing)[::-1])
    extractor = featureextractor.RadiomicsFeatureExtractor(binCount=32, backend="cpu")
    extractor.disableAllFeatures()
    shape = "shape2D" if array.ndim == 2 else "shape"
    for family in ("firstorder", shape, "glcm", "glrlm", "glszm", "gldzm", "ngtdm", "gldm"):
        extractor.enableFeatureClassByName(family)
    return lambda: sum(not key.startswith("diagnostics") for key in extractor.execute(image, region))


PEERS: dict[str, tuple[str, Callable[[Case], Callable[[], int]]]] = {
    "mirp": ("mirp", by_mirp),
    "flash-radiomics": ("flash_radiomics", by_flash),
}


def cpu_seconds(work: Callable[[], int]) -> float:
    """Seconds of processor time of one call."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def speed(rounds: int = 3) -> Section:
    """CPU seconds per region against mirp and flash-radiomics, the libraries that install with plain pip.

    Every library computes first order, shape, GLCM, GLRLM, GLSZM and NGTDM (and GLDZM, NGLDM where it has them) with 32
    grey levels in one process and one thread.

    Args:
        rounds: rounds in which the libraries take turns.
    """
    logging.disable(logging.INFO)
    peers = {name: peer for name, (module, peer) in PEERS.items() if importlib.util.find_spec(module)}
    rows = []
    with threadpool_limits(1):
        for title, case in cases().items():
            works = [ours(case, ("original",)), ours(case, ("original", "log", "wavelet"))]
            works += [peer(case) for peer in peers.values()]
            times = in_turn(rounds, *(partial(cpu_seconds, work) for work in works))
            cells = [f"{used.words(digits=3)}: {work()} features" for used, work in zip(times, works, strict=True)]
            fastest = min((used.median for used in times[2:]), default=math.nan)
            rows.append([title, *cells, f"{times[0].median / fastest:.2f}"])
            print(rows[-1], file=sys.stderr)
    absent = [name for name in PEERS if name not in peers]
    note = f"; not installed here: {', '.join(absent)}" if absent else ""
    return Section(
        "Radiomics: seconds per region",
        f"CPU seconds, median (range) of {rounds} rounds, one thread{note}",
        table(["region", "ours", "ours + LoG + wavelet", *peers, "ours / fastest peer"], rows),
    )


def conformity(reference: Path = REFERENCE) -> Section:
    """IBSI-1's digital phantom: values within tolerance, by family and strength of consensus.

    Args:
        reference: IBSI's table of reference values.
    """
    from tests.support.ibsi import computed, three_digits

    with reference.open(encoding="utf-8-sig", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["reference value"]]
    counts: dict[tuple[str, str], list[int]] = {}
    values = computed()
    for row in rows:
        expected = float(row["reference value"])
        right = abs(three_digits(values[row["tag"]]) - expected) <= float(row["tolerance"]) + 1e-9 * abs(expected)
        cell = counts.setdefault((row["family"].split(" (")[0], row["consensus"]), [0, 0])
        cell[0] += right
        cell[1] += 1
    levels = {"≥ 10": "very strong", "6-9": "strong", "3-5": "moderate"}
    shown = []
    for family in dict.fromkeys(name for name, _ in counts):
        cells = [counts.get((family, level)) for level in levels]
        shown.append([family, *(f"{cell[0]}/{cell[1]}" if cell else "" for cell in cells)])
    right, total = (sum(cell[index] for cell in counts.values()) for index in (0, 1))
    return Section(
        "Radiomics: IBSI",
        f"all aggregations (2D, 2.5D, 3D; averaged and merged): {right} of {total} values within tolerance, by "
        "strength of consensus; the CT images of configurations A to E are not at hand",
        table(["family", *levels.values()], shown),
    )
