"""The verb `crop`: build the store, then show and hand out what it holds."""

from __future__ import annotations

from pathlib import Path

from mammo_aln.cohort.tables import read_cohort
from mammo_aln.config import CropConfig, PixelConfig
from mammo_aln.imaging.export import export_crops
from mammo_aln.imaging.proof import write_proof
from mammo_aln.imaging.store_build import build_crops
from mammo_aln.progress import say


def crop_cohort(
    cohort_folder: Path,
    pixels: PixelConfig,
    crop: CropConfig,
    *,
    store: Path | None = None,
    proof: Path | None = None,
    export: Path | None = None,
    workers: int | None = None,
) -> Path:
    """Build what is missing; returns the folder that was asked for last (export, proof) or else the store."""
    cohort = read_cohort(cohort_folder)
    crops = build_crops(cohort, pixels, crop, store=store, workers=workers)
    say(f"{len(crops.table)} crops of {crops.table['image_id'].nunique()} images; {len(crops.exclusions)} exclusions")
    for row in crops.exclusions.head(20).itertuples():
        say(f"  excluded: {row.image_id} {row.region}: {row.reason}")
    made = crops.store_path
    if proof:
        made = write_proof(cohort, crops, pixels, crop, proof)
    if export:
        made = export_crops(crops, export)
    return made
