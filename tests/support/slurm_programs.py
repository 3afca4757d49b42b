"""Programs that answer in SLURM's words, for tests of what a login node does; others have a real SLURM."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mammo_aln.machine.slurm import COMMANDS
from mammo_aln.machine.slurm_jobs import max_array_size

SBATCH = r"""#!/bin/sh
for last; do :; done
number=$(($(cat {state}/number) + 1)); echo $number > {state}/number
size=$(sed -n 's/^#SBATCH --array=0-\([0-9]*\).*/\1/p' "$last"); size=$((${{size:-0}} + 1))
env | grep -E '^(SLURM|SBATCH)_' > {state}/variables
fails="sbatch: error: Batch job submission failed:"
if [ -e {state}/silent ]; then echo "$fails Unable to contact slurm controller (connect failure)" >&2; exit 1; fi
if [ -e {state}/room ] && [ $size -gt $(cat {state}/room) ]; then
  echo "$fails Job violates accounting/QOS policy (job submit limit)" >&2; exit 1
fi
if [ -e {state}/room ]; then echo $(($(cat {state}/room) - size)) > {state}/room; fi
cp "$last" {state}/script.$number
echo Submitted batch job $number
"""  # fmt: skip
SCONTROL = r"""#!/bin/sh
case "$*" in
  *config*) echo 'MaxArraySize            = 6';;
  *ping*) echo 'Slurmctld(primary) at vm is UP';;
  *job*) for job; do :; done
    grep "JobId=$job " {state}/ends || {{ echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1; }};;
esac
"""
SQUEUE = r"""#!/bin/sh
if [ -e {state}/silent ]; then echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1; fi
cat {state}/queue
"""


@contextmanager
def slurm_programs(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put SLURM's programs first: sbatch counts jobs from 8, arrays have at most 6; how jobs stand is read from files.

    Args:
        state: folder of the programs, and of the files `queue` (lines of squeue), `ends` (lines of `scontrol show
            job`), `room` (jobs that may still be submitted) and `silent` (the controller is away).
        monkeypatch: of the test.
    """
    state.mkdir()
    (state / "number").write_text("7\n")
    (state / "ends").touch()
    (state / "queue").touch()
    scripts = dict.fromkeys(COMMANDS, "#!/bin/sh\n") | {"sbatch": SBATCH, "scontrol": SCONTROL, "squeue": SQUEUE}
    for name, text in scripts.items():
        (state / name).write_text(text.format(state=state))
        (state / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{state}:/bin:/usr/bin")
    max_array_size.cache_clear()
    yield state
    max_array_size.cache_clear()
