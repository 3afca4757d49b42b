"""Ask a package index how each direct dependency fares, for docs/dependencies.md, at a release.

`python docs/health.py ADDRESS`, where ADDRESS is that of a project's JSON page with `{name}` in the place of its name.
Written down are the last release that is no preview, how many there were in the year before, and who owns the project.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from urllib.request import urlopen

from ends import ROOT, direct_dependencies
from packaging.version import InvalidVersion, Version

HEALTH = ROOT / "docs" / "supply" / "health.json"
WAIT_S = 20


def health_of(page: dict, today: str) -> dict[str, object]:
    """Read one project's page of the registry."""
    dates = {}
    for text, files in page["releases"].items():
        try:
            version = Version(text)
        except InvalidVersion:
            continue
        if files and not version.is_prerelease:
            dates[version] = min(file["upload_time"][:10] for file in files)
    newest = max(dates)
    year = (datetime.fromisoformat(today) - timedelta(days=365)).date().isoformat()
    owners = page.get("ownership") or {}
    roles = owners.get("roles", [])
    return {
        "last": [str(newest), dates[newest]],
        "releases": sum(date > year for date in dates.values()),
        "owners": sorted({role["user"] for role in roles if role["role"] == "Owner"}),
        "organization": owners.get("organization"),
    }


if __name__ == "__main__":
    if len(sys.argv) != 2 or "{name}" not in sys.argv[1]:
        sys.exit("health.py: expected the address of a project's JSON page, with {name} where its name stands")
    read_on = f"{datetime.now(UTC):%Y-%m-%d}"
    packages = {}
    for name in sorted(direct_dependencies(), key=str.lower):
        try:
            with urlopen(sys.argv[1].replace("{name}", name), timeout=WAIT_S) as answer:
                packages[name] = health_of(json.load(answer), read_on)
        except OSError as error:
            sys.exit(f"health.py: {name}: the registry does not answer ({error}); {HEALTH.name} stays as it is")
    HEALTH.write_text(json.dumps({"read_on": read_on, "packages": packages}, indent=1) + "\n", encoding="utf-8")
