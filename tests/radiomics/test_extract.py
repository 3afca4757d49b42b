"""`radiomics extract`: a whole cohort, resumed, parallel, told in provenance."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from mammo_aln.errors import InputError
from mammo_aln.inference.lineage import lineage_of
from mammo_aln.radiomics.extraction import extract
from mammo_aln.radiomics.extraction.extract import extract_features
from mammo_aln.settings import RadiomicsConfig

QUICK = RadiomicsConfig(families=("stat", "morph", "cm"), filters=("original",))


@pytest.fixture(scope="module")
def small(mri_phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patients of the phantom."""
    folder = tmp_path_factory.mktemp("small") / "cohort"
    folder.mkdir()
    keep = ["A0001", "A0002", "B0001", "B0002"]
    for name in ("patients", "volumes"):
        table = pd.read_csv(mri_phantom / f"{name}.csv", dtype=str)
        table[table["patient_id"].isin(keep)].to_csv(folder / f"{name}.csv", index=False)
    shutil.copy(mri_phantom / "cohort.yaml", folder)
    (folder / "mri").symlink_to(mri_phantom / "mri")
    return folder


@pytest.fixture(scope="module")
def table(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extract_features(small, tmp_path_factory.mktemp("out") / "features.csv", QUICK, workers=1)


def test_a_row_per_patient_and_only_feature_columns(table: Path) -> None:
    features = pd.read_csv(table, dtype={"patient_id": str})
    assert list(features["patient_id"]) == ["A0001", "A0002", "B0001", "B0002"]
    assert all(name.startswith(("radiomics_", "deep_")) for name in features.columns[1:])
    # a change relative to zero is not defined
    assert features.loc[:, ~features.columns.str.contains("relative")].notna().all(axis=None)


def test_the_table_tells_its_lineage(table: Path) -> None:
    assert [source.name for source in lineage_of(table)] == ["a cohort whose cohort.yaml states no dataset"]


def test_values_are_those_of_the_files(table: Path, small: Path) -> None:
    features = pd.read_csv(table).set_index("patient_id")
    provenance = pd.read_csv(table.with_suffix(".provenance.csv"))
    assert provenance["patient_id"].nunique() > 1
    assert provenance["settings_key"].nunique() == 1  # whosever image it is, wherever it lies
    folder = small / "mri/center_a/A0001/post"
    adc = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "adc.nii.gz")))
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "mask.nii.gz")))
    # adc has a unit, so nothing rescales it
    assert features.at["A0001", "radiomics_post_adc_node_original_stat_mean"] == pytest.approx(adc[mask == 2].mean())
    volume = (mask == 1).sum() * 2.5 * 1.5 * 1.5
    assert features.at["A0001", "radiomics_post_adc_lesion_shape_morph_vol_approx"] == pytest.approx(volume)
    row = provenance[(provenance["patient_id"] == "A0001") & (provenance["place"] == "post_adc")].set_index("region")
    assert row.at["lesion", "volume_mm3"] == pytest.approx(volume)


def test_delta_is_post_minus_pre(table: Path) -> None:
    features = pd.read_csv(table)
    rest = "t2w_lesion_shape_morph_volume"
    pre, post = features[f"radiomics_pre_{rest}"], features[f"radiomics_post_{rest}"]
    np.testing.assert_allclose(features[f"radiomics_delta_{rest}"], post - pre)
    np.testing.assert_allclose(features[f"radiomics_relative_{rest}"], (post - pre) / pre)


def test_a_region_that_is_gone_after_nat_has_volume_0_and_says_so(small: Path, table: Path, tmp_path: Path) -> None:
    shutil.copytree(small, tmp_path / "gone", symlinks=False)
    image = sitk.ReadImage(str(tmp_path / "gone/mri/center_a/A0002/post/mask.nii.gz"))
    sitk.WriteImage(image * 0, str(tmp_path / "gone/mri/center_a/A0002/post/mask.nii.gz"))
    after = pd.read_csv(extract_features(tmp_path / "gone", tmp_path / "features.csv", QUICK, workers=1))
    after, before = (rows.set_index("patient_id") for rows in (after, pd.read_csv(table)))
    flags = [name for name in after if name.endswith("_shape_absent")]
    assert {name.split("_")[1] for name in flags} == {"post"}
    assert len(flags) == 3 * 2  # sequences, regions
    gone = after.loc["A0002", flags]
    assert (gone == 1.0).all()
    assert (after.drop("A0002")[flags] == 0.0).all(axis=None)
    assert (before[flags] == 0.0).all(axis=None)
    volume = "t2w_lesion_shape_morph_volume"
    assert after.loc["A0002", f"radiomics_post_{volume}"] == 0.0
    assert after.loc["A0002", f"radiomics_delta_{volume}"] == -before.loc["A0002", f"radiomics_pre_{volume}"]
    assert after.loc["A0002", f"radiomics_relative_{volume}"] == -1.0
    assert np.isnan(after.loc["A0002", "radiomics_post_t2w_lesion_original_stat_mean"])


