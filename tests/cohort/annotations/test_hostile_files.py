"""Any value at any place of a tool's file ends in boxes or in a refusal in words, never in another exception."""

from __future__ import annotations

import copy
import json
import math
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammo_aln.cohort.annotations.formats import FORMATS, format_of
from mammo_aln.cohort.annotations.matching import ListedImage, match_images, same_file_twice
from mammo_aln.cohort.annotations.placement import PlacedBox, StoredImage, refuse_misfits
from mammo_aln.cohort.annotations.record import Annotation, Listed, Skipped
from mammo_aln.cohort.annotations.text.box_table import read_box_table
from mammo_aln.cohort.annotations.text.labelme import read_labelme
from mammo_aln.cohort.annotations.text.voc import read_voc
from mammo_aln.cohort.region_names import parse_region_names, region_of
from mammo_aln.errors import InputError
from tests.support import annotation_files as files

PICTURES = [("a", 80, 60, (5.0, 6.0, 20.0, 30.0)), ("b", 80, 60, (7.0, 8.0, 21.0, 33.0))]
VALUES: list[Any] = [
    None, True, 0, -1, 1e300, 10**400, 0.5, "", "x", "1", "-3", "nan", [], {}, [1], [[1, 2]], {"x": 1}, [None], "1,5",
]  # fmt: skip
JSON_WRITERS = [
    files.coco, files.labelme, files.via_2, files.via_3, files.label_studio, files.label_studio_min,
    lambda folder, pictures: files.slicer(folder, pictures, 0.5),
]  # fmt: skip
XML_WRITERS = [files.cvat, files.voc, files.inbreast]


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def assert_boxes_or_refusal(path: Path) -> None:
    refusal, reading = path.name, []
    try:
        name = format_of(path)
        reading = FORMATS[name].read(path) if name else []
    except InputError as error:
        refusal = str(error)
    assert path.stem.split(".")[0] in refusal
    assert len(refusal) < 1000
    for element in reading:
        if isinstance(element, Annotation):
            edges = (element.x_min, element.y_min, element.x_max, element.y_max)
            assert all(map(math.isfinite, edges)), element
            assert edges[0] < edges[2]
            assert edges[1] < edges[3]


def first_file(path: Path) -> Path:
    return path if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix in (".json", ".xml"))[0]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_value_anywhere_in_json(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = first_file(data.draw(st.sampled_from(JSON_WRITERS))(Path(folder), PICTURES))
        document = json.loads(path.read_text())
        changed = copy.deepcopy(document)
        *way, last = data.draw(st.sampled_from(list(places(document))))
        node = changed
        for key in way:
            node = node[key]
        if data.draw(st.booleans()):
            node[last] = data.draw(st.sampled_from(VALUES))
        else:
            del node[last]
        path.write_text(json.dumps(changed))
        assert_boxes_or_refusal(path)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_value_anywhere_in_xml(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = first_file(data.draw(st.sampled_from(XML_WRITERS))(Path(folder), PICTURES))
        text = path.read_text()
        hits = list(re.finditer(r'(?<==")[^"]*(?=")|(?<=>)[^<>]+(?=<)|<(\w+)[^<>]*/>', text))
        hit = data.draw(st.sampled_from(hits))
        value = data.draw(st.sampled_from(["", "x", "-1", "nan", "1e400", "9" * 500, "1;2", ",", "0"]))
        path.write_text(text[: hit.start()] + value + text[hit.end() :])
        assert_boxes_or_refusal(path)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([".json", ".xml", ".csv", ".txt"]))
def test_any_bytes(content: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"bytes{suffix}"
        path.write_bytes(content)
        assert_boxes_or_refusal(path)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["", "1", "2.5", "-4", "nan", "x", "1e309", "[1, 2, 3, 4]", "0.2"]), min_size=4, max_size=4
    )
)
def test_any_cell_of_a_table(cells: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "boxes.csv"
        quoted = ",".join(f'"{cell}"' for cell in cells)
        path.write_text(f"image,x_min,y_min,x_max,y_max\na,5,6,7,8\nb,{quoted}\n")
        assert_boxes_or_refusal(path)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30), st.lists(st.text(max_size=12), min_size=1, max_size=4, unique=True))
