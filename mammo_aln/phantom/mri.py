"""A longitudinal MRI cohort whose outcome is known: before and after NAT, three sequences, lesion and node masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.fft import fftfreq, irfftn, rfftfreq, rfftn

from mammo_aln.files import folder_whole, write_csv
from mammo_aln.machine.pool import results_of
from mammo_aln.phantom import mri_truth
from mammo_aln.phantom.mammography import CLINICAL, declare
from mammo_aln.phantom.plan import center_sizes, draw_labels, enrol
from mammo_aln.phantom.truth import Floats
from mammo_aln.progress import track

Labels = NDArray[np.uint8]
VolumeRow = tuple[str, str, str, str, str, str, int]
VOLUME_COLUMNS = ["patient_id", "timepoint", "sequence", "image_path", "mask_path", "region", "mask_label"]
SHAPE = (24, 48, 48)
SPACING_MM = (2.5, 1.5, 1.5)
"""Slices, rows, columns."""
TIMEPOINTS = ("pre", "post")
SEQUENCES: dict[str, tuple[float, float, float]] = {
    # sequence: intensity of tissue, lesion above it, node above it; ADC in 1e-6 mm2/s, the others arbitrary
    "t2w": (300.0, 220.0, 160.0),
    "adc": (1700.0, -600.0, -500.0),
    "dce": (250.0, 400.0, 300.0),
}
REGIONS = {"lesion": 1, "node": 2}
LESION_AT, NODE_AT = (0.5, 0.55, 0.42), (0.5, 0.22, 0.78)
TEXTURE_SHARE = 0.5
"""Standard deviation of the lesion's texture as a share of its contrast, before response changes it."""


@dataclass(frozen=True)
class Patient:
    """One patient to draw: the factors that the scans show, and the seed of all else."""

    patient_id: str
    center: str
    center_index: int
    non_response: float
    handedness: float
    seed: tuple[int, int, int]


def write_mri_phantom(
    out: str | Path,
    *,
    patients: int = 254,
    centers: int = 2,
    seed: int = 0,
    external_patients: int | None = None,
    shuffle_labels: bool = False,
    workers: int | None = None,
) -> Path:
    """Write a cohort folder of synthetic longitudinal breast MRI with the truth beside it.

    Args:
        out: folder to make; it appears when all is written. An empty folder is taken over.
        patients: patients in all.
        centers: centres, each with its own scanner; the last one is the external test, the others train.
        seed: the same seed gives the same files, whatever the number of workers.
        external_patients: patients of the external centre; by default as many as the others have.
        shuffle_labels: labels that depend on nothing: every Bayes AUC is 0.5.
        workers: processes; by default one per core.

    Returns:
        The cohort folder: `cohort.yaml`, `patients.csv`, `volumes.csv`, `mri/`; `truth.csv` (per patient: the factors,
        the probability that generated the label, and for every subset of `clinical`, `radiomics`, `deep` the best
        probability and the Bayes AUC); `bayes_auc.csv` (inputs, bayes_auc).

    Raises:
        InputError: too few patients or centres, or `out` holds something.
    """
    strength = 0.0 if shuffle_labels else 1.0
    table = _plan(center_sizes(patients, centers, external_patients), seed, strength)
    shown = table[["patient_id", "center", "center_index", "non_response", "handedness"]]
    factors = shown.itertuples(index=False, name=None)
    scanned = [
        Patient(patient_id, center, center_index, non_response, handedness, (seed, 1, number))
        for number, (patient_id, center, center_index, non_response, handedness) in enumerate(factors)
    ]
    with folder_whole(Path(out)) as folder:
        written = results_of(partial(_write_patient, folder=folder), scanned, workers)
        rows = sorted(track(written, total=patients, what="MRI phantom", unit="patient"), key=itemgetter(0))
        volumes = [row for _, of_patient in rows for row in of_patient]
        _write_tables(folder, table, volumes, strength)
    return Path(out)


