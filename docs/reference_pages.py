"""Reference pages: settings from the dataclasses and their limits, verbs from their table, files from the schemas."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import docstring_parser

from mammo_aln import verbs
from mammo_aln.cli import VERBS
from mammo_aln.cohort import schemas, volumes
from mammo_aln.settings import ClusterConfig, FitConfig, PretrainConfig, RadiomicsConfig, Settings
from mammo_aln.settings.limits import limits_of

NOTE = "<!-- Written by docs/generate.py; change the code, not this page. -->\n"
SETTINGS_HEAD = """\
# Settings

`--SECTION.KEY=VALUE` on the command line, `SECTION: {KEY: VALUE}` in a YAML file. Several `--config` files merge, a
later one wins, flags win over files; an unknown key is an error. `--print_config` behind a verb shows all that hold.
All are fields of frozen dataclasses in `mammo_aln.settings`.
"""
VERBS_HEAD = """\
# Verbs

`mammo-aln VERB --help` shows the same with every setting. A verb's last line on standard output is the path of what it
made, alone; everything else goes to standard error.

| exit code | |
|---|---|
| 0 | done |
| 1 | a check found problems, a cell is not completed, memory is too small, or a fault of mammo-aln itself, as it says |
| 2 | wrong input or setting: one plain message; `--debug` shows the traceback |
| 75 | a scheduler's signal stopped a training; the same command goes on |
| 130 | Ctrl-C; the same command goes on |

| verb | |
|---|---|"""
FILES_HEAD = """\
# Files of a cohort

A cohort is a folder of UTF-8 tables and `cohort.yaml`. `mammo-aln index` writes `images.csv`, and skeletons of
`patients.csv` and `cohort.yaml` to fill in where none stand. Identifiers are text (`007` stays `007`). A faulty table
gets one message with file, row, column, value and what was expected; `mammo-aln check` lists all faults. What the verbs
write: [outputs](outputs.md).
"""
FILES_TAIL = """\
Further columns are kept: clinical features (declared in `cohort.yaml`) and labels to pre-train on stand in
`patients.csv` and `images.csv`. Boxes are half-open, before any flip.

## cohort.yaml

| key | meaning |
|---|---|
| `name` | name of the cohort; cohorts of different people need different names |
| `label` | `column` that holds the outcome (`aln_status`), and its `meaning` |
| `dicom_root` | folder where the paths of `images.csv` begin; else the cohort folder |
| `clinical` | clinical features, by their column of `patients.csv` |
| `outcomes` | further outcome columns of `patients.csv`, each `post_nat` or `post_surgery`; never a feature |
| `dataset` | the public set behind it, or a list of such: `name`, `licence`, `terms`, `citation` |
| `leaks_accepted` | why persons or exposures may stand in several splits, in words that every report repeats |

