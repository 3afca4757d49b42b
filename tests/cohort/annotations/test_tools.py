"""Every tool's file puts the planted boxes on the stored matrix within half a pixel, or is refused in words."""

from __future__ import annotations

import json
import plistlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from mammo_aln.cohort.annotations.regions import import_regions
from mammo_aln.errors import InputError
from tests.support import annotation_files as files
from tests.support.annotated_cohort import (
    SIZES,
    SPACING_MM,
    image_name,
    imported_boxes,
    planted_box,
)

Write = Callable[[Path, list[files.Picture]], Path]
WRITERS: dict[str, Write] = {
    "coco": files.coco,
    "yolo": files.yolo,
    "labelme": files.labelme,
    "voc": files.voc,
    "via_2": files.via_2,
    "via_1_csv": files.via_1_csv,
    "via_3": files.via_3,
    "cvat": files.cvat,
    "label_studio": files.label_studio,
    "label_studio_min": files.label_studio_min,
    "slicer": partial(files.slicer, spacing_mm=SPACING_MM),
    "inbreast": files.inbreast,
}
STATE_A_SIZE = ("coco", "labelme", "voc", "cvat", "label_studio")
IN_SHARES = ("yolo", "label_studio", "label_studio_min")
ROUNDED = ("voc", "via_2", "via_1_csv")


def pictures(scale: float = 1.0) -> list[files.Picture]:
    return [
        (image_name(index), round(rows * scale), round(columns * scale), scaled(planted_box(index), scale))
        for index, (rows, columns) in enumerate(SIZES)
    ]


def scaled(box: files.Box, scale: float) -> files.Box:
    return tuple(edge * scale for edge in box)


def mirrored(picture: files.Picture) -> files.Picture:
    name, rows, columns, (x, y, right, low) = picture
    return name, rows, columns, (columns - right, y, columns - x, low)


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    folder = tmp_path / "drawn"
    folder.mkdir()
    return folder


def assert_planted(cohort: Path, tolerance_px: float) -> None:
    boxes = imported_boxes(cohort)
    assert sorted(boxes) == sorted(f"im{index}" for index in range(len(SIZES)))
    for index in range(len(SIZES)):
        assert boxes[f"im{index}"] == [pytest.approx(planted_box(index), abs=tolerance_px)]


@pytest.mark.parametrize("tool", WRITERS)
def test_a_tools_boxes_are_the_planted_ones(cohort: Path, drawn: Path, tool: str) -> None:
    import_regions([WRITERS[tool](drawn, pictures())], cohort)
    # VIA rounds corner and size apart, so that an edge may be two half pixels off by the writer's own doing
    assert_planted(cohort, 1.0 if tool in ("via_2", "via_1_csv") else 0.5)
    regions = set(pd.read_csv(cohort / "regions.csv")["region"])
    assert {region.casefold() for region in regions} == {"mass"}


@pytest.mark.parametrize("tool", STATE_A_SIZE)
def test_boxes_of_a_picture_of_half_the_size_are_enlarged(cohort: Path, drawn: Path, tool: str) -> None:
    import_regions([WRITERS[tool](drawn, pictures(0.5))], cohort)
    assert_planted(cohort, 1.5 if tool in ROUNDED else 1.1)


@pytest.mark.parametrize("tool", sorted(set(WRITERS) - {"slicer"}))
def test_a_flipped_file_is_refused_and_read_with_the_flag(cohort: Path, drawn: Path, tool: str) -> None:
    path = WRITERS[tool](drawn, [mirrored(picture) for picture in pictures()])
    with pytest.raises(InputError, match="pictures of all breasts were mirrored"):
        import_regions([path], cohort)
    assert not (cohort / "regions.csv").exists()
    import_regions([path], cohort, flipped="all")
    assert_planted(cohort, 1.0 if tool in ROUNDED else 0.5)


@pytest.mark.parametrize("tool", sorted(set(WRITERS) - {"slicer"}))
def test_an_exchanged_file_is_refused(cohort: Path, drawn: Path, tool: str) -> None:
    exchanged = [
        (name, *((columns, rows) if tool in IN_SHARES else (rows, columns)), (y, x, low, right))
        for name, rows, columns, (x, y, right, low) in pictures()
    ]
    with pytest.raises(InputError, match=r"exchanged|y stands before x|reach outside|shares of the picture|another"):
        import_regions([WRITERS[tool](drawn, exchanged)], cohort)
    assert not (cohort / "regions.csv").exists()


