"""The verb `crop`: build the store, then show and hand out what it holds."""

from __future__ import annotations

from pathlib import Path

from mammo_aln.cohort.tables import read_cohort
from mammo_aln.config import CropConfig, PixelConfig
from mammo_aln.errors import InputError
from mammo_aln.imaging.audit import audit_crops
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
    proof_patients: int = 100,
    audit: float = 0.0,
    shard: tuple[int, int] | None = None,
    workers: int | None = None,
) -> Path:
    """Build what is missing; returns the folder that was asked for last (export, proof) or else the store.

    Args:
        cohort_folder: folder of the tables.
        pixels: how stored values become display values.
        crop: which crops.
        store: folder of the crop store; by default `.crops` in the cohort folder.
        proof: folder for contact sheets, worst crops first.
        export: folder for one NPY and one JSON per crop.
        proof_patients: at most so many patients are drawn.
        audit: share of the crops that is derived from the files once more and compared.
        shard: (3, 16) does the third of sixteen parts.
        workers: processes; by default one per core.
    """
    cohort = read_cohort(cohort_folder)
    crops = build_crops(cohort, pixels, crop, store=store, workers=workers, shard=shard)
    say(f"{len(crops.table)} crops of {crops.table['image_id'].nunique()} images; {len(crops.exclusions)} exclusions")
    for (region, reason), rows in crops.exclusions.groupby(["region", "reason"]):
        say(f"  excluded {len(rows)} x {region}: {reason}")
    if audit:
        compared = audit_crops(cohort, pixels, crop, share=audit, seed=0, store=store, workers=workers)
        say(f"audit: {compared} crops derived once more from their files, all equal")
    made = crops.store_path
    if proof:
        made = write_proof(cohort, crops, pixels, crop, proof, patients=proof_patients)
    if export:
        made = export_crops(crops, export)
    return made


def parse_shard(text: str) -> tuple[int, int]:
    """`3/16` as (3, 16); `InputError` for anything else."""
    number, slash, parts = text.partition("/")
    if not (slash and number.isdecimal() and parts.isdecimal()):
        raise InputError(f"--shard {text}: expected K/N, e.g. 3/16")
    return int(number), int(parts)
