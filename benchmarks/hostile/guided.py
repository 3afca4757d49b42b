"""Coverage-guided fuzzing of the parsers written here, by atheris, which is no dependency of the product.

    python -m venv --system-site-packages DIR && DIR/bin/pip install atheris
    DIR/bin/python -m benchmarks.hostile.guided FOLDER SECONDS [PARSER ...]

Each parser has a process and a share of the time. FOLDER gets its corpus and what ended it; the last line says how many
inputs each took, and the exit code is 1 where one raised anything but a refusal in words.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_PREAMBLE = bytes(128) + b"DICM\x02\0\0\0UL\x04\0\0\0\0\0"
_NIFTI = (348).to_bytes(4, "little") + bytes(36) + b"\x03\0\2\0\2\0\2\0" + bytes(22) + b"\4\0\x10\0" + bytes(34)
_BOXES = b'"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}], "categories": []}'
_LINE = b'{"kind": "scored", "time": "t", "run_id": "r", "cohort": "c", "cohort_name": "n", "split": "s", "by": "b"}\n'
SEEDS: dict[str, tuple[str, tuple[bytes, ...]]] = {
    "fast_header": (".dcm", (_PREAMBLE + b"\x08\0\x60\0CS\x02\0MG\x28\0\x10\0US\x02\0\x10\0",)),
    "labelme": (".json", (b'{"shapes": [{"label": "a", "points": [[1, 2], [3, 4]]}], "imagePath": "a.png"}',)),
    "coco": (".json", (b'{"images": [{"id": 1, "file_name": "a", "width": 9, "height": 8}], ' + _BOXES,)),
    "xml": (".xml", (
        b"<annotation><filename>A</filename><object><name>m</name><bndbox><xmin>1</xmin></bndbox></object></annotation>",
        b"<annotations><image name='a' width='9' height='8'><box label='m' xtl='1' ytl='1'/></image></annotations>",
        b"<plist version='1.0'><dict><key>Images</key><array/></dict></plist>",
    )),
    "yolo": (".txt", (b"0 0.5 0.5 0.2 0.3\n1 0.1 0.2 0.05 0.06\n",)),
    "yaml": (".yaml", (b"a: 1\nb: [1, {c: d}]\nc:\n  - x\n  - 'y'\n", b"&a [*a]\n", b"!!int 3\n")),
    "table": (".csv", (b"a,b;c\n1,2,3\n", b"sep=;\na;b\n1,5;2\n", b"\xff\xfea\0,\0b\0\n\0")),
    "nifti": (".nii", (_NIFTI + b"\0\0\xb0\x43" + bytes(232) + b"n+1\0" + bytes(20),)),
    "nrrd": (".nrrd", (b"NRRD0004\ntype: short\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n\n" + bytes(16),)),
    "multipart": ("", (b"--b0\r\nContent-Type: application/dicom\r\n\r\nDICM\r\n--b0--\r\n",)),
    "ledger": (".jsonl", (_LINE,)),
}  # fmt: skip
"""By parser: the ending of its file, and sound files."""


def parser_of(name: str) -> Callable[[Path], object]:
    """Import a parser's room."""
    from benchmarks.hostile import readers, verbs

    if name == "yaml":
        from mammo_aln.settings.bounded_yaml import yaml_texts, yaml_values

        return lambda path: (yaml_values(path), yaml_texts(path))
    if name == "table":
        from mammo_aln.spreadsheet.text_table import read_text_table

        return lambda path: read_text_table(path, [])
    if name == "nifti":
        from mammo_aln.cohort.annotations.nifti import refuse_damaged_nifti

        return refuse_damaged_nifti
    of = {"fast_header": readers.header, "nrrd": readers.in_bounds, "multipart": readers.answer, "ledger": verbs.ledger}
    return of.get(name, readers.region_file)


def attack(name: str, folder: Path, seconds: int) -> None:
    """Feed one parser in this process until the time is over or it raises what is no refusal."""
    import atheris

    with atheris.instrument_imports(include=["mammo_aln"]):
        parse = parser_of(name)
        ending, seeds = SEEDS[name]
        from mammo_aln.errors import InputError
        from mammo_aln.settings.bounded_yaml import UnreadableYaml

        corpus = folder / name
        corpus.mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(seeds):
            (corpus / f"seed{number}").write_bytes(content)
        path = folder / f"input_{name}{ending}"
        parse_all(parse, path, seeds)  # imports what it imports late, under instruments too

    def one(content: bytes) -> None:
        path.write_bytes(content)
        with contextlib.suppress(InputError, UnreadableYaml):
            parse(path)

    limits = [f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=4096", "-max_len=4096", "-verbosity=0"]
    ends = [f"-artifact_prefix={folder}/{name}_", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], str(corpus), *limits, *ends], one)
    atheris.Fuzz()


def parse_all(parse: Callable[[Path], object], path: Path, seeds: tuple[bytes, ...]) -> None:
    """Parse sound files once, whatever becomes of them."""
    for content in seeds:
        path.write_bytes(content)
        try:
            parse(path)
        except Exception as error:  # noqa: BLE001 - only for what it imports
            print(f"{path.name}: {type(error).__name__}: {error!s:.120}")


def main(folder: Path, seconds: int, names: list[str]) -> int:
    """Attack each parser in turn, in a process of its own; returns the exit code."""
    chosen = names or list(SEEDS)
    counts, failed = {}, []
    for name in chosen:
        words = [sys.executable, "-m", "benchmarks.hostile.guided", "--one", name, folder, seconds // len(chosen)]
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
        stated = re.search(r"number_of_executed_units: (\d+)", done.stdout + done.stderr)
        counts[name] = int(stated[1]) if stated else 0
        if done.returncode:
            failed.append(name)
            (folder / f"{name}.log").write_text(done.stdout + done.stderr)
        print(f"{name}: {counts[name]:,} inputs, exit code {done.returncode}", flush=True)
    print(f"{sum(counts.values()):,} inputs; ended by something else than a refusal: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        attack(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        raise SystemExit(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
