"""JSON files as their tools write them, with planted boxes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pycocotools.coco import COCO

from mammo_aln.cohort.annotations.formats import format_of
from mammo_aln.cohort.annotations.record import Annotation, Skipped
from mammo_aln.cohort.annotations.text.coco import read_coco
from mammo_aln.cohort.annotations.text.label_studio import read_label_studio
from mammo_aln.cohort.annotations.text.labelme import read_labelme
from mammo_aln.errors import InputError


def write_json(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def edges(annotation: Annotation | Skipped) -> tuple[float, float, float, float]:
    assert isinstance(annotation, Annotation), annotation
    return annotation.x_min, annotation.y_min, annotation.x_max, annotation.y_max


def test_coco_boxes_are_those_that_pycocotools_draws(tmp_path: Path) -> None:
    polygon = [12.0, 30.0, 40.0, 30.0, 40.0, 55.0, 12.0, 55.0]
    document = {
        "images": [{"id": 7, "file_name": "a/b.png", "width": 100, "height": 80}],
        "categories": [{"id": 3, "name": "mass"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "segmentation": [polygon], "area": 700, "iscrowd": 0},
        ],
    }
    path = write_json(tmp_path / "instances.json", document)
    coco = COCO(str(path))
    rows, columns = coco.annToMask(coco.anns[1]).nonzero()
    drawn = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    annotation, _ = read_coco(path)
    assert edges(annotation) == pytest.approx(drawn, abs=0.5)
    assert isinstance(annotation, Annotation)
    assert (annotation.region, annotation.image, annotation.rows, annotation.columns) == ("mass", "a/b.png", 80, 100)
    assert format_of(path) == "coco"


def test_labelme_shapes(tmp_path: Path) -> None:
    def shape(kind: str, points: list[list[float]]) -> dict[str, object]:
        return {"label": "mass", "points": points, "group_id": None, "shape_type": kind, "flags": {}}

    shapes = [
        shape("rectangle", [[50.0, 60.0], [10.0, 20.0]]),
        shape("circle", [[30.0, 40.0], [33.0, 44.0]]),
        shape("polygon", [[1.0, 2.0], [9.0, 4.0], [5.0, 8.0]]),
        shape("mask", [[11.0, 12.0], [14.0, 13.0]]),
        shape("point", [[3.0, 3.0]]),
    ]
    document = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": "..\\png\\x.png", "imageData": None}
    path = write_json(tmp_path / "x.json", document | {"imageHeight": 90, "imageWidth": 70})
    *boxes, point, _ = read_labelme(path)
    assert [edges(box) for box in boxes] == [(10, 20, 50, 60), (25, 35, 35, 45), (1, 2, 9, 8), (11, 12, 15, 14)]
    assert isinstance(point, Skipped)
    assert isinstance(boxes[0], Annotation)
    assert boxes[0].image == f"{tmp_path}/../png/x.png"


@pytest.mark.parametrize("text", ['{"images": [', "[" * 100_000, '{"images": NaN}', '{"a": ' + "9" * 5000 + "}", "\0"])
def test_broken_json_is_refused_in_words(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"broken\.json"):
        format_of(path)


def test_a_label_studio_shape_beside_its_label_is_one_box(tmp_path: Path) -> None:
    value = {"x": 1, "y": 2, "width": 30, "height": 40, "rotation": 0}
    size = {"original_width": 100, "original_height": 200}
    results = [
        {"id": "k", "type": "rectangle", "value": value, **size},
        {"id": "k", "type": "labels", "value": {**value, "labels": ["mass"]}, **size},
        {"id": "n", "type": "rectangle", "value": {**value, "x": 50}, **size},
    ]
    task = {"data": {"image": "a.png"}, "annotations": [{"result": results}]}

    reading = read_label_studio(write_json(tmp_path / "a.json", [task]))

    assert [(box.region, edges(box)) for box in reading if isinstance(box, Annotation)] == [
        ("mass", (1, 4, 31, 84)),
        ("", (50, 4, 80, 84)),
    ]
    results[0]["type"] = ["rectangle"]
    with pytest.raises(InputError, match=r"type = .*: expected rectanglelabels"):
        read_label_studio(write_json(tmp_path / "a.json", [task]))


def test_coco_says_what_it_leaves_out_and_keeps_category_0(tmp_path: Path) -> None:
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 100, "height": 100}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 0, "bbox": [1, 2, 3, 4]},
            {"id": 2, "image_id": 1, "segmentation": {"counts": "abc", "size": [100, 100]}},
        ],
    }
    box, mask, *_ = read_coco(write_json(tmp_path / "a.json", document))
    assert isinstance(box, Annotation)
    assert box.region == "0"
    assert isinstance(mask, Skipped)
    assert "run-length masks are not read" in mask.reason

    document["annotations"][0]["image_id"] = 1.0
    with pytest.raises(InputError, match=r"image_id = 1\.0: expected an id of an image"):
        read_coco(write_json(tmp_path / "a.json", document))
