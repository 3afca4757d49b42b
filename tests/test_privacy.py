"""No planted name, number, date, folder, host or user stands in a byte that a verb writes.

A cohort as a hospital would hand it out: something is planted in every text-valued tag of its DICOM files, in columns
that nobody declared, and in the machine's and the user's names. All verbs run; then every file, member of an archive
and word on the terminal is searched.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pydicom
import pytest
import yaml
from pydicom.datadict import DicomDictionary

from tests.support.tiny_settings import TINY

TEXT = ("PN", "LO", "SH", "ST", "LT", "UT", "UC", "AE", "UR", "CS")
READ = {
    "ImageType", "Modality", "ImageLaterality", "Laterality", "ViewPosition", "PatientOrientation",
    "PhotometricInterpretation", "PresentationIntentType", "SpecificCharacterSet", "Manufacturer", "BodyPartExamined",
    "ContrastBolusAgent", "ManufacturerModelName",
}  # fmt: skip
"""Tags that decide how an image is read, or say what made it: images.csv may repeat those."""
DAY, BORN, TIME = "20190317", "19370413", "131719"
PLANTED = re.compile(
    rb"zqsent|zqmrn|zqacc|zqhost|zquser|zqreason|2\.25\.777000"
    rb"|20190317|2019-03-17|17\.0?3\.2019|19370413|1937-04-13|13\.0?4\.1937|131719",
    re.IGNORECASE,
)
OWN_TABLES = ("co/patients.csv", "co/images.csv", "co/regions.csv")
"""What a user wrote into a cohort's tables stays there."""
WITH_PATHS = ("co/cohort.yaml", "written/jobs/", "sweeps/plan.json.bak")
"""Files that say where something lies: the images' folder, and what a job is to be started on."""
SETTINGS = {
    "model": {"backbone": "resnet50", "backbone_args": TINY["resnet50"], "embed_dim": 8},
    "crop": {"size_px": 64},
    "data": {"batch_size": 8, "num_workers": 0},
    "trainer": {"max_epochs": 2, "accelerator": "cpu"},
    "log": {"tracker": ["wandb", "tensorboard", "mlflow", "csv"], "wandb": "offline"},
}


def plant(source: Path, out: Path) -> None:
    """Copy DICOM files, something planted in each text tag that no pixel needs."""
    for number, path in enumerate(sorted(source.rglob("*.dcm"))):
        dataset = pydicom.dcmread(path)
        for tag, (vr, count, _, retired, keyword) in DicomDictionary.items():
            group = tag >> 16
            named = keyword and not retired and keyword not in READ and keyword not in dataset
            if named and vr in TEXT and count.startswith("1") and group not in (0, 2, 0x28) and group < 0x1000:
                text = f"ZQSENT{tag:08X}"
                dataset.add_new(tag, vr, f"http://{text}.example" if vr == "UR" else text)
        patient = path.parent.name
        dataset.PatientName, dataset.PatientID = f"ZqSent{number}^Erika", f"ZQMRN{patient}"
        dataset.AccessionNumber, dataset.SeriesDescription = f"ZQACC{number}", "ZqSentSeries"
        dataset.PatientBirthDate = BORN
        dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = DAY
        dataset.StudyTime, dataset.AcquisitionDateTime = TIME, DAY + TIME
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = (
            f"2.25.7770001{ord(patient[0])}{patient[1:]}",
            f"2.25.7770002{number}",
        )
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"2.25.7770003{number}"
        dataset.add_new(0x00090010, "LO", "ZqSentCreator")
        dataset.add_new(0x00091010, "LO", "ZqSentPrivate")
        copy = out / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(copy)


def fill(phantom: Path, cohort: Path, key: Path) -> None:
    """Fill in the tables that `index` left, with remarks that nobody declared."""
    number = pd.read_csv(key, dtype=str).drop_duplicates("patient_id").set_index("patient_id")["PatientID"]
    truth = pd.read_csv(phantom / "patients.csv", dtype=str).set_index("patient_id")
    patients = pd.read_csv(cohort / "patients.csv", dtype=str)[["patient_id"]]
    own = truth.loc[patients["patient_id"].map(number).str.removeprefix("ZQMRN")].reset_index(drop=True)
    patients = pd.concat([patients, own[["center", "side", "aln_status", "split", "age", "er", "her2", "ct"]]], axis=1)
    patients["surname"] = [f"ZqSentSurname{row}" for row in patients.index]
    patients["eligible"] = ["no", *["yes"] * (len(patients) - 1)]
    patients["exclusion_reason"] = ["ZqReason: Mrs Miller moved", *[""] * (len(patients) - 1)]
    patients.to_csv(cohort / "patients.csv", index=False)
    images = pd.read_csv(cohort / "images.csv", dtype=str)
    by_name = {Path(row.path).stem: row.image_id for row in images.itertuples()}
    images["seen_by"] = "ZqSentReader"
    second = images.duplicated("patient_id").idxmax()
    images.loc[second, ["eligible", "exclusion_reason"]] = ["no", "ZqReason: coil of Mrs Miller"]
    images.to_csv(cohort / "images.csv", index=False)
    regions = pd.read_csv(phantom / "regions.csv", dtype=str)
    regions = regions.assign(image_id=regions["image_id"].map(by_name), comment="ZqSentRegion")
    regions.to_csv(cohort / "regions.csv", index=False)
    declared = yaml.safe_load((cohort / "cohort.yaml").read_text())
    declared["clinical"] = yaml.safe_load((phantom / "cohort.yaml").read_text())["clinical"]
    (cohort / "cohort.yaml").write_text(yaml.safe_dump(declared))