| key of a feature | meaning |
|---|---|
| `kind` | `continuous`, `ordinal` or `categorical` |
| `levels` | allowed values; needed, and in order, for an ordinal feature |
| `unit` | of a continuous feature |
| `known_at` | `baseline`; `post_nat`, refused without `data.allow_post_nat=true`; `post_surgery`, always refused |
"""
SECTIONS: dict[str, Any] = {
    **{name: kind for name, kind in get_type_hints(Settings).items() if is_dataclass(kind)},
    "pretrain": PretrainConfig,
    "radiomics": RadiomicsConfig,
    "fit": FitConfig,
    "cluster": ClusterConfig,
}
COLUMNS = {
    "patient_id": "who; one name in all tables. `index` takes it from the folder below the indexed one, or numbers the "
    "patients of a flat folder `p0001`, `p0002`, ...; it must not identify",
    "center": "hospital, as it stands in the report",
    "aln_status": "outcome: 1 residual nodal metastasis after NAT, 0 ypN0, empty unknown; `cohort.yaml` may name "
    "another column",
    "side": "treated axilla; a patient with two has a row for each",
    "split": "who trains, who validates, who is a sealed test; `mammo-aln split` writes it",
    "eligible": "0 leaves the row out and the flow diagram counts it; `exclusion_reason` beside it says why",
    "image_id": "name of the image; `index` makes it of the SOPInstanceUID (`i` and 16 hexadecimal digits of its "
    "SHA-256)",
    "nat_start_day": "first day of NAT on the scale of `days` in images.csv: images until then are before NAT",
    "days": "whole days since the patient's first study, never a date; `index` counts them",
    "timepoint": "before or after NAT",
    "path": "file, from `dicom_root` of `cohort.yaml` or else from the cohort folder",
    "laterality": "breast; empty takes the header's",
    "view": "projection; empty takes the header's",
    "spacing_mm": "millimetres of breast per pixel where the header's are missing or wrong",
    "region": "`primary` for the lesion that is treated, else the name of an auxiliary region",
    "x_min": "left edge in pixels of the stored matrix, 0-based",
    "y_min": "upper edge",
    "x_max": "right edge, itself outside",
    "y_max": "lower edge, itself outside",
    "sequence": "short name of the sequence (`t2w`, `adc`, `dce`)",
    "image_path": "NIfTI, NRRD, MetaImage, or a folder with one DICOM series",
    "mask_path": "the same, or a DICOM SEG or RT structure set",
    "mask_label": "the mask's value that is the region; empty takes every value but 0",
    "mask_roi": "name of the ROI of an RT structure set, where it holds several",
}
NAMES = {str: "text", int: "whole number", float: "number", bool: "`true`, `false`", Path: "path"}
PLURALS = {str: "texts", int: "whole numbers", float: "numbers", Path: "paths"}
OTHER_WORDS = {
    ("images.csv", "timepoint"): "when the image was taken, where `nat_start_day` does not tell",
    ("images.csv", "eligible"): "0 sets the image aside; `exclusion_reason` beside it says why",
    ("volumes.csv", "region"): "`lesion` where empty",
    ("volumes.csv", "spacing_mm"): "`x y z`, in place of the headers'",
}


def settings_page() -> str:
    """Write tables of every setting: default, values, meaning."""
    lines = [NOTE, SETTINGS_HEAD]
    for section, kind in SECTIONS.items():
        lines += [
            f"## {section}",
            "",
            first_sentences(kind),
            "",
            "| setting | default | values | meaning |",
            "|---|---|---|---|",
        ]
        meanings = meanings_of(kind)
        hints = get_type_hints(kind)
        for field in fields(kind):
            values = type_words(hints[field.name], limit_words(kind, field.name))
            lines.append(row(f"`{section}.{field.name}`", default_words(field), values, meanings.get(field.name, "")))
        lines.append("")
    return "\n".join(lines)


def verbs_page() -> str:
    """Write each verb with its flags and the sections of settings that it takes."""
    lines = [
        NOTE,
        VERBS_HEAD,
        *(row(f"[`{verb}`](#{verb.replace(' ', '-')})", text) for verb, (_, _, text) in VERBS.items()),
        "",
    ]
    for verb, (name, positional, _) in VERBS.items():
        function = getattr(verbs, name)
        hints = get_type_hints(function)
        usage = f"mammo-aln {verb}{f' {positional.upper()}' if positional else ''} [--option ...]"
        lines += [f"## {verb}", "", f"`{usage}`", "", first_sentences(function), ""]
        flags, sections = [], []
        for item in inspect.signature(function).parameters.values():
            hint = hints[item.name]
            if item.name == "given":
                continue
            if is_dataclass(hint) and item.name not in SECTIONS:  # all settings of a training at once
                sections += [field.name for field in fields(hint) if field.name in SECTIONS]
                flags += [flag_row(hint, field.name, field.default) for field in fields(hint) if field.name == "seed"]
            elif is_dataclass(hint):
                sections.append(item.name)
            else:
                flags.append(flag_row(function, item.name, item.default))
        if flags:
            lines += ["| option | default | values | meaning |", "|---|---|---|---|", *flags]
        if sections:
            links = ", ".join(f"[{name}](settings.md#{name})" for name in sections)
            lines += ["", f"Settings: {links}."]
        lines.append("")
    return "\n".join(lines)


def flag_row(owner: Any, name: str, default: object) -> str:
    """Write the row of one flag."""
    values = type_words(get_type_hints(owner)[name], limit_words(owner, name))
    shown = "needed" if default in (inspect.Parameter.empty, MISSING) else code(default)
    return row(f"`--{name}`", shown, values, meanings_of(owner).get(name, ""))


def files_page() -> str:
    """Write the cohort's tables by their schemas."""
    features: dict[str, Any] = {}
    tables = {
        "patients.csv": (
            "patient, or patient and side",
            schemas.patients_schema(features, ("side", "split", "eligible", "nat_start_day"), "aln_status"),
        ),
        "images.csv": ("an image", schemas.images_schema(None)),
        "regions.csv": ("a box", schemas.regions_schema(None)),
        "volumes.csv": ("a volume and region (MRI)", volumes.volumes_schema(None)),
    }
    lines = [NOTE, FILES_HEAD]
    for file, (unit, schema) in tables.items():
        lines += [
            f"## {file}",
            "",
            f"A row is {unit}.",
            "",
            "| column | needed | values | meaning |",
            "|---|---|---|---|",
        ]
        for name, column in schema.columns.items():
            if name == "unit_id":
                continue
            needed = "yes" if column.required else "no"
            expected = [str(check.error) for check in column.checks if check.error]
            values = "; ".join(expected) + (
                "" if not column.nullable or any("empty" in text for text in expected) else "; may be empty"
            )
            words = OTHER_WORDS.get((file, name)) or COLUMNS[name]
            lines.append(row(f"`{name}`", needed, values.removeprefix("; "), words))
        lines.append("")
    lines.append(FILES_TAIL)
    return "\n".join(lines)


