"""Judge requirements.lock by pip-audit's answer or by a download of OSV's advisories: scripts/audit.sh calls it.

Exit code 0: nothing known against any pin; 1: something, listed; 2: not audited, with the reason. A pin about which
nothing could be asked makes it 2: pip-audit itself ends with 0 where the registry does not know a package.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn
from zipfile import BadZipFile, ZipFile

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.M)
FIRST = {"0": "0.dev0"}
"""What an event says for "before every version", as a version."""


def pins(lock: str) -> list[tuple[str, Version]]:
    """Read the pins of a lock; a package may have several, each for other machines."""
    return [(canonicalize_name(name), Version(number)) for name, number in PIN.findall(lock)]


def affects(advisory: dict, name: str, version: Version) -> bool:
    """Tell whether an advisory names this release, in its list or in a range of its versions."""
    for affected in advisory.get("affected", []):
        package = affected.get("package", {})
        if package.get("ecosystem") != "PyPI" or canonicalize_name(package.get("name", "")) != name:
            continue
        if any(_same(text, version) for text in affected.get("versions", [])):
            return True
        ranges = [span for span in affected.get("ranges", []) if span.get("type") == "ECOSYSTEM"]
        if any(_within(span["events"], version) for span in ranges):
            return True
    return False


def _same(text: str, version: Version) -> bool:
    try:
        return Version(text) == version
    except InvalidVersion:
        return False  # a release with such a name cannot be pinned


def _within(events: list[dict[str, str]], version: Version) -> bool:
    """Walk through the events by their versions: the last one at or below this version decides."""
    inside = False
    marks = [
        (Version(FIRST.get(text, text)), kind) for event in events for kind, text in event.items() if kind != "limit"
    ]
    for mark, kind in sorted(marks, key=lambda entry: entry[0]):
        if kind == "introduced" and mark <= version:
            inside = True
        elif (kind == "fixed" and mark <= version) or (kind == "last_affected" and mark < version):
            inside = False
    return inside


def advisories(database: Path) -> Iterator[dict]:
    """Read each advisory that was not withdrawn."""
    try:
        with ZipFile(database) as archive:
            for entry in archive.namelist():
                if entry.endswith(".json"):
                    advisory = json.loads(archive.read(entry))
                    if "withdrawn" not in advisory:
                        yield advisory
    except (OSError, BadZipFile, ValueError) as error:
        _stop(f"{database} is no download of OSV's ({error}); expected a zip of JSON files, one an advisory")


def by_database(database: Path, lock: str) -> list[str]:
    """List what a download of OSV's knows against the pins."""
    listed, newest, count = [], "", 0
    asked = pins(lock)
    names = {name for name, _ in asked}
    for advisory in advisories(database):
        packages = [entry.get("package", {}) for entry in advisory.get("affected", [])]
        of_registry = [
            canonicalize_name(entry.get("name", "")) for entry in packages if entry.get("ecosystem") == "PyPI"
        ]
        count += bool(of_registry)
        newest = max(newest, advisory.get("modified", ""))
        if names.isdisjoint(of_registry):
            continue
        try:
            hits = [(name, version) for name, version in asked if affects(advisory, name, version)]
        except (InvalidVersion, KeyError, TypeError) as error:
            _stop(f"{advisory.get('id')}: its versions cannot be read ({error}); judge it by eye, without it here")
        listed += [
            f"{name} {version}: {advisory['id']} {advisory.get('summary', '')}".strip() for name, version in hits
        ]
    if not count:
        _stop(f"{database} holds no advisory on a package of PyPI")
    print(f"{database}: {count} advisories, the newest of {newest[:10]}", file=sys.stderr)
    return listed


def by_answer(answer: str, lock: str) -> list[str]:
    """List what pip-audit says against the pins, if it could ask about each."""
    entries = json.loads(answer)["dependencies"]
    skipped = [f"{entry['name']}: {entry['skip_reason']}" for entry in entries if "skip_reason" in entry]
    if skipped:
        _stop(f"not audited, for the service knows nothing of {len(skipped)} of {len(entries)} packages: {skipped[0]}")
    missing = {name for name, _ in pins(lock)} - {canonicalize_name(entry["name"]) for entry in entries}
    if missing:
        print(f"not for this machine, and so not asked: {', '.join(sorted(missing))}", file=sys.stderr)
    return [f"{entry['name']} {entry['version']}: {hole['id']}" for entry in entries for hole in entry["vulns"]]


def _stop(words: str) -> NoReturn:
    print(f"audit: {words}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    road, file = sys.argv[1:]
    text = LOCK.read_text(encoding="utf-8")
    holes = (
        by_database(Path(file), text) if road == "database" else by_answer(Path(file).read_text(encoding="utf-8"), text)
    )
    print("\n".join(holes) or f"{len(pins(text))} pins, nothing known against them")
    sys.exit(1 if holes else 0)