class Hospital:
    """A machine and a user with names of their own, and what they see on the terminal."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen = folder, b""
        home = folder.parent / "zquser_home"
        home.mkdir()
        names = {"USER": "zquser", "LOGNAME": "zquser", "HOME": str(home), "HOSTNAME": "zqhost17"}
        self.environment = {**os.environ, **names, "PYTHONPATH": str(Path(__file__).parents[1])}
        renames = ["unshare", "--uts", "sh", "-c", 'hostname zqhost17 && exec "$@"', "sh"]
        can = shutil.which("unshare") and subprocess.run([*renames, "true"], capture_output=True, check=False)
        self.on = renames if can and can.returncode == 0 else []

    def run(self, *words: str) -> str:
        """Run a verb; give the last line of its standard output."""
        command = [*self.on, sys.executable, "-m", "mammo_aln", *words]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, check=False)
        self.seen += done.stdout + done.stderr
        assert done.returncode == 0, (words, done.stderr.decode())
        return done.stdout.decode().strip().rpartition("\n")[2]


def streams(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    yield name, content
    if content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                yield from streams(f"{name}!{member}", archive.read(member))
    if content[:2] == b"\x1f\x8b":
        yield from streams(f"{name}!gz", gzip.decompress(content))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_verb_writes_what_names_somebody(phantom: Path, tmp_path: Path) -> None:
    folder = tmp_path / "zqplace"
    folder.mkdir()
    plant(phantom / "dicom", folder / "dicom")
    (folder / "small.yaml").write_text(yaml.safe_dump(SETTINGS))
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**SETTINGS, "grid": {"crop.strategy": ["fixed_5cm", "tight"]}}))
    (folder / "sweep.yaml").write_text((folder / "sweep.yaml").read_text().replace("tight", "lesion_box"))
    small = ("--config", "small.yaml")
    at = Hospital(folder)
    at.run("index", "dicom", "--out", "co", "--key", str(tmp_path / "key.csv"))
    fill(phantom, folder / "co", tmp_path / "key.csv")
    at.run("check", "co")
    at.run("crop", "co", "--crop.size_px=64", "--proof", "proof", "--export", "npy")
    run = at.run("train", "co", "--out", "runs", *small)
    at.run("runs", "runs")
    at.run("lineage", run)
    at.run("predict", "--run", run, "--cohort", "co", "--split", "external_test", "--out", "external.csv")
    at.run("evaluate", "external.csv", "--run", run, "--cohort", "co", "--out", "evaluation")
    at.run("explain", "--run", run, "--cohort", "co", "--split", "val", "--out", "explained", "--drawn", "2")
    at.run("pretrain", "co", "--out", "before", *small, "--pretrain.labels=[her2]")
    at.run("sweep", "run", "sweep.yaml", "--cohort", "co", "--out", "sweeps", "--slots", "1")
    at.run("sweep", "collect", "--out", "sweeps", "--test")
    at.run("sweep", "write", "sweep.yaml", "--cohort", "co", "--out", "written", "--engine", "ray")
    at.run("radiomics", "extract", "co", "--out", "features")
    at.run("scrub", run, "--out", "scrubbed")
    written = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_relative_to(folder / "dicom")
    }
    written["terminal"] = at.seen
    assert len(written) > 100
    planted, placed = {}, {}
    for file, content in written.items():
        for name, stream in streams(file, content):
            if file not in OWN_TABLES and (hits := set(PLANTED.findall(stream))):
                planted[name] = hits
        if hits := set(PLANTED.findall(os.fsencode(file))):
            planted[f"name of {file}"] = hits
            if not file.startswith((*WITH_PATHS, "terminal")) and os.fsencode(tmp_path) in stream:
                placed[name] = True
    assert not planted
    assert not placed
