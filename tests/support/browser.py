"""A real browser without a screen, where the machine has one."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"),
    *("--virtual-time-budget=4000", "--dump-dom"),
)


def dom_of(address: str, folder: Path) -> tuple[str, str]:
    """The page at an address once its scripts have run, and what the browser said."""
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout, done.stderr


def measured(frames: str, script: str, folder: Path) -> tuple[Any, str]:
    """What a script writes into `<pre id=result>` about frames, once they are loaded; and the browser's words."""
    wrapper = folder / "wrapper.html"
    wrapper.write_text(f"<!doctype html><body>{frames}<script>onload = () => {{ {script} }}</script></body>")
    dom, said = dom_of(wrapper.as_uri(), folder)
    result = re.search(r'<pre id="result">(.*?)</pre>', dom)
    assert result, said[-2000:]
    return json.loads(html.unescape(result.group(1))), said