def _plan(sizes: list[int], seed: int, strength: float) -> pd.DataFrame:
    rng = np.random.default_rng([seed, 0])
    table = enrol(sizes)
    table = table.join(mri_truth.draw_factors(table["center"].tolist(), rng).drop(columns="center"))
    table["probability"] = mri_truth.probability(table, strength)
    external = table["external"].to_numpy(bool)
    table["aln_status"] = draw_labels(table["probability"].to_numpy(float), external, rng)
    table["split"] = np.where(external, "external_test", "train")
    return table


def oblique_noise(rng: np.random.Generator, handed: float) -> Floats:
    """Noise of unit variance whose grain lies along one diagonal of the slice or the other.

    Args:
        rng: draws the noise.
        handed: -1 all along one diagonal, 1 all along the other, 0 both alike; the opposite value is the mirror image.
    """
    z, y, x = np.meshgrid(fftfreq(SHAPE[0]), fftfreq(SHAPE[1]), rfftfreq(SHAPE[2]), indexing="ij", sparse=True)
    grains = []
    for sign in (1.0, -1.0):
        across, along = (x + sign * y) / np.sqrt(2.0), (x - sign * y) / np.sqrt(2.0)
        # a band of wavelengths around 5 pixels across the grain, long along it
        gain = np.exp(-((np.abs(across) - 0.2) ** 2) / (2 * 0.05**2) - along**2 / (2 * 0.04**2) - z**2 / (2 * 0.2**2))
        noise = irfftn(rfftn(rng.normal(size=SHAPE)) * gain, SHAPE)
        grains.append(noise / noise.std())
    return np.asarray(np.sqrt((1 + handed) / 2) * grains[0] + np.sqrt((1 - handed) / 2) * grains[1])


def _smooth_noise(rng: np.random.Generator, width: float) -> Floats:
    z, y, x = np.meshgrid(fftfreq(SHAPE[0]), fftfreq(SHAPE[1]), rfftfreq(SHAPE[2]), indexing="ij", sparse=True)
    noise = irfftn(rfftn(rng.normal(size=SHAPE)) * np.exp(-2 * (np.pi * width) ** 2 * (x**2 + y**2 + z**2)), SHAPE)
    return np.asarray(noise / noise.std())


def _ellipsoid(rng: np.random.Generator, centre: tuple[float, ...], axes: Floats) -> Floats:
    """Distance from the centre in units of the surface's, for a lobulated ellipsoid: inside is below 1."""
    grid = np.meshgrid(*(np.arange(side) for side in SHAPE), indexing="ij", sparse=True)
    away = [
        (index - share * side) * step / axis
        for index, share, side, step, axis in zip(grid, centre, SHAPE, SPACING_MM, axes, strict=True)
    ]
    return np.asarray(np.sqrt(sum(axis**2 for axis in away)) * (1.0 + 0.05 * _smooth_noise(rng, 3.0)))


def draw_scans(patient: Patient, rng: np.random.Generator) -> dict[str, tuple[dict[str, Floats], Labels]]:
    """Both scans of a patient: time point -> (sequence -> intensities, labels 0, 1 lesion, 2 node)."""
    lesion_mm, node_mm = float(np.clip(rng.normal(13.0, 2.5), 8, 19)), float(np.clip(rng.normal(7.0, 1.2), 4.5, 10))
    lesion_axes, node_axes = (radius * np.exp(rng.normal(0.0, 0.12, 3)) for radius in (lesion_mm, node_mm))
    heterogeneity = float(np.exp(rng.normal(0.0, 0.15)))
    handed = float(np.tanh(patient.handedness))
    scanner = float(np.exp(0.25 * patient.center_index))
    scans = {}
    for timepoint in TIMEPOINTS:
        # of non-response, size shows one half and texture the other, each with noise of its own
        after = timepoint == "post"
        kept = np.exp(0.16 * patient.non_response - 0.35 + rng.normal(0.0, 0.03)) if after else 1.0
        faded = np.exp(0.20 * patient.non_response - 0.2 + rng.normal(0.0, 0.06)) if after else 1.0
        inside = _ellipsoid(rng, LESION_AT, np.maximum(lesion_axes * kept, 4.0))
        node = _ellipsoid(rng, NODE_AT, np.maximum(node_axes * kept * float(np.exp(rng.normal(0.0, 0.08))), 3.5))
        labels = np.where(inside < 1, 1, np.where(node < 1, 2, 0)).astype(np.uint8)
        texture = oblique_noise(rng, handed)
        scans[timepoint] = (
            {
                name: _intensities(rng, contrast, inside, node, heterogeneity * faded * texture)
                * (1.0 if name == "adc" else scanner * float(np.exp(rng.normal(0.0, 0.1))))
                for name, contrast in SEQUENCES.items()
            },
            labels,
        )
    return scans


