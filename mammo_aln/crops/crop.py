"""The verb `crop`: build the store, then show and hand out what it holds."""

from __future__ import annotations

from pathlib import Path

from mammo_aln.cohort.selection import undated_images
from mammo_aln.cohort.tables import Cohort, read_cohort
from mammo_aln.crops.audit import audit_crops
from mammo_aln.crops.build import build_crops
from mammo_aln.crops.export import export_crops
from mammo_aln.crops.keys import CropJob
from mammo_aln.crops.proof.proof import write_proof
from mammo_aln.crops.provenance import fallback_counts, in_words
from mammo_aln.crops.unused import unused_words
from mammo_aln.errors import InputError
from mammo_aln.machine.slurm import require_controller
from mammo_aln.machine.slurm_ends import await_jobs, end_in_words
from mammo_aln.machine.slurm_jobs import RequeuedJob, submit
from mammo_aln.progress import say
from mammo_aln.settings import ClusterConfig, CropConfig, PixelConfig

NEEDED = ("patients", "images")
"""Tables without which nothing can be cropped; the whole breast, and the axilla of an MLO view, need no box."""


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
    slurm: int | None = None,
    cluster: ClusterConfig = ClusterConfig(),
) -> Path:
    """Build what is missing; returns the folder that was asked for last (export, proof) or else the store.

    The verb `crop` explains the rest:

    Args:
        proof_patients: at most so many patients are drawn, worst crops first.
        shard: (3, 16) does the third of sixteen parts.
    """
    cohort = read_cohort(cohort_folder, need=NEEDED, outcome=False)
    if slurm:
        job = CropJob(pixels, crop, (store or cohort.root / ".crops").absolute())
        _build_on_slurm(cohort, job, workers, slurm, cluster)
    crops = build_crops(cohort, pixels, crop, store=store, workers=workers, shard=shard)
    cropped = crops.table["image_id"].nunique()
    say(f"{len(crops.table)} crops of {cropped} images; {len(crops.exclusions)} exclusions")
    if shard is None and (unused := unused_words(cohort, crops)):
        say(f"  {unused}")
    if shard is None and (undated := undated_images(cohort)):
        say(f"  {undated} images have no days in images.csv: nothing says that they are before NAT; index again")
    for (region, reason), rows in crops.exclusions.groupby(["region", "reason"]):
        say(f"  excluded {len(rows)} x {region}: {reason}")
    for code, count in fallback_counts(crops).items():
        say(f"  {count} of {cropped} images: {in_words(code)} ({code})")
    if audit:
        compared = audit_crops(cohort, crops.job, share=audit, workers=workers)
        say(f"audit: {compared} crops derived once more from their files, all equal")
    folder = crops.job.store
    if proof:
        folder = write_proof(cohort, crops, proof, patients=proof_patients)
    if export:
        folder = export_crops(crops, export, cohort.sources)
    return folder


class ShardJob(RequeuedJob):
    """One part of a cohort's crops as a SLURM job; requeued, it makes what is missing."""

    def __init__(self, cohort_folder: Path, job: CropJob, workers: int | None, shard: tuple[int, int]) -> None:
        self.cohort_folder, self.job, self.workers, self.shard = cohort_folder, job, workers, shard

    def work(self) -> int:
        """Build the part; returns its number of crops."""
        cohort, job = read_cohort(self.cohort_folder, need=NEEDED, outcome=False), self.job
        crops = build_crops(cohort, job.pixels, job.crop, store=job.store, workers=self.workers, shard=self.shard)
        return len(crops.table)


def _build_on_slurm(cohort: Cohort, job: CropJob, workers: int | None, jobs: int, cluster: ClusterConfig) -> None:
    """Build parts in parallel on one store; what a lost job left out the caller's own pass over all images makes."""
    shards = [ShardJob(cohort.root.absolute(), job, workers, (number, jobs)) for number in range(1, jobs + 1)]
    require_controller()
    ids = submit(shards, job.store / "slurm", "mammo-aln-crop", cluster)
    say(f"{len(ids)} of {jobs} jobs submitted: {ids[0]} to {ids[-1]}")
    for number, end in await_jobs(ids, "crop jobs", cluster.poll_s).items():
        if end is None or end.state != "COMPLETED":
            say(f"SLURM job {number} {end_in_words(end, cluster)}; what it has left out is built here")


def parse_shard(text: str) -> tuple[int, int]:
    """Read `3/16` as (3, 16); `InputError` for anything else."""
    number, slash, shards = text.partition("/")
    if not (slash and number.isdecimal() and shards.isdecimal()):
        raise InputError(f"--shard {text}: expected K/N, e.g. 3/16")
    return int(number), int(shards)
