"""Planted boxes as annotation tools write them: one writer per tool's documented form, apart from the readers."""

from __future__ import annotations

import json
import math
import plistlib
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

from pascal_voc_writer import Writer

Box = tuple[float, float, float, float]
Picture = tuple[str, int, int, Box]
"""Name without ending, rows, columns, box."""


def coco(folder: Path, pictures: Sequence[Picture]) -> Path:
    images = [
        {"id": 10 + i, "file_name": f"{name}.png", "height": rows, "width": columns}
        for i, (name, rows, columns, _) in enumerate(pictures)
    ]
    drawn = [
        {"id": i, "image_id": 10 + i, "category_id": 1, "bbox": [x, y, right - x, low - y], "area": 1, "iscrowd": 0}
        for i, (_, _, _, (x, y, right, low)) in enumerate(pictures)
    ]
    return _json(folder / "instances.json", {"images": images, "annotations": drawn, "categories": [_MASS]})


def yolo(folder: Path, pictures: Sequence[Picture]) -> Path:
    (folder / "data.yaml").write_text("path: .\ntrain: images\nnames:\n  0: node\n  1: mass\n")
    for index, (name, rows, columns, (x, y, right, low)) in enumerate(pictures):
        line = f"1 {(x + right) / 2 / columns:.6f} {(y + low) / 2 / rows:.6f} {(right - x) / columns:.6f} "
        line += f"{(low - y) / rows:.6f}\n"
        if index % 2:  # a segmentation label: the polygon's points
            corners = [(x, y), (right, y), (right, low), (x, low)]
            line = "1 " + " ".join(f"{u / columns:.6f} {v / rows:.6f}" for u, v in corners) + "\n"
        target = folder / "labels" / "train" / f"{name}.txt"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(line)
    return folder


def labelme(folder: Path, pictures: Sequence[Picture]) -> Path:
    for index, (name, rows, columns, (x, y, right, low)) in enumerate(pictures):
        shape = {"label": "mass", "points": [[right, y], [x, low]], "shape_type": "rectangle", "flags": {}}
        if index % 2:
            shape |= {"shape_type": "polygon", "points": [[x, (y + low) / 2], [(x + right) / 2, y], [right, low]]}
        _json(
            folder / f"{name}.json",
            {"version": "5.5.0", "shapes": [shape], "imagePath": f"{name}.png", "imageData": None}
            | {"imageHeight": rows, "imageWidth": columns},
        )
    return folder


def voc(folder: Path, pictures: Sequence[Picture]) -> Path:
    for name, rows, columns, (x, y, right, low) in pictures:
        writer = Writer(f"/pictures/{name}.png", columns, rows)
        # the devkit counts pixels from 1 and includes both corners
        writer.addObject("mass", round(x) + 1, round(y) + 1, round(right), round(low))
        writer.save(str(folder / f"{name}.xml"))
    return folder


def via_2(folder: Path, pictures: Sequence[Picture]) -> Path:
    metadata = {}
    for index, (name, _, _, (x, y, right, low)) in enumerate(pictures):
        shape = {"name": "rect", "x": round(x), "y": round(y), "width": round(right - x), "height": round(low - y)}
        if index % 3 == 1:
            corners = [(round(x), round(y)), (round(right), round(y)), (round(right), round(low))]
            shape = {
                "name": "polygon",
                "all_points_x": [u for u, _ in corners],
                "all_points_y": [v for _, v in corners],
            }
        if index % 3 == 2:
            shape = {"name": "ellipse", "cx": (x + right) / 2, "cy": (y + low) / 2}
            shape |= {"rx": (low - y) / 2, "ry": (right - x) / 2, "theta": math.pi / 2}
        region = {"shape_attributes": shape, "region_attributes": {"label": "mass"}}
        metadata[f"{name}.png123"] = {
            "filename": f"{name}.png",
            "size": 123,
            "regions": [region],
            "file_attributes": {},
        }
    settings = {"ui": {}, "core": {}, "project": {"name": "reader 1"}}
    return _json(folder / "via_project.json", {"_via_settings": settings, "_via_img_metadata": metadata})


