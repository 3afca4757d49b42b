"""Page of the direct dependencies: bounds, what passed at both ends, health, and the way out of each."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterable

import yaml
from ends import ENDS, ROOT, groups

SUPPLY = ROOT / "docs" / "supply"
ROUGHLY = (100, 50, 20, 10)
TITLES = {"": "Always installed", "bench": "bench (no test needs it)", "dev": "Development"}
FIRST_TABLE = ("package", "for", "allowed", "oldest passed", "newest passed", "why these bounds")
SECOND_TABLE = ("package", "licence", "last release", "in the year", "owners on PyPI", "files", "way out")
PROSE = {"for", "why these bounds", "licence", "files", "way out"}
"""Columns that tools of development go without."""
HEAD = """\
<!-- Written by docs/generate.py from pyproject.toml and docs/supply; change those, not this page. -->
# Dependencies

Each direct dependency: the releases that are allowed, the oldest and the newest with which the tests passed, how it
fares, and the way out if it dies. A floor is a release that passed the tests named below, and no others yet; a ceiling
stands before the next major release, where numbers or files may change. `pyproject.toml`
allows the Pythons that are tested; the images have one.

## Both ends

| end | run |
|---|---|
{runs}

`bash scripts/ends.sh lowest PYTHON` installs the oldest release allowed of every direct dependency into an environment
that is thrown away, `newest` the newest of everything, runs the tests there and adds what came out to
`docs/supply/ends`. Both take as long as the tests, so they are run by hand, for a release, and each week on GitHub.
`ends.sh resolve` only asks whether both ends can be installed and whether the floors are those that passed, in seconds;
`.ci/run` asks it each time.
"""
TAIL = """\
Read from PyPI on {read_on}: the last release, how many there were in the year before, who owns the project there (an
organisation first). Files are those of the package that import it (`over 20` is 21 to 50); 0 is a plugin or a tool.

## Lock, list of parts, known holes

- `requirements.lock` pins every package of the images with the digests of its files: `pip install --require-hashes -r
  requirements.lock`. `bash scripts/lock.sh --check` tells whether it is what `pyproject.toml` asks for.
- `bash scripts/sbom.sh [FILE]` writes the list of parts of a release (SBOM, CycloneDX 1.6, JSON) from that lock, the
  same bytes each time. It is made for a release and not kept here, for it says no more than the lock (780 kB).
- `bash scripts/audit.sh` asks PyPI for known vulnerabilities of every pin (pip-audit); `--database FILE` takes a
  download of OSV's and needs no network: `https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip`. A package
  about which nothing could be asked is an error, never "none known". Exit code 0: none known, 1: some, 2: not audited.
- `python docs/health.py ADDRESS` asks a package index anew for the last releases and owners.

{audited}"""


def dependencies_page() -> str:
    """Write two tables for each group of dependencies."""
    about = yaml.safe_load((SUPPLY / "rows.yaml").read_text(encoding="utf-8"))
    health = json.loads((SUPPLY / "health.json").read_text(encoding="utf-8"))
    ends = {path.stem: path.read_text(encoding="utf-8").splitlines() for path in sorted(ENDS.glob("*.txt"))}
    runs = [
        f"| {lines[0][2:]} | {line[2:]} |" for lines in ends.values() for line in lines[1:] if line.startswith("# ")
    ]
    oldest, newest = _pins(ends, "lowest"), _pins(ends, "newest")
    files = _importing_files()
    texts = [HEAD.format(runs="\n".join(runs))]
    for extra, requirements in groups().items():
        rows = []
        for name, requirement in requirements.items():
            row, known = about.get(name, {}), health["packages"][name]
            imported = row.get("imports", [name.replace("-", "_")])
            rows.append(
                {
                    "package": name,
                    "for": row.get("for"),
                    "allowed": "`" + re.sub(r"^[\w.-]+(\[\w+\])?", "", requirement) + "`",
                    "oldest passed": oldest.get(name, "not tested"),
                    "newest passed": newest.get(name, "not tested"),
                    "why these bounds": row.get("bounds"),
                    "licence": row.get("licence"),
                    "last release": " of ".join(known["last"]),
                    "in the year": known["releases"],
                    "owners on PyPI": ", ".join(filter(None, [known["organization"], *known["owners"]])),
                    "files": _roughly(sum(files[module] for module in imported)),
                    "way out": row.get("out"),
                }
            )
        texts.append(f"## {TITLES.get(extra, f'Extra `{extra}`')}\n")
        for columns in (FIRST_TABLE, SECOND_TABLE):
            kept = [column for column in columns if extra != "dev" or column not in PROSE]
            texts += [_line(kept), "|---" * len(kept) + "|"]
            texts += [*(_line(row[column] for column in kept) for row in rows), ""]
    audited = (SUPPLY / "audited.txt").read_text(encoding="utf-8")
    return "\n".join([*texts, TAIL.format(read_on=health["read_on"], audited=audited)])


def _line(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _pins(ends: dict[str, list[str]], end: str) -> dict[str, str]:
    """Give the releases of one end; of two Pythons, those of the newer."""
    lines = [line for stem, lines in ends.items() if stem.startswith(end) for line in lines if not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def _importing_files() -> Counter[str]:
    """Count the package's files that import each name."""
    files: Counter[str] = Counter()
    for path in sorted((ROOT / "mammo_aln").rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        modules = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
        modules += [
            node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level
        ]
        files.update({module.split(".")[0] for module in modules})
    return files


def _roughly(count: int) -> str:
    """Give a large count roughly, so that the page does not change with every file."""
    return next((f"over {most}" for most in ROUGHLY if count > most), str(count))
