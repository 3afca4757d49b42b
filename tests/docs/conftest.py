"""What the pages' commands find beside them: cohorts, a trained run, predictions, all small."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.messy_export import Export, write_messy_export
from tests.support.run_folders import linked_copy

HERE = Path(__file__).parent


class Beginnings:
    """Folders that pages start with, each made at its first use and copied for every page."""

    def __init__(self, phantom: Path, folder: Path) -> None:
        self.phantom, self.folder = phantom, folder
        self.export: Export | None = None
        self.environment = {
            **os.environ,
            # A page says `python`: this environment's, whatever the caller's shell would find.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(HERE.parents[1]),
            "PHANTOM": str(phantom),
            "TINY": str(HERE / "tiny.yaml"),
            "FILL": str(HERE / "fill_tables.py"),
            "OMP_NUM_THREADS": "1",
            "WANDB_MODE": "disabled",
        }

    def put(self, name: str, page: Path) -> None:
        makers: dict[str, Callable[[Path], None]] = {
            "DICOM_DIR": self._dicom_dir,
            "COHORT": self._cohort,
            "OTHER_COHORT": self._other_cohort,
            "SCREENING": self._cohort,
            "runs": self._runs,
            "external.csv": self._predictions,
            "VOLUMES": self._volumes,
            "OTHER_VOLUMES": self._other_volumes,
            "EXPORT": self._export,
            "clinic.xlsx": self._export,
            "boxes.csv": self._export,
        }
        if not (self.folder / name).exists():
            makers[name](self.folder / name)
        source = self.folder / name
        if source.is_dir():
            shutil.copytree(source, page / name, symlinks=True)
        else:
            for file in source.parent.glob(f"{source.stem}.*"):
                shutil.copy(file, page)

    def _verb(self, *words: object) -> None:
        command = [sys.executable, "-m", "mammo_aln", *map(str, words)]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, env=self.environment)

    def _dicom_dir(self, out: Path) -> None:
        out.mkdir()
        for patient in self.phantom.glob("dicom/*/*"):
            (out / patient.name).symlink_to(patient)

    def _cohort(self, out: Path) -> None:
        linked_copy(self.phantom, out)
        declared = (out / "cohort.yaml").read_text()
        (out / "cohort.yaml").write_text(declared.replace("name: ", f"name: {out.name}-", 1))

    def _other_cohort(self, out: Path) -> None:
        """The external centre alone, without a split, as another hospital would send it."""
        import pandas as pd

        self._cohort(out)
        patients = pd.read_csv(out / "patients.csv", dtype=str)
        patients = patients[patients["split"] == "external_test"].drop(columns="split")
        images = pd.read_csv(out / "images.csv", dtype=str)
        images = images[images["patient_id"].isin(patients["patient_id"])]
        regions = pd.read_csv(out / "regions.csv", dtype=str)
        regions = regions[regions["image_id"].isin(images["image_id"])]
        for name, table in {"patients": patients, "images": images, "regions": regions}.items():
            table.to_csv(out / f"{name}.csv", index=False)

    def _runs(self, out: Path) -> None:
        if not (self.folder / "COHORT").exists():
            self._cohort(self.folder / "COHORT")
        self._verb("train", "COHORT", "--out", out, "--config", self.environment["TINY"])
        (run,) = out.iterdir()
        (out / "RUN_ID").symlink_to(run.name)

    def _predictions(self, out: Path) -> None:
        if not (self.folder / "runs").exists():
            self._runs(self.folder / "runs")
        words = ("--split", "external_test", "--out", out, "--ledger", self.folder / "ledger.jsonl")
        self._verb("predict", "--run", self.folder / "runs" / "RUN_ID", "--cohort", "COHORT", *words)

    def _export(self, out: Path) -> None:
        """The archive's folder; the spreadsheet and the boxes lie beside it."""
        hospital = self.folder / "hospital"
        self._verb("phantom", "--patients", 100, "--centers", 3, "--out", hospital)
        export = write_messy_export(hospital, self.folder / "messy")
        for name, source in {"EXPORT": export.dicom, "clinic.xlsx": export.clinic, "boxes.csv": export.boxes}.items():
            source.rename(self.folder / name)
        self.export = replace(export, boxes=self.folder / "boxes.csv")

    def _volumes(self, out: Path) -> None:
        self._verb("phantom", "--modality", "mri", "--patients", 24, "--centers", 2, "--out", out)

    def _other_volumes(self, out: Path) -> None:
        import pandas as pd

        self._verb("phantom", "--modality", "mri", "--patients", 24, "--centers", 2, "--seed", 9, "--out", out)
        declared = (out / "cohort.yaml").read_text()
        (out / "cohort.yaml").write_text(declared.replace("name: ", "name: other-", 1))
        patients = pd.read_csv(out / "patients.csv", dtype=str).drop(columns="split")
        patients.to_csv(out / "patients.csv", index=False)


@pytest.fixture(scope="session")
def beginnings(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Beginnings:
    return Beginnings(phantom, tmp_path_factory.mktemp("beginnings"))