def via_1_csv(folder: Path, pictures: Sequence[Picture]) -> Path:
    lines = ["filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"]
    for name, _, _, (x, y, right, low) in pictures:
        shape = {"name": "rect", "x": round(x), "y": round(y), "width": round(right - x), "height": round(low - y)}
        cells = [json.dumps(cell).replace('"', '""') for cell in (shape, {"type": "mass"})]
        lines.append(f'{name}.png,123,"{{}}",1,0,"{cells[0]}","{cells[1]}"')
    target = folder / "via_region_data.csv"
    target.write_text("\n".join(lines) + "\n")
    return target


def via_3(folder: Path, pictures: Sequence[Picture]) -> Path:
    document = {"project": {"pid": "x"}, "config": {}, "attribute": {}, "file": {}, "view": {}, "metadata": {}}
    document["attribute"]["1"] = {"aname": "finding", "anchor_id": "FILE1_Z0_XY1", "type": 4, "options": {"7": "mass"}}
    for index, (name, _, _, (x, y, right, low)) in enumerate(pictures, 1):
        document["file"][str(index)] = {"fid": str(index), "fname": f"{name}.png", "type": 2, "loc": 1, "src": ""}
        document["view"][str(index)] = {"fid_list": [str(index)]}
        document["metadata"][f"{index}_ab"] = {
            "vid": str(index), "flg": 0, "z": [], "xy": [2, x, y, right - x, low - y], "av": {"1": "7"},
        }  # fmt: skip
    return _json(folder / "via3.json", document)


def cvat(folder: Path, pictures: Sequence[Picture]) -> Path:
    shapes: list[Callable[[Box], str]] = [_cvat_box, _cvat_turned_box, _cvat_polygon, _cvat_ellipse, _cvat_mask]
    images = [
        f'<image id="{i}" name={quoteattr(f"set/{name}.png")} width="{columns}" height="{rows}">'
        f"{shapes[i % len(shapes)](box)}</image>"
        for i, (name, rows, columns, box) in enumerate(pictures)
    ]
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
    meta = "<meta><task><name>t</name><flipped>False</flipped></task></meta>"
    target = folder / "annotations.xml"
    target.write_text(f"{head}{meta}{''.join(images)}</annotations>\n")
    return target


def _cvat_box(box: Box) -> str:
    x, y, right, low = box
    return f'<box label="mass" occluded="0" xtl="{x}" ytl="{y}" xbr="{right}" ybr="{low}" z_order="0"/>'


def _cvat_turned_box(box: Box) -> str:
    """A quarter turn about the middle exchanges the sides."""
    x, y, right, low = box
    middle, half = ((x + right) / 2, (y + low) / 2), ((low - y) / 2, (right - x) / 2)
    return (
        f'<box label="mass" xtl="{middle[0] - half[0]}" ytl="{middle[1] - half[1]}" xbr="{middle[0] + half[0]}" '
        f'ybr="{middle[1] + half[1]}" rotation="90.0"/>'
    )


def _cvat_polygon(box: Box) -> str:
    x, y, right, low = box
    return f'<polygon label="mass" points="{x},{low};{(x + right) / 2},{y};{right},{(y + low) / 2}"/>'


def _cvat_ellipse(box: Box) -> str:
    x, y, right, low = box
    middle = f'cx="{(x + right) / 2}" cy="{(y + low) / 2}"'
    return f'<ellipse label="mass" {middle} rx="{(right - x) / 2}" ry="{(low - y) / 2}"/>'


def _cvat_mask(box: Box) -> str:
    """A frame of background one pixel wide around the filled mask."""
    x, y, right, low = (round(edge) for edge in box)
    width, height = right - x + 2, low - y + 2
    runs = [width + 1] + [right - x, 2] * (low - y - 1) + [right - x, width + 1]
    return (
        f'<mask label="mass" rle="{", ".join(map(str, runs))}" left="{x - 1}" top="{y - 1}" width="{width}" '
        f'height="{height}"/>'
    )