def test_any_name_of_an_image(name: str, paths: list[str]) -> None:
    images = [ListedImage(f"im{index}", path) for index, path in enumerate(paths)]
    matches = match_images([name], images)
    assert len(matches.image_ids) + len(matches.unmatched) + len(matches.ambiguous) == 1


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30), st.text(max_size=10))
def test_any_mapping_of_regions(text: str, label: str) -> None:
    try:
        names = parse_region_names(text)
    except InputError:
        return
    assert region_of(label, names) != ""


def test_vindr_and_embed_tables(tmp_path: Path) -> None:
    vindr = tmp_path / "finding_annotations.csv"
    vindr.write_text(
        "study_id,series_id,image_id,laterality,view_position,height,width,breast_birads,breast_density,"
        "finding_categories,finding_birads,xmin,ymin,xmax,ymax,split\n"
        "s,e,4f,L,CC,3518,2800,BI-RADS 4,DENSITY C,\"['Mass', 'Asymmetry']\",BI-RADS 4,700.5,1200,900,1500.25,test\n"
        "s,e,5a,L,MLO,3518,2800,BI-RADS 1,DENSITY C,['No Finding'],,,,,,test\n"
    )
    box, skipped, _ = read_box_table(vindr)
    assert isinstance(box, Annotation)
    assert (box.image, box.region, box.rows, box.columns) == ("4f", "Mass, Asymmetry", 3518, 2800)
    assert (box.x_min, box.y_min, box.x_max, box.y_max) == (700.5, 1200, 900, 1500.25)
    assert not isinstance(skipped, Annotation)
    embed = tmp_path / "metadata.csv"
    embed.write_text(
        'anon_dicom_path,num_roi,ROI_coords\n/a/b.dcm,2,"((10, 20, 30, 50), (1, 2, 3, 4))"\n/a/c.dcm,0,()\n'
    )
    first, second, none, listed = read_box_table(embed)
    assert isinstance(first, Annotation)
    assert isinstance(second, Annotation)
    assert (first.x_min, first.y_min, first.x_max, first.y_max) == (20, 10, 50, 30)
    assert second.x_max == 4
    assert isinstance(none, Skipped)
    assert listed == Listed("/a/c.dcm")


def test_a_table_of_excel_with_semicolons_and_decimal_commas(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_bytes("filename;x;y;w;h\r\na.png;10,5;20;30,25;40\r\n".encode("utf-16"))
    (box,) = read_box_table(path)
    assert isinstance(box, Annotation)
    assert (box.x_min, box.y_min, box.x_max, box.y_max) == (10.5, 20, 40.75, 60)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("image=File", "no column 'File'"),
        ("left=x", "expected a role of"),
        ("x_min", "expected ROLE=COLUMN"),
    ],
)
def test_a_wrong_mapping_of_columns_is_told(tmp_path: Path, columns: str, words: str) -> None:
    from mammo_aln.cohort.annotations.text.columns import parse_columns

    path = tmp_path / "boxes.csv"
    path.write_text("file,x,y,w,h\na,1,2,3,4\n")
    with pytest.raises(InputError, match=words):
        read_box_table(path, parse_columns(columns))


@pytest.mark.parametrize("sides", ["w,h", "bbox_w,bbox_h"])
def test_width_beside_the_box_is_the_pictures(tmp_path: Path, sides: str) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text(f'image,width,height,x,y,{sides},label\na.png,512,1024,1,2,30,40,"[{{[]: 1}}]"\n')
    (box,) = read_box_table(path)
    assert isinstance(box, Annotation)
    assert (box.x_min, box.y_min, box.x_max, box.y_max) == (1, 2, 31, 42)
    assert (box.rows, box.columns) == (1024, 512)
    assert box.region == "[{[]: 1}]"


