"""Public mammography sets: real tables where they are at hand, else small files shaped as their owners describe."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from mammo_aln.cli import main
from mammo_aln.cohort.check import check_cohort
from mammo_aln.cohort.datasets.catalogue import DATASETS, import_tables
from mammo_aln.cohort.selection import used_images
from mammo_aln.cohort.tables import Cohort, image_path, read_cohort
from mammo_aln.dicom.fast_header import Excluded, read_header
from mammo_aln.dicom.mammogram import judge
from mammo_aln.errors import InputError
from tests.support.dicom_writer import code, write_dicom

DATA = Path(__file__).parent / "data"
CBIS = "{}_case_description_{}_set.csv"


def imported(name: str, source: Path, out: Path, **more: float) -> Cohort:
    return read_cohort(import_tables(name, source, out, **more), need=("patients",), outcome=False)


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def units(cohort: Cohort, label: float) -> set[str]:
    return set(cohort.patients.loc[cohort.patients["aln_status"] == label, "unit_id"])


# --- CBIS-DDSM


def cbis_folder(folder: Path, tables: Path, pattern: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        for kind in ("calc", "mass"):
            shutil.copy(tables / pattern.format(kind, split), folder / CBIS.format(kind, split))
    return folder


def test_cbis_tables_as_published(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The numbers are those of Lee et al. 2017 (1,566 patients, 3,103 films, 3,568 masks) and of pandas alone."""
    source = cbis_folder(tmp_path / "tcia", shared / "data" / "tables", "cbis_ddsm_{}_case_description_{}_set.csv")
    raw = {
        split: pd.concat([pd.read_csv(source / CBIS.format(kind, split)) for kind in ("calc", "mass")])
        for split in ("train", "test")
    }
    both = set(raw["train"]["patient_id"]) & set(raw["test"]["patient_id"])
    assert len(both) == 31
    cohort = imported("cbis-ddsm", source, tmp_path / "c")
    said = capsys.readouterr().err
    assert "31 patients stand in both official sets" in said
    assert "cbis-ddsm: 1566 patients, 1708 rows in patients.csv, 3103 images" in said
    assert "71 views stand in both kinds of tables as two films" in said
    assert "none of the 3568 abnormalities has a mask's file" in said
    assert "the set has no nodal status after NAT" in said
    split = cohort.patients.groupby("patient_id")["split"].agg(set)
    assert all(split[name] == {"internal_test"} for name in both)
    assert set(split.index[split.map(lambda names: "internal_test" in names)]) == set(raw["test"]["patient_id"])
    rows = pd.concat(raw.values())
    malignant = rows[rows["pathology"] == "MALIGNANT"]
    assert units(cohort, 1) == set(malignant["patient_id"] + "/" + malignant["left or right breast"].str[0])
    assert cohort.images["image_id"].nunique() == 3103
    assert not cohort.images["path"].str.contains(r"\s").any()  # the published paths end with line breaks