def label_studio(folder: Path, pictures: Sequence[Picture]) -> Path:
    tasks = []
    for index, (name, rows, columns, (x, y, right, low)) in enumerate(pictures):
        across, down = 100 / columns, 100 / rows
        value = {"x": x * across, "y": y * down, "width": (right - x) * across, "height": (low - y) * down}
        value |= {"rotation": 0, "rectanglelabels": ["mass"]}
        kind = "rectanglelabels"
        if index % 3 == 1:  # turned by a quarter about its upper left corner: drawn from the right, sides exchanged
            value |= {"x": right * across, "width": (low - y) * across, "height": (right - x) * down, "rotation": 90}
        if index % 3 == 2:
            kind = "ellipselabels"
            value = {"x": (x + right) / 2 * across, "y": (y + low) / 2 * down, "rotation": 0, "ellipselabels": ["mass"]}
            value |= {"radiusX": (right - x) / 2 * across, "radiusY": (low - y) / 2 * down}
        result = {"type": kind, "value": value, "original_width": columns, "original_height": rows, "image_rotation": 0}
        task = {"id": index, "data": {"image": f"/data/upload/3/0a1b2c3d-{name}.png"}, "predictions": []}
        tasks.append(task | {"annotations": [{"id": index, "was_cancelled": False, "result": [result]}]})
    return _json(folder / "project-3.json", tasks)


def label_studio_min(folder: Path, pictures: Sequence[Picture]) -> Path:
    tasks = []
    for index, (name, rows, columns, (x, y, right, low)) in enumerate(pictures):
        across, down = 100 / columns, 100 / rows
        label = {"x": x * across, "y": y * down, "width": (right - x) * across, "height": (low - y) * down}
        label |= {"rotation": 0, "rectanglelabels": ["mass"], "original_width": columns, "original_height": rows}
        image = f"/data/local-files/?d=mammograms/{name}.png"
        tasks.append({"image": image, "id": index, "label": [label], "annotator": 1, "annotation_id": index})
    return _json(folder / "project-min.json", tasks)


def slicer(folder: Path, pictures: Sequence[Picture], spacing_mm: float) -> Path:
    """Slicer works in RAS and writes LPS; the first pixel's centre is the origin."""
    for index, (name, _, _, box) in enumerate(pictures):
        x, y, right, low = ((edge - 0.5) * spacing_mm for edge in box)
        markup = {"type": "ROI", "coordinateSystem": "LPS", "coordinateUnits": "mm", "name": "mass", "roiType": "Box"}
        markup |= {"center": [(x + right) / 2, (y + low) / 2, 0.0], "size": [right - x, low - y, 1.0]}
        markup |= {"orientation": [-1, 0, 0, 0, -1, 0, 0, 0, 1]}
        if index % 2:
            points = [[-x, -y, 0], [-right, -y, 0], [-right, -low, 0], [-x, -low, 0]]
            controls = [{"id": str(i), "label": f"mass-{i}", "position": point} for i, point in enumerate(points, 1)]
            markup = {"type": "ClosedCurve", "coordinateSystem": "RAS", "controlPoints": controls}
        schema = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema"
        _json(folder / f"{name}.mrk.json", {"@schema": f"{schema}/markups-schema-v1.0.3.json#", "markups": [markup]})
    return folder


def inbreast(folder: Path, pictures: Sequence[Picture]) -> Path:
    for name, _, columns, (x, y, right, low) in pictures:
        corners = [(x, y), (right, y), (right, low), (x, low)]
        mass = {"Name": "Mass", "NumberOfPoints": 4, "Point_px": [f"({u:f}, {v:f})" for u, v in corners], "Type": 15}
        muscle = {"Name": "Pectoral Muscle", "NumberOfPoints": 2, "Point_px": ["(0, 0)", f"({columns}, 0)"], "Type": 15}
        images = [{"ImageIndex": 0, "NumberOfROIs": 2, "ROIs": [mass, muscle]}]
        (folder / f"{name}.xml").write_bytes(plistlib.dumps({"Images": images}))
    return folder


_MASS = {"id": 1, "name": "mass"}


def _json(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path
