"""A sweep's pre-training in a process of its own: `python -m mammo_aln.sweeps.planning.pretraining FILE`.

What it holds of a GPU goes with it, so that the slots have the whole card; and Lightning starts further ranks by this
same command. FILE is JSON; the path of the weights, or the reason why there are none, is printed as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mammo_aln.errors import ExitCode, InputError, Requeue
from mammo_aln.files import json_ready, read_object, write_json
from mammo_aln.machine.signals import die_with_parent, leave_in_time
from mammo_aln.settings import PretrainSettings
from mammo_aln.settings.parse import settings_from

if TYPE_CHECKING:
    from mammo_aln.sweeps.planning.weights import PretrainJob


def weights_apart(job: PretrainJob) -> str:
    """Have a process make the weights, which ends with this one; returns the file's path.

    Raises:
        InputError: the settings, the cohort or the machine do not allow it.
        Requeue: a signal stopped it after its step was saved.
        RuntimeError: it died.
    """
    from mammo_aln.training.stopping import STOP

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pretraining.json"
        store = None if job.store is None else str(job.store)
        about = {"cohort": str(job.cohort), "out": str(job.out), "store": store}
        write_json(file, {**about, "settings": json_ready(asdict(job.settings))})
        words = [sys.executable, "-m", "mammo_aln.sweeps.planning.pretraining", str(file)]
        with (
            STOP.watched(),
            subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent
            ) as process,
        ):
            try:
                printed, _ = process.communicate()
            except BaseException:
                leave_in_time(process)
                raise
    if process.returncode == ExitCode.AGAIN:
        raise Requeue("stopped by a signal")
    answer = json.loads(printed.splitlines()[-1]) if printed.strip() else {}
    if process.returncode == ExitCode.WRONG_INPUT:
        raise InputError(answer["error"])
    if process.returncode or "weights" not in answer:
        raise RuntimeError(f"the pre-training ended with exit code {process.returncode}, see above")
    return str(answer["weights"])


def main(file: Path) -> int:
    """Make the weights; returns the exit code."""
    from mammo_aln.sweeps.planning.weights import PretrainJob

    about = read_object(file, "settings", "store", "cohort", "out")
    settings = settings_from(PretrainSettings, about["settings"], "pre-training")
    store = None if about["store"] is None else Path(about["store"])
    try:
        weights = PretrainJob(Path(about["cohort"]), Path(about["out"]), settings, store).work()
    except InputError as error:
        print(json.dumps({"error": str(error)}))
        return ExitCode.WRONG_INPUT
    except Requeue as stopped:
        print(stopped, file=sys.stderr)
        return ExitCode.AGAIN
    print(json.dumps({"weights": weights}))
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
