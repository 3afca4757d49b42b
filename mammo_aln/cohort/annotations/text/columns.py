"""Columns of a table of boxes: by their usual names, or as `--columns ROLE=COLUMN,...` states them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from mammo_aln.errors import InputError, did_you_mean

NAMES: dict[str, tuple[str, ...]] = {
    "image": (
        "imageid", "sopinstanceuid", "sopuid", "image", "imagename", "imagepath", "imagefile", "imagefilename",
        "filename", "filepath", "file", "path", "img", "imgname", "imgpath", "picture", "dicom", "dicompath",
        "anondicompath", "dicomfile", "pngfilename", "pngpath", "png", "originalfilename", "dicomuid",
        "instanceuid", "sopinstanceuidanon",
    ),
    "region": (
        "region", "label", "labels", "class", "classname", "category", "categoryname", "finding", "findings",
        "findingcategories", "findingcategory", "lesion", "lesiontype", "annotation", "regionname", "type", "name",
    ),
    "frame": ("frame", "framenumber", "slice"),
    "x_min": ("xmin", "minx", "x0", "x1", "left", "xtl", "xstart", "startx", "bboxxmin", "bboxx0", "boxxmin"),
    "y_min": ("ymin", "miny", "y0", "y1", "top", "ytl", "ystart", "starty", "bboxymin", "bboxy0", "boxymin"),
    "x_max": ("xmax", "maxx", "x1", "x2", "right", "xbr", "xend", "endx", "bboxxmax", "bboxx1", "boxxmax"),
    "y_max": ("ymax", "maxy", "y1", "y2", "bottom", "ybr", "yend", "endy", "bboxymax", "bboxy1", "boxymax"),
    "x": ("x", "xtopleft", "topleftx", "bboxx", "boxx", "xleft"),
    "y": ("y", "ytopleft", "toplefty", "bboxy", "boxy", "ytop"),
    "x_center": ("xcenter", "centerx", "xcentre", "centrex", "cx", "xc", "xmid"),
    "y_center": ("ycenter", "centery", "ycentre", "centrey", "cy", "yc", "ymid"),
    "width": ("w", "boxwidth", "bboxwidth", "bboxw", "bw", "boxw", "width"),
    "height": ("h", "boxheight", "bboxheight", "bboxh", "bh", "boxh", "height"),
    "picture_rows": (
        "imageheight", "imgheight", "rows", "picturerows", "imagerows", "originalheight", "imgh", "imheight",
    ),
    "picture_columns": (
        "imagewidth", "imgwidth", "columns", "cols", "picturecolumns", "imagecolumns", "originalwidth", "imgw",
        "imwidth",
    ),
    "yxyx": ("roicoords",),
    "xyxy": (),
    "xywh": (),
}  # fmt: skip
"""Role of a column, and names under which tools write it (letters and digits, lower case). EMBED's `ROI_coords` holds
lists [y_min, x_min, y_max, x_max]; a list column of another name states its order by `--columns`."""

CORNERS = ("x_min", "y_min", "x_max", "y_max")
SIZED = ("x", "y", "width", "height")
CENTRED = ("x_center", "y_center", "width", "height")
LISTS = ("yxyx", "xyxy", "xywh")
PICTURE_SIDES = {"width": "picture_columns", "height": "picture_rows"}
FORMS = (CORNERS, SIZED, CENTRED, *((name,) for name in LISTS))


def parse_columns(text: str) -> dict[str, str]:
    """Read `x_min=left,image=File name` as roles and their columns.

    Raises:
        InputError: an unknown role, one that stands twice, or a part without `=`.
    """
    stated: dict[str, str] = {}
    for item in filter(None, (piece.strip() for piece in text.split(","))):
        role, equals, column = (piece.strip() for piece in item.partition("="))
        if not equals or not column:
            raise InputError(f"--columns {item}: expected ROLE=COLUMN, e.g. x_min=left")
        if role not in NAMES:
            raise InputError(f"--columns {item}: expected a role of {', '.join(NAMES)}{did_you_mean(role, NAMES)}")
        if role in stated:
            raise InputError(f"--columns {item}: {role} stands twice")
        stated[role] = column
    return stated


def column_roles(header: Sequence[str], stated: Mapping[str, str], source: str) -> dict[str, str]:
    """The column of each role that a table holds.

    A role that is stated takes its column; all other roles take the first of their usual names. `width` and `height`
    beside four corners, or beside `w` and `h`, are the picture's size.

    Raises:
        InputError: a stated column is missing, or there is no image, no box, or two readings of one.
    """
    for role, column in stated.items():
        if column not in header:
            raise InputError(
                f"{source}: no column {column!r} (--columns {role}={column}){did_you_mean(column, header)}; the table "
                f"has {', '.join(header)}"
            )
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(header)}
    corner_names = _corner_names(plain)
    roles = dict(stated)
    for role, names in NAMES.items():
        taken = set(roles.values())
        usual = [plain[name] for name in corner_names.get(role, names) if name in plain]
        if role not in roles and usual and usual[0] not in taken:
            roles[role] = usual[0]
    for side, picture in PICTURE_SIDES.items():  # `width` beside `w` is the picture's
        if side in plain and plain[side] not in roles.values():
            roles.setdefault(picture, plain[side])
    if not {"x_max", "y_max", "x", "y"} & set(roles):  # `left, top, width, height`
        roles = {{"x_min": "x", "y_min": "y"}.get(role, role): column for role, column in roles.items()}
    if set(CORNERS) <= set(roles):
        for side, picture in PICTURE_SIDES.items():
            if side in roles and side not in stated:
                roles.setdefault(picture, roles.pop(side))
                roles.pop(side, None)
    return _with_one_form(roles, stated, header, source)


def _corner_names(plain: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """`x1` is the first corner beside `x2`, the second one beside `x0`."""
    first, second = ("0", "1") if {"x0", "y0"} & set(plain) else ("1", "2")
    return {
        role: tuple(name for name in NAMES[role] if not re.fullmatch(r"[xy]\d", name) or name[1] == digit)
        for roles, digit in ((("x_min", "y_min"), first), (("x_max", "y_max"), second))
        for role in roles
    }


def _with_one_form(
    roles: dict[str, str], stated: Mapping[str, str], header: Sequence[str], source: str
) -> dict[str, str]:
    forms = [form for form in FORMS if set(form) <= set(roles)]
    stated_forms = [form for form in forms if set(form) & set(stated)]
    if len(stated_forms) == 1:
        forms = stated_forms
    if "image" not in roles:
        raise InputError(
            f"{source}: no column names the image: expected image_id, SOPInstanceUID, path or file name, or state it: "
            f"--columns image=COLUMN; the table has {', '.join(header)}"
        )
    if not forms:
        raise InputError(
            f"{source}: no four columns of a box: expected {_listed(FORMS[:3])}, or state them: "
            f"--columns x_min=COLUMN,...; the table has {', '.join(header)}"
        )
    if len(forms) > 1:
        raise InputError(f"{source}: boxes stand in two forms ({_listed(forms)}): state one of them by --columns")
    others = {role for form in FORMS for role in form} - set(forms[0])
    return {role: column for role, column in roles.items() if role not in others}


def _listed(forms: Iterable[Sequence[str]]) -> str:
    return " or ".join(", ".join(form) for form in forms)
