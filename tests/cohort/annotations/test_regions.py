"""`mammo-aln regions` on a cohort with planted boxes: each form of a table maps to the stored matrix, or is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from mammo_aln.cohort.annotations.matching import image_id_of_instance
from mammo_aln.cohort.annotations.regions import import_regions
from mammo_aln.cohort.check import check_cohort
from mammo_aln.cohort.tables import read_cohort
from mammo_aln.errors import InputError
from tests.support.annotated_cohort import (
    BOX,
    SIZES,
    imported_boxes,
    planted_box,
    planted_table,
    uid_of,
)

HALF_A_PIXEL = 0.5


def save(table: pd.DataFrame, path: Path) -> Path:
    table.to_csv(path, index=False)
    return path


def assert_planted(root: Path) -> None:
    boxes = imported_boxes(root)
    assert sorted(boxes) == sorted(f"im{index}" for index in range(len(SIZES)))
    for index in range(len(SIZES)):
        assert boxes[f"im{index}"] == [pytest.approx(planted_box(index), abs=HALF_A_PIXEL)]


def sized() -> pd.DataFrame:
    table = planted_table()
    table["x_max"], table["y_max"] = table["x_max"] - table["x_min"], table["y_max"] - table["y_min"]
    return table.rename(columns=dict(zip(BOX, ("x", "y", "w", "h"), strict=True)))


def centred() -> pd.DataFrame:
    table = sized()
    table["x"], table["y"] = table["x"] + table["w"] / 2, table["y"] + table["h"] / 2
    return table.rename(columns={"x": "x_center", "y": "cy"})


def listed(order: list[str], name: str) -> pd.DataFrame:
    table = planted_table()
    cells = [str(list(row)) for row in table[order].itertuples(index=False)]
    return table[["image"]].assign(**{name: cells})


FORMS = {
    "corners": (planted_table(), {}),
    "size": (sized(), {}),
    "left_top_size": (sized().rename(columns={"x": "Left", "y": "Top", "w": "Width", "h": "Height"}), {}),
    "centre": (centred(), {}),
    "shares": (planted_table("shares"), {}),
    "embed": (listed(["y_min", "x_min", "y_max", "x_max"], "ROI_coords"), {}),
    "a_list_stated": (listed(BOX, "bbox"), {"columns": "xyxy=bbox"}),
    "other_names": (
        planted_table().rename(columns={"image": "Bild", "x_min": "a", "y_min": "b", "x_max": "c", "y_max": "d"}),
        {"columns": "image=Bild,x_min=a,y_min=b,x_max=c,y_max=d"},
    ),
    "x1_y1_x2_y2": (planted_table().rename(columns=dict(zip(BOX, ("x1", "y1", "x2", "y2"), strict=True))), {}),
    "x0_y0_x1_y1": (planted_table().rename(columns=dict(zip(BOX, ("x0", "y0", "x1", "y1"), strict=True))), {}),
    "half": (planted_table("half"), {"picture_size": "0.5"}),
    "longer_side": (planted_table("longer_side"), {"picture_size": "32"}),
    "square": (planted_table("square"), {"picture_size": "32x32", "stretched": True}),
    "flipped": (planted_table("flipped"), {"flipped": "all"}),
    "flipped_right": (planted_table("flipped_right"), {"flipped": "right"}),
    "sizes_in_the_table": (
        planted_table("half").assign(width=[s[1] / 2 for s in SIZES], height=[s[0] / 2 for s in SIZES]),
        {},
    ),
}


def test_a_header_alone_is_filled(cohort, tmp_path):
    (cohort / "regions.csv").write_text("image_id,region,x_min,y_min,x_max,y_max\n")
    import_regions([save(planted_table(), tmp_path / "boxes.csv")], cohort)
    assert_planted(cohort)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table_gives_the_planted_boxes(cohort: Path, tmp_path: Path, form: str) -> None:
    table, flags = FORMS[form]
    import_regions([save(table, tmp_path / "boxes.csv")], cohort, **flags)
    assert_planted(cohort)


REFUSED = {
    "exchanged": "y stands before x|exchanged",
    "half": "50%",
    "double": "picture of another size, at least",
    "square": "another size, about",
    "longer_side": "pixels on the longer side",
    "flipped": "all breasts were mirrored",
    "flipped_right": "right breasts were mirrored",
    "half_turn": "turned by 180 degrees",
}


@pytest.mark.parametrize("change", REFUSED)
def test_boxes_of_another_picture_are_refused_with_the_cause(cohort: Path, tmp_path: Path, change: str) -> None:
    with pytest.raises(InputError, match=REFUSED[change]):
        import_regions([save(planted_table(change), tmp_path / "boxes.csv")], cohort)
    assert not (cohort / "regions.csv").exists()


def test_a_picture_of_another_ratio_of_sides_is_asked_about(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--stretched true"):
        import_regions([save(planted_table("square"), tmp_path / "boxes.csv")], cohort, picture_size="32x32")
    turned = planted_table().head(1).assign(width=SIZES[0][0], height=SIZES[0][1])
    with pytest.raises(InputError, match="rows and columns are exchanged"):
        import_regions([save(turned, tmp_path / "boxes.csv")], cohort)


def test_rows_that_stand_are_kept_and_a_box_is_written_once(cohort: Path, tmp_path: Path) -> None:
    by_hand = "image_id,region,x_min,y_min,x_max,y_max,reader\nim0,axilla,1,2,3.50,4,me\n"
    (cohort / "regions.csv").write_text(by_hand)
    boxes = save(planted_table(), tmp_path / "boxes.csv")
    import_regions([boxes], cohort)
    first = (cohort / "regions.csv").read_bytes()
    assert first.decode().splitlines()[1] == "im0,axilla,1,2,3.50,4,me"
    import_regions([boxes, boxes], cohort)
    assert (cohort / "regions.csv").read_bytes() == first
    import_regions([boxes], cohort, replace=True)
    assert "axilla" not in (cohort / "regions.csv").read_text()
    assert_planted(cohort)


def test_labels_become_regions(cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = ["Mass", "mass", "Node", "['Mass', 'Calc']", "scar", "", "Mass", "Mass", "Mass", "Mass"]
    boxes = save(planted_table().assign(label=labels), tmp_path / "boxes.csv")
    import_regions([boxes], cohort, regions="mass=primary,node=axilla,scar=,Calc=primary,nod=axilla")
    said = capsys.readouterr().err
    assert re.findall(r"--regions (\w+)=\.\.\.: no box has this label", said) == ["nod"]
    regions = pd.read_csv(cohort / "regions.csv").set_index("image_id")["region"]
    assert regions["im2"] == "axilla"
    assert set(regions.drop("im2")) == {"primary"}
    assert "im4" not in regions
    (cohort / "regions.csv").unlink()
    import_regions([boxes], cohort)
    said = capsys.readouterr().err
    assert "region Node: if it is the axilla region, say --regions Node=axilla" in said


@pytest.mark.parametrize("flags", [{"columns": "x_min=left"}, {"spacing_mm": 0.5}])
def test_a_flag_that_no_file_needs_is_refused(cohort: Path, tmp_path: Path, flags: dict[str, str | float]) -> None:
    rows, columns = SIZES[0]
    image = {"id": 1, "file_name": "L_CC_0.png", "height": rows, "width": columns}
    annotation = {"id": 1, "image_id": 1, "bbox": [10, 40, 9, 9]}
    (tmp_path / "a.json").write_text(json.dumps({"images": [image], "annotations": [annotation]}))
    with pytest.raises(InputError, match=f"--{next(iter(flags))} .*leave it out"):
        import_regions([tmp_path / "a.json"], cohort, **flags)
    assert not (cohort / "regions.csv").exists()


def test_images_go_by_id_uid_path_and_name(cohort: Path, tmp_path: Path) -> None:
    table = planted_table()
    names = ["im0", "/data/png/p1/r_cc_1.PNG", "dicom/p2/L_CC_2.dcm", uid_of(3), "L_CC_4"]
    table.loc[range(5), "image"] = names
    import_regions([save(table, tmp_path / "boxes.csv")], cohort)
    assert_planted(cohort)


def test_names_of_no_image_are_told_and_of_two_refused(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = planted_table()
    table.loc[[0, 1], "image"] = ["another.png", "p7/R_CC_1.png"]
    import_regions([save(table, tmp_path / "boxes.csv")], cohort)
    said = capsys.readouterr().err
    assert "not in images.csv: 2 pictures (another.png, p7/R_CC_1.png)" in said
    assert sorted(imported_boxes(cohort)) == [f"im{index}" for index in range(2, 10)]
    images = pd.read_csv(cohort / "images.csv")
    images.loc[2, "path"] = "dicom/p2/L_CC_0.dcm"
    images.to_csv(cohort / "images.csv", index=False)
    with pytest.raises(InputError, match="of several images"):
        import_regions([save(planted_table(), tmp_path / "boxes.csv")], cohort)
    with pytest.raises(InputError, match="names in the files: nobody"):
        import_regions([save(planted_table().assign(image="nobody"), tmp_path / "boxes.csv")], cohort)


@pytest.mark.parametrize(
    ("cell", "value"),
    [("x_min", "nan"), ("x_max", "1e300"), ("y_max", "-5"), ("x_min", "ten"), ("image", ""), ("x_max", "inf")],
)
def test_a_broken_cell_is_named_and_nothing_is_written(cohort: Path, tmp_path: Path, cell: str, value: str) -> None:
    table = planted_table().astype(object)
    table.loc[4, cell] = value
    with pytest.raises(InputError, match=r"boxes\.csv row 6"):
        import_regions([save(table, tmp_path / "boxes.csv")], cohort)
    assert not (cohort / "regions.csv").exists()


@pytest.mark.parametrize("change", ["flipped_right", "exchanged", "half", "square"])
def test_check_fails_where_boxes_were_drawn_on_another_picture(cohort: Path, change: str) -> None:
    regions = planted_table(change).assign(image_id=[f"im{index}" for index in range(len(SIZES))], region="primary")
    save(regions.drop(columns="image"), cohort / "regions.csv")
    problems = [line for line in check_cohort(cohort) if line.startswith("regions.csv")]
    assert re.search(REFUSED[change], "\n".join(problems))


def test_check_passes_boxes_as_they_are_and_lists_names(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    regions = planted_table().assign(image_id=[f"im{index}" for index in range(len(SIZES))], region="Primary")
    save(regions.drop(columns="image"), cohort / "regions.csv")
    assert [line for line in check_cohort(cohort) if "boxes" in line] == []
    said = capsys.readouterr().err
    assert "regions: Primary (10)" in said
    assert "if it is the primary region, write primary in regions.csv (1: region Primary)" in said


@pytest.mark.parametrize("key", ["sop_instance_uid", "path"])
def test_regions_may_name_their_image_by_instance_or_path(cohort: Path, key: str) -> None:
    images = pd.read_csv(cohort / "images.csv")
    images["image_id"] = [image_id_of_instance(uid_of(index)) for index in range(len(SIZES))]
    save(images, cohort / "images.csv")
    keys = {"sop_instance_uid": [uid_of(index) for index in range(len(SIZES))], "path": list(images["path"])}
    regions = planted_table().assign(**{key: keys[key]}, region="primary").drop(columns="image")
    save(regions, cohort / "regions.csv")
    assert list(read_cohort(cohort).regions["image_id"]) == list(images["image_id"])
    regions.loc[3, key] = "1.2.3.4" if key == "sop_instance_uid" else "elsewhere.dcm"
    save(regions, cohort / "regions.csv")
    with pytest.raises(InputError, match=f"regions.csv row 5, {key} = "):
        read_cohort(cohort)


def test_patients_need_not_be_filled_in_yet(cohort: Path, tmp_path: Path) -> None:
    patients = pd.read_csv(cohort / "patients.csv", dtype=str).assign(center="", aln_status="")
    save(patients, cohort / "patients.csv")
    import_regions([save(planted_table(), tmp_path / "boxes.csv")], cohort)
    assert_planted(cohort)


@pytest.mark.parametrize("size", ["0x5", "big", "-1", "1e3", "nan", "0", "9999999", "12x"])
def test_a_size_that_is_none_is_refused(cohort: Path, tmp_path: Path, size: str) -> None:
    with pytest.raises(InputError, match="--picture_size"):
        import_regions([save(planted_table(), tmp_path / "boxes.csv")], cohort, picture_size=size)


def test_widths_in_place_of_corners_are_named(cohort: Path) -> None:
    regions = planted_table().assign(image_id=[f"im{index}" for index in range(len(SIZES))], region="primary")
    regions["x_max"], regions["y_max"] = regions["x_max"] - regions["x_min"], regions["y_max"] - regions["y_min"]
    save(regions.drop(columns="image"), cohort / "regions.csv")
    assert any("a width or height? `mammo-aln regions` reads such tables" in line for line in check_cohort(cohort))


def test_a_box_under_a_second_name_is_told(cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = planted_table().assign(label="mass")
    boxes = save(table, tmp_path / "boxes.csv")
    import_regions([boxes], cohort)
    capsys.readouterr()
    import_regions([boxes], cohort, regions="mass=primary")
    assert f"{len(table)} boxes stand under another region as well (mass)" in capsys.readouterr().err
    import_regions([boxes], cohort, regions="mass=primary", replace=True)
    assert "under another region" not in capsys.readouterr().err
    assert set(pd.read_csv(cohort / "regions.csv")["region"]) == {"primary"}