def cbis_files(folder: Path, *, swapped: bool, mask_shape: tuple[int, int] = (60, 40), flat: bool = False) -> Path:
    """One film of 60 x 40 with one abnormality, in rows 10 to 20 and columns 5 to 15, laid out as the tables say."""
    film, roi = "Mass-Training_P_00001_LEFT_CC", "Mass-Training_P_00001_LEFT_CC_1"
    rng = np.random.default_rng(0)
    scale = mask_shape[0] / 60, mask_shape[1] / 40
    mask = np.zeros(mask_shape, np.uint8)
    mask[int(10 * scale[0]) : int(20 * scale[0]), int(5 * scale[1]) : int(15 * scale[1])] = 255
    crop = np.full((12, 12), 7, np.uint8) if flat else rng.integers(0, 255, (12, 12)).astype(np.uint8)
    names = ("000000.dcm", "000001.dcm") if swapped else ("000001.dcm", "000000.dcm")
    for path, pixels in (
        (f"{film}/1.2/1.3/000000.dcm", rng.integers(0, 4000, (60, 40)).astype(np.uint16)),
        (f"{roi}/1.4/1.5/{names[0]}", mask),
        (f"{roi}/1.4/1.5/{names[1]}", crop),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_dicom(folder / path, pixels, Modality="MG")
    head = (
        "patient_id,breast_density,left or right breast,image view,abnormality id,abnormality type,pathology,"
        "image file path,cropped image file path,ROI mask file path\n"
    )
    row = (
        f"P_00001,3,LEFT,CC,1,mass,MALIGNANT,{film}/1.2/1.3/000000.dcm,{roi}/1.4/1.5/000000.dcm,"
        f'"{roi}/1.4/1.5/000001.dcm\n"\n'
    )
    other = row.replace("P_00001", "P_00002").replace("MALIGNANT", "BENIGN")
    for name, rows in (("mass_train", row), ("mass_test", other), ("calc_train", other), ("calc_test", other)):
        kind, split = name.split("_")
        write(folder / CBIS.format(kind, split), head + rows)
    return folder


@pytest.mark.parametrize(("swapped", "flat"), [(False, False), (True, False), (False, True)])
def test_cbis_boxes_come_of_the_file_that_is_the_mask(
    swapped: bool, flat: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = cbis_files(tmp_path / "s", swapped=swapped, flat=flat)
    cohort = imported("cbis-ddsm", source, tmp_path / "c", spacing_mm=0.05)
    (box,) = cohort.regions.to_dict("records")
    assert [box[key] for key in ("x_min", "y_min", "x_max", "y_max")] == [5, 10, 15, 20]
    assert box["image_id"] == "Mass-Training_P_00001_LEFT_CC"
    assert ("1 masks lie where the table names the crop" in capsys.readouterr().err) == swapped
    assert set(cohort.images["spacing_mm"]) == {0.05}
    assert image_path(cohort, cohort.images.iloc[-1]).is_file()


def test_cbis_masks_of_another_size_are_scaled_or_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = imported("cbis-ddsm", cbis_files(tmp_path / "a", swapped=False, mask_shape=(120, 80)), tmp_path / "ca")
    assert half.regions[["x_min", "y_min", "x_max", "y_max"]].to_numpy().tolist() == [[5, 10, 15, 20]]
    assert "1 masks have another size than their film" in capsys.readouterr().err
    squeezed = imported("cbis-ddsm", cbis_files(tmp_path / "b", swapped=False, mask_shape=(120, 40)), tmp_path / "cb")
    assert squeezed.regions.empty
    said = capsys.readouterr().err
    assert "left out: 1 abnormalities whose mask fits no scale of their film" in said
    assert "crops in millimetres need --spacing_mm" in said
    twice = cbis_files(tmp_path / "c", swapped=False)
    roi = twice / "Mass-Training_P_00001_LEFT_CC_1" / "1.4" / "1.5"
    shutil.copy(roi / "000001.dcm", roi / "000002.dcm")
    assert imported("cbis-ddsm", twice, tmp_path / "cc").regions.empty
    assert "left out: 1 abnormalities of whose files not exactly one is a mask" in capsys.readouterr().err


def test_cbis_downloads_of_the_archives_tool_are_found_by_their_folder(tmp_path: Path) -> None:
    """The archive's tool names studies and series in words, and files 1-1.dcm: the first folder alone stays."""
    source = cbis_files(tmp_path / "s", swapped=False)
    for folder in [path for path in source.iterdir() if path.is_dir()]:
        new = source / "CBIS-DDSM" / folder.name / "08-07-2016-DDSM-NA-30104" / "1.000000-images-24515"
        new.mkdir(parents=True)
        for number, path in enumerate(sorted(folder.rglob("*.dcm")), start=1):
            path.rename(new / f"1-{number}.dcm")
        shutil.rmtree(folder)
    cohort = imported("cbis-ddsm", source, tmp_path / "c")
    assert len(cohort.regions) == 1
    assert image_path(cohort, cohort.images.iloc[-1]).is_file()


def test_cbis_films_as_published(shared: Path, tmp_path: Path) -> None:
    """The tables' sides and views are those of the films' own headers."""
    source = cbis_folder(tmp_path / "tcia", shared / "data" / "tables", "cbis_ddsm_{}_case_description_{}_set.csv")
    for name, film in (("LEFT_MLO", "L_MLO"), ("RIGHT_CC", "R_CC")):
        folder = source / f"Mass-Test_P_00173_{name}" / "10-04-2016-DDSM-NA-01401" / "1.000000-full mammogram images-1"
        folder.mkdir(parents=True)
        shutil.copy(shared / "data" / "mg_dicom" / f"cbis_P_00173_{film}.dcm", folder / "1-1.dcm")
    cohort = imported("cbis-ddsm", source, tmp_path / "c", spacing_mm=0.05)
    films = cohort.images[cohort.images["image_id"].isin(["Mass-Test_P_00173_LEFT_MLO", "Mass-Test_P_00173_RIGHT_CC"])]
    paths = [image_path(cohort, row) for _, row in films.iterrows()]
    assert [path.name for path in paths] == ["1-1.dcm", "1-1.dcm"]
    verdicts = [judge(read_header(path)) for path in paths]
    assert [(verdict.laterality, verdict.view) for verdict in verdicts] == list(
        films[["laterality", "view"]].itertuples(index=False, name=None)
    )


@pytest.mark.parametrize("series", ["ROI mask images", "cropped images"])
def test_masks_and_crops_of_cbis_are_no_mammograms(series: str, tmp_path: Path) -> None:
    path = write_dicom(
        tmp_path / "a.dcm",
        np.zeros((60, 40), np.uint8),
        Modality="MG",
        SeriesDescription=series,
        PatientOrientation="CC",
    )
    verdict = judge(read_header(path))
    assert isinstance(verdict, Excluded)
    assert "SeriesDescription" in verdict.reason


# --- VinDr-Mammo

VINDR = (
    "study_id,series_id,image_id,laterality,view_position,height,width,breast_birads,breast_density,finding_categories,"
    "finding_birads,xmin,ymin,xmax,ymax,split"
)


def test_vindr_labels_breasts_and_names_regions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        "s1,x,a,L,MLO,100,80,BI-RADS 5,DENSITY C,\"['Mass', 'Suspicious Lymph Node']\",BI-RADS 5,1.5,2,30,40,training",
        "s1,x,a,L,MLO,100,80,BI-RADS 5 ,DENSITY C,['Suspicious Lymph Node'],BI-RADS 4,5,2,30,40,training ",
        "s1,x,b,R,CC,100,80,BI-RADS 1,DENSITY C,['No Finding'],,,,,,training",
        "s2,x,c,R,CC,100,80,BI-RADS 3,DENSITY A,['Skin Thickening'],,5,2,90,40,test",
        "s2,x,d,R,MLO,100,80,BI-RADS 3,DENSITY A,['Mass'],,200,2,300,40,test",
    ]
    write(tmp_path / "s" / "finding_annotations.csv", "\ufeff" + VINDR, *rows)  # as spreadsheets save it
    cohort = imported("vindr", tmp_path / "s", tmp_path / "c")
    assert units(cohort, 1) == {"s1/L"}  # not the healthy breast of the same study
    assert units(cohort, 0) == {"s1/R", "s2/R"}
    assert list(cohort.patients["split"]) == ["train", "train", "internal_test"]
    assert list(cohort.images["path"])[:2] == ["images/s1/a.dicom", "images/s1/b.dicom"]
    assert list(cohort.regions["region"]) == ["primary", "axilla", "skin_thickening"]
    assert cohort.regions.loc[0, ["x_min", "y_min", "x_max", "y_max"]].tolist() == [1.5, 2, 30, 40]
    assert cohort.regions.loc[2, "x_max"] == 80  # cut at the image's edge
    said = capsys.readouterr().err
    assert "left out: 1 boxes whose centre lies outside their image" in said
    assert "left out: 1 edges of boxes beyond their image (cut)" in said
    assert "agreement: only for those who signed" in said


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("['Mass']", "Mass", "finding_categories = 'Mass': expected a list of findings"),
        ("['Mass']", "['Tumour']", "row 2, finding_categories"),
        ("training", "dev", "row 2, split = 'dev': expected one of training, test"),
        ("BI-RADS 5,DENS", "5,DENS", "row 2, breast_birads = '5'"),
        (",L,", ",X,", "row 2, laterality = 'X': expected one of L, R"),
        (",1.5,", ",1;5,", "row 2, xmin = '1;5': expected a number"),
        ("s1,x", ",x", "row 2, study_id = '': expected a value"),
        (",L,", ",,", "row 2, laterality = '': expected one of L, R"),
    ],
)
def test_codes_that_a_set_does_not_have_are_refused_with_their_row(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    row = "s1,x,a,L,MLO,100,80,BI-RADS 5,DENSITY C,['Mass'],BI-RADS 5,1.5,2,30,40,training"
    assert old in row
    write(tmp_path / "finding_annotations.csv", VINDR, row.replace(old, new))
    with pytest.raises(InputError) as refused:
        import_tables("vindr", tmp_path, tmp_path / "c")
    assert words in str(refused.value)
    assert not (tmp_path / "c").exists()


def test_a_table_without_a_column_of_its_set_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "finding_annotations.csv", VINDR.replace(",split", ",fold"), "")
    with pytest.raises(InputError, match=r"columns split are missing; expected .*; other columns .* fold"):
        import_tables("vindr", tmp_path, tmp_path / "c")


