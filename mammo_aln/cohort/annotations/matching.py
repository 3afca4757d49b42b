"""Names of images in an annotation file to the images of a cohort: exact names first, then names without their ending.

A name is an image_id, an SOP Instance UID, a path or a file name. Paths are compared by their last components, as many
as both sides need: `png/p001/a.png` is `p001/a.dcm`, and never `p002/a.dcm` while the former stands there.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

ENDINGS = re.compile(
    r"(\.(dcm|dicom|ima|png|jpe?g|tiff?|bmp|gif|webp|pgm|npy|nii|nrrd|nhdr|mha|seg|gz|json|xml|txt|csv|mrk))+$",
    re.IGNORECASE,
)
UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")
"""Label Studio puts eight digits before the name of an uploaded file."""
UID = re.compile(r"\d+(\.\d+){3,}")
NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class ListedImage:
    """One row of `images.csv` as names: `sop_instance` is empty where no header was read."""

    image_id: str
    path: str
    sop_instance: str = ""


@dataclass(frozen=True)
class Matches:
    """Names of a source by what became of them.

    Attributes:
        image_ids: the image of each name that has one.
        unmatched: names that no image has.
        ambiguous: names that several images have, with those images.
    """

    image_ids: Mapping[str, str]
    unmatched: tuple[str, ...]
    ambiguous: Mapping[str, tuple[str, ...]]


def match_images(names: Iterable[str], images: Sequence[ListedImage]) -> Matches:
    """Find the image of each name.

    Args:
        names: names as an annotation file writes them.
        images: the cohort's images.

    Returns:
        All names, each once, as matched, unmatched or ambiguous.
    """
    tables = _lookup_tables(images)
    folders = {image.image_id: set(_tails(image.path)[0].split("/")[:-1]) for image in images if _tails(image.path)}
    known_folders = set().union(*folders.values())
    paths = {image.image_id: image.path for image in images}
    image_ids: dict[str, str] = {}
    ambiguous: dict[str, tuple[str, ...]] = {}
    unmatched: list[str] = []
    for name in dict.fromkeys(names):
        stated = known_folders & set((_tails(name) or [""])[0].split("/")[:-1])
        # a picture in the folder of one patient is not the image of another
        candidates = tuple(
            image
            for image in _candidates(name, tables)
            if stated <= folders.get(image, stated) and not _of_other_folder(name, paths[image])
        )
        if len(candidates) == 1:
            image_ids[name] = candidates[0]
        elif candidates:
            ambiguous[name] = candidates
        else:
            unmatched.append(name)
    return Matches(image_ids, tuple(unmatched), ambiguous)


def _of_other_folder(name: str, path: str) -> bool:
    """True where the first folders that differ are numbered alike: `p009/a.png` is not `p001/a.dcm`, `png/a.png` is."""
    (last, *folders), (own_last, *own_folders) = ((_tails(text) or [""])[0].split("/")[::-1] for text in (name, path))
    if last != own_last:  # an image_id, a UID or a tool's upload
        return False
    folder, own = next((pair for pair in zip(folders, own_folders, strict=False) if pair[0] != pair[1]), ("", ""))
    numbered = NUMBER.sub("0", folder)
    return "0" in numbered and numbered == NUMBER.sub("0", own)


def same_file_twice(image_ids: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Names in several folders that were matched to one image, by image: two files of one name, most likely."""
    names: dict[str, dict[str, str]] = defaultdict(dict)
    for name, image_id in image_ids.items():
        names[image_id]["/" + (_tails(name) or [""])[0]] = name
    doubles = {}
    for image_id, spellings in names.items():
        longest = max(spellings, key=len)
        if not all(longest.endswith(spelling) for spelling in spellings if spelling.count("/") > 1):
            doubles[image_id] = tuple(spellings.values())
    return doubles


def image_id_of_instance(uid: str) -> str:
    """The image_id that `index` gives to an SOP Instance UID."""
    return f"i{hashlib.sha256(uid.encode()).hexdigest()[:16]}"


Tables = tuple[Mapping[str, tuple[str, ...]], ...]


def _lookup_tables(images: Sequence[ListedImage]) -> Tables:
    """Tables of images by exact text, by text without regard to case and endings, and by the part before `_`."""
    exact: dict[str, list[str]] = defaultdict(list)
    plain: dict[str, list[str]] = defaultdict(list)
    prefixes: dict[str, list[str]] = defaultdict(list)
    for image in images:
        for text in filter(None, {image.image_id, image.path, image.sop_instance}):
            exact[text].append(image.image_id)
        joined = [tail.replace("/", "_") for tail in _tails(image.path)]
        for key in {_plain(image.image_id), _plain(image.sop_instance), *_tails(image.path), *joined} - {""}:
            plain[key].append(image.image_id)
        stem, underscore, _ = _plain(image.path).rpartition("/")[2].partition("_")
        if underscore and stem:
            prefixes[stem].append(image.image_id)
    return tuple({key: tuple(ids) for key, ids in table.items()} for table in (exact, plain, prefixes))


def _candidates(name: str, tables: Tables) -> tuple[str, ...]:
    exact, plain, prefixes = tables
    text = name.strip()
    spellings = list(dict.fromkeys((text, unquote(text))))
    for spelling in spellings:
        if spelling in exact:
            return exact[spelling]
    for spelling in spellings:
        for tail in _tails(spelling):
            if tail in plain:
                return plain[tail]
    last = _plain(text).rpartition("/")[2]
    hashed = image_id_of_instance(last)
    if hashed in exact:
        return exact[hashed]
    uploaded = UPLOADED.sub("", last)
    return plain.get(uploaded) or prefixes.get(last) or prefixes.get(uploaded, ())


def _plain(text: str) -> str:
    """A path in one spelling: composed, without case, without known endings, with forward slashes."""
    return ENDINGS.sub("", unicodedata.normalize("NFC", text).casefold().replace("\\", "/"))


def _tails(path: str) -> list[str]:
    """The path and its last components, the longest first: `a/b/c`, `b/c`, `c`."""
    pieces = [piece for piece in _plain(path).split("/") if piece not in ("", ".", "..")]
    return ["/".join(pieces[start:]) for start in range(len(pieces))]