@pytest.mark.parametrize("tool", sorted(set(WRITERS) - set(IN_SHARES) - set(STATE_A_SIZE) - {"slicer"}))
def test_a_rescaled_file_is_refused(cohort: Path, drawn: Path, tool: str) -> None:
    with pytest.raises(InputError, match="another size"):
        import_regions([WRITERS[tool](drawn, pictures(2.0))], cohort)
    (drawn / "half").mkdir()
    with pytest.raises(InputError, match="another size"):
        import_regions([WRITERS[tool](drawn / "half", pictures(0.5))], cohort)
    assert not (cohort / "regions.csv").exists()


@pytest.mark.parametrize("tool", WRITERS)
@pytest.mark.parametrize("damage", ["cut", "utf-16", "bom", "nan", "huge", "negative", "empty"])
def test_a_damaged_file_is_refused_or_read_right(cohort: Path, drawn: Path, tool: str, damage: str) -> None:
    path = WRITERS[tool](drawn, pictures())
    target = (
        path if path.is_file() else next(p for p in sorted(path.rglob("*")) if p.suffix in (".txt", ".json", ".xml"))
    )
    content = target.read_bytes()
    target.write_bytes(damaged(content, damage))
    refusal = ""
    try:
        import_regions([path], cohort)
    except InputError as error:
        refusal = str(error)
    assert len(refusal) < 2000
    assert bool(refusal) != (cohort / "regions.csv").exists()
    for image_id, boxes in ({} if refusal else imported_boxes(cohort)).items():
        assert boxes == [pytest.approx(planted_box(int(image_id.removeprefix("im"))), abs=1.0)]