def test_what_makes_no_cohort_is_refused_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = "s1,x,a,L,MLO,100,80,BI-RADS 5,DENSITY C,['Mass'],BI-RADS 5,1.5,2,30,40,training"
    write(tmp_path / "s" / "finding_annotations.csv", VINDR, row)
    imported("vindr", tmp_path / "s", tmp_path / "c")
    assert "1 of the 1 image files do not lie below" in capsys.readouterr().err
    write(tmp_path / "s" / "finding_annotations.csv", VINDR)
    with pytest.raises(InputError, match="the tables of VinDr-Mammo hold no patient"):
        import_tables("vindr", tmp_path / "s", tmp_path / "c2")
    write(
        tmp_path / "s" / "train.csv",
        "site_id,patient_id,image_id,laterality,view,age,cancer,biopsy,invasive,density",
        ",1,2,L,CC,61,0,0,0,B",
    )
    with pytest.raises(InputError, match="the tables of RSNA-2022 make no cohort"):
        import_tables("rsna", tmp_path / "s", tmp_path / "c2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "s"]


# --- CMMD


def cmmd_rows(shared: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    tables = shared / "data" / "tables"
    return (
        pd.read_csv(tables / f"cmmd_{name}_label.csv", dtype=str, keep_default_na=False) for name in ("raw", "cleaned")
    )


def test_cmmd_labels_stay_with_their_breast(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Real tags of real images: of each woman both breasts were imaged, and the table labels one of them."""
    raw, tags = cmmd_rows(shared)
    one_sided = set(raw["ID1"]) - set(raw.loc[raw["ID1"].duplicated(), "ID1"])
    shown = tags.groupby("patient_id")["laterality"].nunique()
    patients = [name for name in shown.index[shown == 2] if name in one_sided][:3]
    raw[raw["ID1"].isin(patients)].to_excel(tmp_path / "CMMD_clinicaldata_revision.xlsx", index=False)
    for row in tags[tags["patient_id"].isin(patients)].to_dict("records"):
        path = tmp_path / "CMMD" / row["patient_id"] / "07-18-2010-NA-NA" / f"{row['image_id']}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        view = code({"cranio-caudal": "399162004", "medio-lateral oblique": "399368009"}[row["__CodeMeaning"]], "x")
        orientation = [part.strip(" '") for part in row["__PatientOrientation"].strip("[]").split(",")]
        write_dicom(
            path, np.zeros((8, 6), np.uint8), Modality="MG", SOPClassUID=row["__SOPClassUID"],
            SOPInstanceUID=row["__SOPInstanceUID"], PatientID=row["patient_id"], ImageLaterality=row["laterality"],
            PatientOrientation=orientation, ViewCodeSequence=[view], ViewPosition=None,
        )  # fmt: skip
    shutil.copy(path, path.with_name("copy.dcm"))
    cohort = imported("cmmd", tmp_path, tmp_path / "c")
    assert "left out: 1 files with the SOPInstanceUID of another" in capsys.readouterr().err
    table = cohort.patients.set_index("unit_id")
    for row in raw[raw["ID1"].isin(patients)].to_dict("records"):
        other = {"L": "R", "R": "L"}[row["LeftRight"]]
        assert table.at[f"{row['ID1']}/{row['LeftRight']}", "aln_status"] == float(row["classification"] == "Malignant")
        healthy = table.loc[f"{row['ID1']}/{other}"]
        assert np.isnan(healthy["aln_status"])
        assert not healthy["eligible"]
        assert "not in the clinical table" in healthy["exclusion_reason"]
    assert len(cohort.images) == 12
    assert set(cohort.images["view"]) == {"CC", "MLO"}


def test_cmmd_clinical_table_as_published(shared: Path, tmp_path: Path) -> None:
    raw, _ = cmmd_rows(shared)
    shutil.copy(shared / "data/tables/cmmd_raw_label.csv", tmp_path)
    cohort = imported("cmmd", tmp_path, tmp_path / "c")
    assert len(cohort.patients) == 1872
    assert cohort.patients["patient_id"].nunique() == 1775
    malignant = raw[raw["classification"] == "Malignant"]
    assert units(cohort, 1) == set(malignant["ID1"] + "/" + malignant["LeftRight"])
    assert "subtype" not in cohort.clinical
    assert yaml.safe_load((tmp_path / "c" / "cohort.yaml").read_text())["outcomes"]["subtype"] == "post_surgery"
    pd.concat([raw, raw[:1]]).to_csv(tmp_path / "cmmd_raw_label.csv", index=False)
    with pytest.raises(InputError, match="row 1874, ID1 = 'D1-0001': expected each patient and side once"):
        import_tables("cmmd", tmp_path, tmp_path / "c2")


# --- EMBED


def embed_folder(folder: Path, roi: str = "ROI_coords", coords: str = '"[[100, 20, 180, 60]]"') -> Path:
    head = (
        "empi_anon,acc_anon,anon_dicom_path,FinalImageType,ImageLateralityFinal,ViewPosition,spot_mag,num_roi,"
        f"{roi},Rows,Columns,study_date_anon"
    )
    root = "/mnt/NAS2/mammo/anon_dicom/cohort_1/1/s"
    rows = [
        f"1,10,{root}/a.dcm,2D,L,MLO,,1,{coords},400,300,2013-03-01",
        f"1,10,{root}/b.dcm,2D,R,MLO,,0,[],400,300,2013-03-01",
        f"1,10,{root}/c.dcm,3D,L,CC,,0,[],400,300,2013-03-01",
        f"1,10,{root}/d.dcm,cview,L,CC,,0,[],400,300,2013-03-01",
        f"1,10,{root}/e.dcm,2D,L,CC,1,0,[],400,300,2013-03-01",
        f"1,10,{root}/j.dcm,ROI_SSC,L,CC,,0,[],400,300,2013-03-01",
        f"1,10,{root}/f.dcm,2D,L,ML,,0,[],400,300,2013-03-01",
        f"1,11,{root}/g.dcm,2D,R,CC,,0,[],400,300,2014-03-02 00:00:00",
        f"2,12,{root}/h.dcm,2D,L,CC,,0,[],400,300,2012-01-01",
        f"2,12,{root}/i.dcm,2D,R,CC,,0,[],400,300,2012-01-01",
    ]
    write(folder / "tables" / "EMBED_OpenData_metadata_reduced.csv", head, *rows)
    clinical = [
        "empi_anon,acc_anon,side,path_severity,tissueden,age_at_study",
        "1,10,L,0.0,3.0,50.5",
        "1,10,R,6,3,50.5",
        "1,11,R,4,3,51.5",
        "2,12,B,4,2,60",
    ]
    write(folder / "tables" / "EMBED_OpenData_clinical_reduced.csv", *clinical)
    return folder


def test_embed_merges_on_exam_and_side_and_turns_its_boxes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = imported("embed", embed_folder(tmp_path / "s"), tmp_path / "c")
    assert units(cohort, 1) == {"1/L"}
    assert units(cohort, 0) == {"2/L", "2/R"}  # B counts for both; 1/R was judged at the exam that is not used
    used, set_aside = used_images(cohort)
    assert list(used["image_id"]) == ["a", "b", "h", "i"]
    assert list(set_aside["reason"]) == ["a reason stated in images.csv"]  # of one woman alone
    (box,) = cohort.regions.to_dict("records")
    assert [box[key] for key in ("x_min", "y_min", "x_max", "y_max")] == [20, 100, 60, 180]
    assert cohort.images["path"].iloc[0] == "images/cohort_1/1/s/a.dcm"
    assert list(cohort.images["image_id"]) == ["a", "b", "g", "h", "i"]
    assert list(cohort.images["study"]) == ["s1", "s1", "s2", "s1", "s1"]
    assert list(cohort.images["days"].astype(int)) == [0, 0, 366, 0, 0]
    said = capsys.readouterr().err
    for words in (
        "left out: 1 tomosynthesis", "left out: 1 synthetic", "left out: 1 spot",
        "another kind (FinalImageType ROI_SSC)",
        "left out: 1 images that are neither",
        "no-published-weights: weights and embeddings learnt from it must not be published",
    ):  # fmt: skip
        assert words in said


@pytest.mark.parametrize("coords", ['"((100, 20, 180, 360),)"', '"[(100, 20, 180, 360)]"'])
def test_embed_as_published_has_full_and_reduced_tables_and_tuples_of_boxes(
    coords: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = embed_folder(tmp_path / "s", coords=coords)
    for path in list((source / "tables").iterdir()):
        path.write_text(path.read_text().replace("[]", "()"))
        shutil.copy(path, path.with_name(path.name.replace("_reduced", "")))
        path.write_text("")
    cohort = imported("embed", source, tmp_path / "c")
    assert cohort.regions[["x_min", "y_min", "x_max", "y_max"]].to_numpy().tolist() == [[20, 100, 300, 180]]
    said = capsys.readouterr().err
    assert "EMBED_OpenData_metadata.csv is read, tables/EMBED_OpenData_metadata_reduced.csv not" in said


def test_embed_a_biopsy_says_nothing_of_the_other_breast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = embed_folder(tmp_path / "s")
    head = "empi_anon,acc_anon,side,bside,path_severity,tissueden,age_at_study"
    rows = ["1,10,B,L,0,3,50", "1,10,R,L,0,3,50", "2,12,,B,4,2,60"]
    write(source / "tables" / "EMBED_OpenData_clinical_reduced.csv", head, *rows)
    cohort = imported("embed", source, tmp_path / "c")
    assert "left out: 1 labels of findings whose biopsy (bside) is of the other side" in capsys.readouterr().err
    assert (units(cohort, 1), units(cohort, 0)) == ({"1/L"}, {"2/L", "2/R"})
    assert cohort.patients.set_index("unit_id").loc["1/R", "age"] == 50


def test_embed_boxes_of_another_image_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = embed_folder(tmp_path / "s", "match_level,ROI_coords", '[2],"[[1, 2, 3, 4]]"')
    table = source / "tables" / "EMBED_OpenData_metadata_reduced.csv"
    write(table, table.read_text().replace(",0,[],", ",0,[],[],"))
    imported("embed", source, tmp_path / "c")
    assert "1 boxes were drawn on the other image of their view (match_level 2)" in capsys.readouterr().err


def test_embed_boxes_of_dicom_files_go_before_those_of_flipped_copies(tmp_path: Path) -> None:
    both = embed_folder(tmp_path / "a", "PNG_ROI_coords,DCM_ROI_coords", '"[[1, 2, 3, 4]]","[[100, 20, 180, 60]]"')
    table = both / "tables" / "EMBED_OpenData_metadata_reduced.csv"
    table.write_text(table.read_text().replace(",0,[],", ",0,[],[],"))
    assert imported("embed", both, tmp_path / "ca").regions["x_min"].tolist() == [20]
    flipped = embed_folder(tmp_path / "b", "PNG_ROI_coords")
    with pytest.raises(InputError, match="flipped copies; expected DCM_ROI_coords or ROI_coords"):
        import_tables("embed", flipped, tmp_path / "cb")


@pytest.mark.parametrize("coords", ['"[[100, 20, 180]]"', "mass", '"[100, 20, 180, 60]"', '"[[1,2,3,4],[5,6,7,8]]"'])
def test_embed_boxes_that_are_none_are_refused(coords: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"metadata_reduced\.csv row 2"):
        import_tables("embed", embed_folder(tmp_path / "s", coords=coords), tmp_path / "c")


# --- INbreast

OUTLINES = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple Computer//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict><key>Images</key><array><dict><key>ROIs</key><array>
<dict><key>Name</key><string>Mass</string><key>Point_px</key>
<array><string>(10.5, 20)</string><string>(30, 44.5)</string><string>(12, 30)</string></array></dict>
<dict><key>Name</key><string>PectoralMuscle</string><key>Point_px</key>
<array><string>(0, 0)</string><string>(90, 0)</string><string>(0, 90)</string></array></dict>
<dict><key>Name</key><string>Skin Lesion</string><key>Point_px</key>
<array><string>(5, 5)</string><string>(9, 5)</string><string>(5, 9)</string></array></dict>
</array></dict></array></dict></plist>
"""


def test_inbreast_takes_the_patient_and_the_view_from_the_files_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        "Patient ID;Patient age;Laterality;View;Acquisition date;File Name;ACR;Bi-Rads;Mass",
        "removed;removed;R;MLO;201001;20586908;4;5;X",
        "removed;removed;L;CC;201001;20586934;4;2;",
        "removed;removed;L;CC;201107;20587000;4;4;",
        "removed;removed;L;CC;201001;20586999;4;2;",
        ";;;;;;;;",
        ";;;;;Total: 410;;;",
    ]
    write(tmp_path / "INbreast.csv", *rows)
    for name in (
        "20586908_6c613a14b80a8591_MG_R_ML_ANON",
        "20586934_6c613a14b80a8591_MG_L_CC_ANON",
        "20587000_6c613a14b80a8591_MG_L_CC_ANON",
    ):
        (tmp_path / "AllDICOMs").mkdir(exist_ok=True)
        write_dicom(tmp_path / "AllDICOMs" / f"{name}.dcm", np.zeros((100, 90), np.uint16))
    write(tmp_path / "AllXML" / "20586908.xml", OUTLINES)
    cohort = imported("inbreast", tmp_path, tmp_path / "c")
    assert units(cohort, 1) == {"6c613a14b80a8591/R"}
    assert units(cohort, 0) == {"6c613a14b80a8591/L"}
    used, set_aside = used_images(cohort)  # both exams have a suspicious image: the earlier one
    assert used.set_index("image_id")["view"].to_dict() == {"20586908": "MLO", "20586934": "CC"}
    assert list(set_aside["image_id"]) == ["20587000"]
    box, other = cohort.regions.to_dict("records")
    assert (box["image_id"], box["region"], other["region"]) == ("20586908", "primary", "skin_lesion")
    assert [box[key] for key in ("x_min", "y_min", "x_max", "y_max")] == pytest.approx([10.5, 20, 30, 44.5], abs=0.5)
    said = capsys.readouterr().err
    assert "footer rows of the table" in said
    assert "left out: 1 rows without a file in AllDICOMs" in said
    (tmp_path / "INbreast.xls").touch()  # the release has the table twice
    imported("inbreast", tmp_path, tmp_path / "c2")
    assert "note: INbreast.csv is read, INbreast.xls not" in capsys.readouterr().err
    shutil.copytree(tmp_path / "AllXML", tmp_path / "copy")
    shutil.copy(tmp_path / "INbreast.csv", tmp_path / "copy")
    write(tmp_path / "copy" / "INbreast.csv", *rows, rows[1])
    with pytest.raises(InputError, match="row 8, File Name = '20586908': expected each image once"):
        import_tables("inbreast", tmp_path / "copy", tmp_path / "c3")
    with pytest.raises(InputError, match=r"2 files of that name \(INbreast\.csv, copy/INbreast\.csv\)"):
        import_tables("inbreast", tmp_path, tmp_path / "c3")


# --- RSNA, CSAW-CC, NLBS, Mammo-MX


def test_rsna_labels_each_breast_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        "site_id,patient_id,image_id,laterality,view,age,cancer,biopsy,invasive,BIRADS,implant,density,machine_id,"
        "difficult_negative_case",
        "2,10006,462822612,L,CC,61.0,0,0,0,,0,,29,False",
        "2,10006,1459541791,L,MLO,61.0,0,0,0,,0,,29,False",
        "2,10006,1864590858,R,MLO,61.0,1,1,1,0,0,B,29,False",
        "2,10006,1864590859,R,AT,61.0,1,1,1,0,0,B,29,False",
    ]
    write(tmp_path / "train.csv", *rows)
    cohort = imported("rsna", tmp_path, tmp_path / "c")
    assert (units(cohort, 1), units(cohort, 0)) == ({"10006/R"}, {"10006/L"})
    assert cohort.regions.empty
    assert cohort.images["path"].iloc[0] == "train_images/10006/462822612.dcm"
    assert set(cohort.clinical) == {"age", "density"}
    assert "left out: 1 images of view AT" in capsys.readouterr().err


def test_csaw_outcomes_are_never_inputs(tmp_path: Path) -> None:
    rows = [
        "anon_patientid,anon_filename,exam_year,x_case,x_age,x_cancer_laterality,x_type,x_lymphnode_met,rad_timing,"
        "rad_r1,rad_r2,rad_recall,imagelaterality,viewposition,libra_percentdensity",
        "1,00001_2012_L_CC_1.dcm,2012,1,2,Left,3,1,3,1,1,1,Left,CC,10.0",
        "1,00001_2014_L_MLO_1.dcm,2014,1,2,Left,3,1,1,1,1,1,Left,MLO,10.0",
        "1,00001_2014_R_MLO_1.dcm,2014,1,2,Left,3,1,1,1,1,1,Right,MLO,10.0",
        "2,00002_2014_R_MLO_1.dcm,2014,0,1,,,0,1,1,1,0,Right,MLO,20.0",
        "3,00003_2014_R_MLO_1.dcm,2014,1,1,,2,0,1,1,1,0,Right,MLO,20.0",
    ]
    write(tmp_path / "CSAW-CC_breast_cancer_screening_data.csv", *rows)
    cohort = imported("csaw-cc", tmp_path, tmp_path / "c")
    assert units(cohort, 1) == {"1/L"}
    assert cohort.patients.set_index("patient_id")["aln_status"].isna()["2"]
    assert list(cohort.clinical) == ["age_group"]
    assert not {name for name in cohort.patients if name.startswith(("rad_", "x_", "libra"))}
    assert dict(cohort.patients.set_index("patient_id")["exclusion_reason"]) == {
        "1": "",
        "2": "no cancer",
        "3": "side of the cancer not stated",
    }
    assert list(cohort.images["study"]) == ["s1", "s2", "s2", "s1", "s1"]
    assert list(cohort.images["timepoint"].fillna("")) == ["prior", *["pre_nat"] * 4]
    assert list(used_images(cohort)[0]["image_id"]) == [
        "00001_2014_L_MLO_1",
        "00001_2014_R_MLO_1",
        "00002_2014_R_MLO_1",
        "00003_2014_R_MLO_1",
    ]
    declared = yaml.safe_load((tmp_path / "c" / "cohort.yaml").read_text())
    assert declared["outcomes"] == {"cancer": "post_surgery", "cancer_type": "post_surgery"}
    declared["clinical"]["cancer_type"] = {"kind": "categorical"}
    (tmp_path / "c" / "cohort.yaml").write_text(yaml.safe_dump(declared))
    with pytest.raises(InputError, match="`outcomes` says that it holds an outcome"):
        read_cohort(tmp_path / "c", need=("patients",))


def test_nlbs_paths_of_windows_and_folders_that_disagree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        "File Path,Image Laterality,View Position,Age,Cancer,False Positive",
        "abnormal\\109430185503\\left\\CC\\IM-0019-0002-0001.dcm,L,CC,66,1,0",
        "abnormal\\109430185503\\right\\MLO\\IM-0020-0003-0001.dcm,R,MLO,66,0,1",
        "abnormal\\109430185503\\right\\CC\\IM-0021-0003-0001.dcm,R,MLO,66,0,1",
        "abnormal\\109430185503\\left\\MLO\\IM-0019-0002-0001.dcm,L,MLO,66,1,0",
        "Normal\\109430185503\\left\\CC\\IM-0007-0002-0001.dcm,L,CC,64,0,0",
        "Normal\\109430185503\\left\\CC\\IM-0007-0002-0001.dcm,L,CC,64,0,0",
    ]
    write(tmp_path / "NLBSP-metadata.csv", *rows)
    write(tmp_path / "images" / "abnormal" / "109430185503" / "left" / "CC" / "IM-0019-0002-0001.dcm", "")
    cohort = imported("nlbs", tmp_path, tmp_path / "c")
    assert (units(cohort, 1), units(cohort, 0)) == ({"109430185503/L"}, {"109430185503/R"})
    assert len(cohort.images) == cohort.images["path"].nunique() == 4
    assert image_path(cohort, cohort.images.iloc[0]).is_file()
    used, _ = used_images(cohort)
    assert not used["path"].str.startswith("images/Normal").any()
    said = capsys.readouterr().err
    for words in ("images whose folders name another", "rows of an image that", "images of another exam of a breast"):
        assert f"left out: 1 {words}" in said
    write(tmp_path / "NLBSP-metadata.csv", rows[0], "left/CC/a.dcm,L,CC,66,1,0")
    with pytest.raises(InputError, match=r"row 2, File Path = 'left/CC/a\.dcm'"):
        import_tables("nlbs", tmp_path, tmp_path / "c2")