def _intensities(
    rng: np.random.Generator, contrast: tuple[float, float, float], inside: Floats, node: Floats, texture: Floats
) -> Floats:
    tissue, lesion, of_node = contrast

    def soft(distance: Floats) -> Floats:
        return np.asarray(np.clip((1.0 - distance) / 0.15 + 0.5, 0.0, 1.0))

    background = tissue * (1.0 + 0.10 * _smooth_noise(rng, 2.0) + 0.04 * rng.normal(size=SHAPE))
    brightness = float(np.exp(rng.normal(0.0, 0.1)))
    return np.asarray(
        background
        + soft(inside) * lesion * brightness * (1.0 + TEXTURE_SHARE * texture)
        + soft(node) * of_node * brightness
    )


def _write_patient(patient: Patient, folder: Path) -> list[VolumeRow]:
    """Draw and write one patient's scans; rows of volumes.csv."""
    ending = ("nii.gz", "nrrd")[patient.center_index % 2]
    rows: list[VolumeRow] = []
    for timepoint, (sequences, labels) in draw_scans(patient, np.random.default_rng(patient.seed)).items():
        scan = f"mri/{patient.center}/{patient.patient_id}/{timepoint}"
        (folder / scan).mkdir(parents=True)
        _write(folder / f"{scan}/mask.{ending}", labels)
        for sequence, intensities in sequences.items():
            _write(folder / f"{scan}/{sequence}.{ending}", np.clip(np.rint(intensities), 0, 32767).astype(np.int16))
            paths = f"{scan}/{sequence}.{ending}", f"{scan}/mask.{ending}"
            rows += [(patient.patient_id, timepoint, sequence, *paths, *region) for region in REGIONS.items()]
    return rows


def _write(path: Path, array: np.ndarray) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING_MM[::-1])
    sitk.WriteImage(image, str(path), useCompression=True)


def _write_tables(folder: Path, table: pd.DataFrame, volumes: list[VolumeRow], strength: float) -> None:
    declare(folder, "mri_phantom")
    write_csv(folder / "patients.csv", table[["patient_id", "center", "aln_status", "split", *CLINICAL]])
    write_csv(folder / "volumes.csv", pd.DataFrame(volumes, columns=VOLUME_COLUMNS))
    truth = table[["patient_id", "center", "split", "aln_status", "probability"]].copy()
    best = {"+".join(subset): mri_truth.bayes_auc(subset, strength) for subset in mri_truth.SUBSETS}
    for subset in mri_truth.SUBSETS:
        truth[f"probability_{'+'.join(subset)}"] = mri_truth.posterior(subset, table, strength)
    for inputs, auc in best.items():
        truth[f"bayes_auc_{inputs}"] = auc
    factors = table[["non_response", "handedness", *CLINICAL]]
    write_csv(folder / "truth.csv", pd.concat([truth, factors], axis=1))
    write_csv(folder / "bayes_auc.csv", pd.DataFrame({"inputs": list(best), "bayes_auc": list(best.values())}))