def test_workers_and_resumption_change_nothing(small: Path, table: Path, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "features.csv"
    done = 0
    whole = extract.write_text

    def killed(path, text):
        nonlocal done
        done += 1
        if done > 9:
            raise KeyboardInterrupt
        whole(path, text)

    monkeypatch.setattr(extract, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        extract_features(small, out, QUICK, workers=1)
    assert not out.exists()
    monkeypatch.setattr(extract, "write_text", whole)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / ".features.parts").iterdir()}
    assert len(kept) == 9
    extract_features(small, out, QUICK, workers=2)
    assert out.read_bytes() == table.read_bytes()
    assert all(path.stat().st_mtime_ns == before for path, before in kept.items())
    assert json.loads(out.with_suffix(".json").read_text())["settings"]["families"] == ["stat", "morph", "cm"]


def test_missing_files_are_listed_together(small: Path, tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    for name in ("patients.csv", "volumes.csv", "cohort.yaml"):
        shutil.copy(small / name, cohort)
    with pytest.raises(InputError, match=r"32 files of volumes\.csv are missing"):
        extract_features(cohort, tmp_path / "features.csv", QUICK)
    assert not (tmp_path / "features.csv").exists()


def test_the_verb_prints_the_table(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mammo_aln.cli import main

    out = tmp_path / "f.csv"
    words = ["radiomics", "extract", str(small), "--out", str(out), "--workers=1"]
    words += ["--radiomics.families=[stat]", "--radiomics.filters=[original]", "--radiomics.delta=false"]
    assert main(words) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert len(pd.read_csv(out).columns) == 1 + 2 * 3 * 2 * 18


def test_other_voxels_after_nat_are_named_until_both_are_resampled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng, rows = np.random.default_rng(2), []
    for timepoint, sequence, step in (
        ("pre", "t2w", 2.0),
        ("post", "t2w", 2.5),
        ("pre", "adc", 2.0),
        ("post", "adc", 2.01),
    ):
        mask = np.zeros((12, 12, 12), np.uint8)
        mask[3:9, 3:9, 3:9] = 1
        for name, array in (("image", rng.normal(size=mask.shape).astype(np.float32)), ("mask", mask)):
            image = sitk.GetImageFromArray(array)
            image.SetSpacing((1.0, 1.2, step))
            sitk.WriteImage(image, str(tmp_path / f"{timepoint}_{sequence}_{name}.nii.gz"))
        paths = (f"{timepoint}_{sequence}_{name}.nii.gz" for name in ("image", "mask"))
        rows.append(("p1", timepoint, sequence, *paths))
    pd.DataFrame(rows, columns=["patient_id", "timepoint", "sequence", "image_path", "mask_path"]).to_csv(
        tmp_path / "volumes.csv", index=False
    )
    pd.DataFrame([{"patient_id": "p1", "aln_status": 1, "center": "a"}]).to_csv(tmp_path / "patients.csv", index=False)
    extract_features(tmp_path, tmp_path / "f.csv", QUICK, workers=1)
    told = capsys.readouterr().err
    assert "patient p1, t2w, lesion: voxels of 2 x 1.2 x 1 mm before NAT, of 2.5 x 1.2 x 1 mm after it" in told
    assert "set radiomics.spacing_mm" in told
    assert "adc" not in told  # half a per cent apart
    notes = pd.read_csv(tmp_path / "f.provenance.csv").set_index("place")["notes"]
    assert notes["post_t2w"] == "other_grid_than_pre"
    assert notes.isna().sum() == 3
    extract_features(tmp_path, tmp_path / "g.csv", replace(QUICK, spacing_mm=(1.5,)), workers=1)
    assert "before NAT" not in capsys.readouterr().err