def test_mammo_mx_reads_the_names_of_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = (
        "B1/000077_R_MLO_B1_D2",
        "B4/000077_L_CC_B4_D2",
        "B0/000078_L_CC_B0_D3",
        "B2/000079_L_CC_B5_D3",
        "B1/notes.txt",
        "B1 copy/000077_R_MLO_B1_D2.dcm",
    )
    for name in names:
        write(tmp_path / "Mammo-MX_dataset" / name, "x")
    cohort = imported("mammo-mx", tmp_path, tmp_path / "c")
    assert (units(cohort, 1), units(cohort, 0)) == ({"000077/L"}, {"000077/R"})
    assert cohort.patients.set_index("unit_id")["aln_status"].isna()["000078/L"]
    said = capsys.readouterr().err
    assert "left out: 1 images in a folder of another BI-RADS" in said
    assert "left out: 1 files whose name is not of the form" in said
    assert "left out: 1 files of an image that stands above" in said
    assert "no real table of the set was at hand" in said


def test_an_imported_cohort_passes_check_and_states_its_licence(tmp_path: Path) -> None:
    source = cbis_files(tmp_path / "s", swapped=False)
    for path in source.glob("Mass*CC/1.2/1.3/*.dcm"):
        write_dicom(path, np.zeros((60, 40), np.uint16), Modality="MG", PatientOrientation="CC", Laterality="L")
    assert main(["import", "cbis-ddsm", str(source), "--out", str(tmp_path / "c")]) == 0
    assert not [problem for problem in check_cohort(tmp_path / "c") if "P_00001" in problem]
    (stated,) = read_cohort(tmp_path / "c", need=("patients",)).sources
    assert (stated.name, stated.licence) == ("CBIS-DDSM", "CC BY 3.0")


def test_the_licence_of_each_set_can_be_looked_up_and_the_page_repeats_it() -> None:
    page = Path("docs/how-to/public-sets.md").read_text()
    for name, reader in DATASETS.items():
        source = reader.facts.source
        assert source.licence
        assert "doi:" in source.citation or "https://" in source.citation
        assert f"| `{name}` |" in page
        assert name == "ispy" or source.licence in page