def damaged(content: bytes, damage: str) -> bytes:
    text = content.decode()
    last = list(re.finditer(r"(?<![\w.])\d+\.\d+(?![\w.])|(?<=[ >\"])\d+(?=[,<\"])", text))
    middle = last[len(last) // 2] if last else None
    if damage in ("nan", "huge", "negative") and middle:
        value = {"nan": "NaN", "huge": "1" + "0" * 400, "negative": f"-{middle[0]}"}[damage]
        text = text[: middle.start()] + value + text[middle.end() :]
    return {
        "cut": content[: len(content) * 2 // 3],
        "utf-16": text.encode("utf-16"),
        "bom": b"\xef\xbb\xbf" + content,
        "empty": b"",
    }.get(damage, text.encode())


BOMB = """<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>
<annotation><filename>&b;</filename></annotation>"""
OUTSIDE = """<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/hostname">]>
<annotation><filename>&a;</filename></annotation>"""


@pytest.mark.parametrize("text", [BOMB, OUTSIDE, "<annotation>" * 5000, "<annotation>", "no xml"])
def test_xml_with_entities_or_without_end_is_refused(cohort: Path, drawn: Path, text: str) -> None:
    path = drawn / "a.xml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"a\.xml"):
        import_regions([path], cohort)


def test_elements_without_area_are_counted(cohort: Path, drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = files.labelme(drawn, pictures()) / f"{image_name(0)}.json"
    document = json.loads(path.read_text())
    point = {"label": "clip", "points": [[3.0, 4.0]], "shape_type": "point"}
    line = {"label": "clip", "points": [[3.0, 4.0], [3.0, 9.0]], "shape_type": "rectangle"}
    path.write_text(json.dumps(document | {"shapes": [*document["shapes"], point, line]}))
    (drawn / "notes.txt").write_text("for the second reader")
    import_regions([drawn], cohort)
    assert_planted(cohort, 0.5)
    said = capsys.readouterr().err
    assert "12 regions in 10 files (10 x labelme)" in said
    assert "skipped: 1 x a point has no area" in said
    assert "skipped: 1 x no area" in said
    assert "not read: 1 files of no known format, or pictures beside annotations (notes.txt)" in said


def test_millimetres_without_a_spacing_are_refused(cohort: Path, drawn: Path) -> None:
    path = files.slicer(drawn, pictures(), 1.0)
    import_regions([path], cohort, spacing_mm=1.0)  # drawn on a PNG, which Slicer shows with 1 mm
    assert_planted(cohort, 0.5)
    for name in ("coordinateUnits", "coordinateSystem"):
        target = path / f"{image_name(0)}.mrk.json"
        document = json.loads(target.read_text())
        document["markups"][0][name] = "um"
        target.write_text(json.dumps(document))
        with pytest.raises(InputError, match=name):
            import_regions([path], cohort)


def empty_first_picture(tool: str, folder: Path) -> None:
    """Take the regions of the first picture out of a tool's file; the picture stays listed."""
    name = image_name(0)
    if tool == "coco":
        path = folder / "instances.json"
        document = json.loads(path.read_text())
        del document["annotations"][0]
        path.write_text(json.dumps(document))
    elif tool == "cvat":
        (path,) = folder.glob("*.xml")
        text = path.read_text()
        path.write_text(re.sub(r"(?s)(<image [^>]*>).*?(</image>)", r"\1\2", text, count=1))
    elif tool == "labelme":
        path = folder / f"{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"shapes": []}))
    elif tool == "yolo":
        (folder / "labels" / "train" / f"{name}.txt").write_text("")
    elif tool == "via_2":
        path = folder / "via_project.json"
        document = json.loads(path.read_text())
        document["_via_img_metadata"][f"{name}.png123"]["regions"] = []
        path.write_text(json.dumps(document))
    elif tool == "via_1_csv":
        path = folder / "via_region_data.csv"
        path.write_text(re.sub(rf"(?m)^({name}.png,123,[^,]*),.*$", r'\1,0,0,"{}","{}"', path.read_text()))
    elif tool == "via_3":
        path = folder / "via3.json"
        document = json.loads(path.read_text())
        del document["metadata"]["1_ab"]
        path.write_text(json.dumps(document))
    elif tool == "label_studio":
        (path,) = folder.glob("*.json")
        tasks = json.loads(path.read_text())
        tasks[0]["annotations"][0]["result"] = []
        path.write_text(json.dumps(tasks))
    elif tool == "label_studio_min":
        (path,) = folder.glob("*.json")
        tasks = json.loads(path.read_text())
        del tasks[0]["label"]
        path.write_text(json.dumps(tasks))
    elif tool == "slicer":
        path = folder / f"{name}.mrk.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"markups": []}))
    elif tool == "inbreast":
        path = folder / f"{name}.xml"
        document = plistlib.loads(path.read_bytes())
        document["Images"][0]["ROIs"].pop(0)  # the muscle's outline stays
        path.write_bytes(plistlib.dumps(document))
    else:
        (path,) = folder.rglob(f"{name}.xml")
        path.write_text(re.sub(r"(?s)<object>.*</object>", "", path.read_text()))


@pytest.mark.parametrize("tool", WRITERS)
def test_replaced_files_take_the_boxes_of_emptied_pictures_away(
    cohort: Path, drawn: Path, capsys: pytest.CaptureFixture[str], tool: str
) -> None:
    path = WRITERS[tool](drawn, pictures())
    import_regions([path], cohort)
    before = set(pd.read_csv(cohort / "regions.csv")["image_id"])
    empty_first_picture(tool, drawn)

    import_regions([path], cohort, replace=True)

    assert before - set(pd.read_csv(cohort / "regions.csv")["image_id"]) == {"im0"}
    assert "rows of the images that the files name" in capsys.readouterr().err


def test_a_file_whose_last_box_was_taken_away_takes_its_row_away(cohort: Path, drawn: Path) -> None:
    path = files.labelme(drawn, pictures()) / f"{image_name(0)}.json"
    import_regions([drawn], cohort)
    document = json.loads(path.read_text())
    clip = {"label": "clip", "points": [[3.0, 4.0]], "shape_type": "point"}
    path.write_text(json.dumps(document | {"shapes": [clip]}))

    with pytest.raises(InputError, match="no box to take"):
        import_regions([path], cohort)
    with pytest.raises(InputError, match="no box to take"):
        import_regions([drawn / f"{image_name(1)}.json"], cohort, regions="mass=", replace=True)
    import_regions([path], cohort, replace=True)

    assert sorted(imported_boxes(cohort)) == sorted(f"im{index}" for index in range(1, len(SIZES)))
    with pytest.raises(InputError, match="no box to take"):
        import_regions([path], cohort, replace=True)


def test_coco_corners_in_place_of_sizes_are_named_and_an_empty_box_is_its_polygons(cohort: Path, drawn: Path) -> None:
    path = files.coco(drawn, pictures())
    document = json.loads(path.read_text())
    for element in document["annotations"]:
        x, y, width, height = element["bbox"]
        element["segmentation"] = [[x, y, x + width, y, x + width, y + height]]
        element["bbox"] = [x, y, x + width, y + height]
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="width and height are most likely the second corner"):
        import_regions([path], cohort)

    for element in document["annotations"]:
        element["bbox"] = [0, 0, 0, 0]
    path.write_text(json.dumps(document))
    import_regions([path], cohort)

    assert_planted(cohort, 0.5)
