"""A training on the CPU holds on to the memory that its steps free."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from mammo_aln.settings.stored import plain_settings
from tests.support.tiny_settings import tiny_settings

TRAIN = """
import resource, sys
from mammo_aln.cli import main
assert main(sys.argv[1:]) == 0
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
len(b"x" * 100_000_000)
before = faults()
len(b"x" * 100_000_000)
print("faults", faults() - before)
"""


def test_a_block_that_is_freed_after_a_training_is_not_cleared_anew(phantom: Path, store: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.json"
    config.write_text(json.dumps(plain_settings(tiny_settings(epochs=1))))
    words = ["train", str(phantom), "--out", str(tmp_path / "runs"), "--store", str(store), "--config", str(config)]
    done = subprocess.run([sys.executable, "-c", TRAIN, *words], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 1000  # of 24,400 pages