@pytest.mark.parametrize("first", ["nan", "inf", "1.5"])
def test_text_that_begins_with_no_class_is_no_yolo_file(tmp_path: Path, first: str) -> None:
    (tmp_path / "a.txt").write_text(f"{first} 0.5 0.5 0.1 0.1\n")
    assert format_of(tmp_path / "a.txt") is None


def test_via_3_csv(tmp_path: Path) -> None:
    path = tmp_path / "via3.csv"
    attribute = '{"1":{"aname":"finding","type":4,"options":{"7":"mass"}}}'
    path.write_text(
        f"# Exported using VGG Image Annotator\n# ATTRIBUTE = {attribute}\n"
        "# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata\n"
        '"1_a","[""b.png""]",0,"[]","[2,10,20,30,40]","{""1"":""7""}"\n'
        '"1_b","[""b.png""]",0,"[]","[]","{""1"":""7""}"\n'
    )
    assert format_of(path) == "via_csv"
    _, box, _, remark = FORMATS["via_csv"].read(path)
    assert isinstance(remark, Skipped)
    assert isinstance(box, Annotation)
    assert (box.image, box.region) == ("b.png", "mass")
    assert (box.x_min, box.y_min, box.x_max, box.y_max) == (10, 20, 40, 60)


def test_picture_of_a_patient_who_is_not_listed_is_no_image() -> None:
    one = [ListedImage("i1", "p001/2020/l_cc.dcm")]
    several = [*one, ListedImage("i2", "p002/2020/l_cc.dcm")]

    matches = match_images(["p009/2020/l_cc.png", "p001/2021/l_cc.png", "p001/png/l_cc.png"], one)

    assert matches.image_ids == {"p001/png/l_cc.png": "i1"}
    assert match_images(["p009/2020/l_cc.png"], several).unmatched == ("p009/2020/l_cc.png",)


def test_a_picture_in_the_folder_of_one_patient_is_not_the_image_of_another() -> None:
    images = [ListedImage("i1", "north/a.dcm"), ListedImage("i2", "south/b.dcm")]
    matches = match_images(["south/a.png", "png/a.png"], images)
    assert matches.image_ids == {"png/a.png": "i1"}
    assert matches.unmatched == ("south/a.png",)


def test_pictures_of_two_folders_are_no_image_twice() -> None:
    names = {"set1/a.png": "i1", "set2/a.png": "i1", "b.png": "i2", "set1/b.png": "i2"}
    assert same_file_twice(names) == {"i1": ("set1/a.png", "set2/a.png")}


def test_boxes_with_y_before_x_are_named() -> None:
    image = StoredImage("i1", rows=100, columns=50)
    boxes = [PlacedBox(Annotation("a", "", *edges), image, edges) for edges in [(60, 10, 80, 20), (5, 6, 9, 9)]]
    with pytest.raises(InputError, match="x and y are exchanged"):
        refuse_misfits(boxes)


def test_files_beside_their_pictures_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    folder = tmp_path / "p001"
    folder.mkdir()
    shape = {"label": "primary", "shape_type": "rectangle", "points": [[1, 2], [5, 6]]}
    (folder / "a.json").write_text(json.dumps({"shapes": [shape], "imagePath": "a.png"}))
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
    (folder / "a.xml").write_text(
        f"<annotation><filename>a.png</filename><object><name>primary</name>{box}</object></annotation>"
    )
    images = [ListedImage("i1", "p001/a.dcm"), ListedImage("i2", "p002/a.dcm")]

    for element in (*read_labelme(folder / "a.json"), *read_voc(folder / "a.xml")):
        assert isinstance(element, Annotation | Listed)
        assert match_images([element.image], images).image_ids == {element.image: "i1"}


def test_folder_and_name_may_be_joined_by_an_underscore() -> None:
    images = [ListedImage("i1", "d/p001/l_cc.dcm"), ListedImage("i2", "d/p002/l_cc.dcm")]

    matches = match_images(["p002_l_cc.png", "p009_l_cc.png"], images)

    assert matches.image_ids == {"p002_l_cc.png": "i2"}
    assert matches.unmatched == ("p009_l_cc.png",)