def limit_words(owner: Any, name: str) -> str:
    """Say what numbers a setting or flag may take, in words; empty where it has no limit."""
    limits = limits_of(owner)
    return limits[name].text if name in limits else ""


def meanings_of(documented: Any) -> dict[str, str]:
    """Give the words of a docstring's `Args:` by name, those of inherited fields too."""
    owners = documented.__mro__[::-1] if isinstance(documented, type) else [documented]
    parsed = [docstring_parser.parse(inspect.cleandoc(owner.__doc__ or "")) for owner in owners if owner is not object]
    return {item.arg_name: " ".join((item.description or "").split()) for each in parsed for item in each.params}


def first_sentences(documented: Any) -> str:
    """Give the docstring before its `Args:`, a paragraph."""
    parsed = docstring_parser.parse(inspect.getdoc(documented) or "")
    return " ".join(f"{parsed.short_description or ''} {parsed.long_description or ''}".split())


def default_words(field: Field[Any]) -> str:
    """Put a field's default as a person would type it."""
    value = field.default_factory() if field.default_factory is not MISSING else field.default
    return code(value)


def code(value: Any) -> str:
    """Write a value as code, in YAML's words."""
    words = {None: "", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else str(value)
    text = f"[{', '.join(map(str, value))}]" if isinstance(value, tuple | list) else text
    return f"`{text}`" if text else ""


def type_words(hint: Any, limit: str = "") -> str:
    """Put a type and its limit in a reader's words: the names of a choice, or the kind of value."""
    inner = [kind for kind in get_args(hint) if kind not in (NoneType, Ellipsis)]
    if get_origin(hint) is Literal:
        return ", ".join(code(name) for name in inner)
    if get_origin(hint) in (tuple, list):
        return f"list of {PLURALS.get(inner[0]) or type_words(inner[0])}"
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(type_words(kind, limit) for kind in inner)
    if hint in (int, float) and limit:
        return limit.replace("a number", "a whole number") if hint is int else limit
    return NAMES.get(hint, "mapping" if get_origin(hint) is dict else f"`{hint.__name__}`")


def row(*cells: str) -> str:
    """Write one row of a Markdown table."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
