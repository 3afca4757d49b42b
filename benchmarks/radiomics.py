"""Radiomics: seconds per region against the libraries that install with plain pip, and the IBSI table.

Writes two sections of docs/benchmarks.md. Every library computes first order, shape, GLCM, GLRLM, GLSZM and NGTDM (and
GLDZM, NGLDM where it has them), 32 grey levels, one process, one thread; the best of several runs in one go.
"""

from __future__ import annotations

import csv
import importlib.util
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from threadpoolctl import threadpool_limits

from benchmarks.notes import machine, replace_section
from mammo_aln.radiomics.extraction.features import radiomic_features
from mammo_aln.settings import RadiomicsConfig

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
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
        table = mirp.extract_features(
            image=image,
            mask=region.astype(int),
            by_slice=flat,
            glcm_spatial_method=how,
            glrlm_spatial_method=how,
            base_discretisation_method="fixed_bin_number",
            base_discretisation_n_bins=32,
            base_feature_families=families,
        )[0]
        return sum(name.split("_")[0] in ("stat", "cm", "rlm", "szm", "dzm", "ngt", "ngl") for name in table.columns)

    return run


def by_flash(case: Case) -> Callable[[], int]:
    import SimpleITK as sitk
    from flash_radiomics import featureextractor

    array, mask, spacing = case
    image, region = sitk.GetImageFromArray(array), sitk.GetImageFromArray(mask.astype(np.uint8))
    for one in (image, region):
        one.SetSpacing(tuple(spacing)[::-1])
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


def best_of(run: Callable[[], int], runs: int = 5, most_s: float = 60.0) -> tuple[float, int]:
    """Fewest seconds of CPU of a call after one to warm up, and how many features it gave."""
    count = run()
    times: list[float] = []
    begun = time.monotonic()
    while len(times) < runs and (not times or time.monotonic() - begun < most_s):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times), count


def speed() -> str:
    peers = {name: make for name, (module, make) in PEERS.items() if importlib.util.find_spec(module)}
    lines = [
        "| region | ours | ours + LoG + wavelet | " + " | ".join(peers) + " | ours / fastest peer |",
        "|---" * (4 + len(peers)) + "|",
    ]
    for title, case in cases().items():
        own, many = best_of(ours(case, ("original",))), best_of(ours(case, ("original", "log", "wavelet")))
        found: dict[str, tuple[float, int]] = {}
        for name, make in peers.items():
            print(f"{title}: {name}", file=sys.stderr)
            found[name] = best_of(make(case))
        cells = [f"{seconds:.3f} s ({count} features)" for seconds, count in (own, many, *found.values())]
        ratio = f"{own[0] / min(seconds for seconds, _ in found.values()):.2f}" if found else "-"
        lines.append(f"| {title} | " + " | ".join(cells) + f" | {ratio} |")
    absent = [name for name in PEERS if name not in peers]
    note = f" Not installed here: {', '.join(absent)}." if absent else ""
    return (
        f"`python -m benchmarks radiomics`: CPU seconds, best of 5 in one run, one thread.{note} {machine()}.\n\n"
        + "\n".join(lines)
    )


def conformity(table: Path) -> str:
    from tests.support.ibsi import computed, three_digits

    with table.open(encoding="utf-8-sig", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["reference value"]]
    counts: dict[tuple[str, str], list[int]] = {}
    found = computed()
    for row in rows:
        reference = float(row["reference value"])
        right = abs(three_digits(found[row["tag"]]) - reference) <= float(row["tolerance"]) + 1e-9 * abs(reference)
        cell = counts.setdefault((row["family"].split(" (")[0], row["consensus"]), [0, 0])
        cell[0] += right
        cell[1] += 1
    levels = {"≥ 10": "very strong", "6-9": "strong", "3-5": "moderate"}
    lines = ["| family | " + " | ".join(levels.values()) + " |", "|---" * (1 + len(levels)) + "|"]
    for family in dict.fromkeys(name for name, _ in counts):
        cells = [counts.get((family, level)) for level in levels]
        lines.append(f"| {family} | " + " | ".join(f"{c[0]}/{c[1]}" if c else "" for c in cells) + " |")
    total = [sum(cell[place] for cell in counts.values()) for place in (0, 1)]
    return (
        f"IBSI-1 digital phantom, all aggregations (2D, 2.5D, 3D; averaged and merged): {total[0]} of {total[1]} values"
        " within tolerance, by strength of consensus. The CT images of configurations A to E are not at hand.\n\n"
        + "\n".join(lines)
    )


def main() -> None:
    logging.disable(logging.INFO)
    with threadpool_limits(1):
        replace_section(PAGE, "Radiomics: seconds per region", speed())
    table = ROOT.parent / "shared/data/ibsi/ibsi_1_reference_values_digital_phantom.csv"
    if table.is_file():
        replace_section(PAGE, "Radiomics: IBSI", conformity(table))


if __name__ == "__main__":
    main()
