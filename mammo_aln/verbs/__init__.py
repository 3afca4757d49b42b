"""One function per verb. A verb's flags are its function's parameters; rooms are imported only when their verb runs.

Beside a cohort that `mammo-aln phantom --out COHORT` wrote:

>>> from pathlib import Path
>>> from mammo_aln import verbs
>>> verbs.check(Path("COHORT"))
0
"""

from mammo_aln.verbs.cohorts import check, crop_images, fetch, import_dataset, import_regions, index, init, split
from mammo_aln.verbs.judging import compare, evaluate
from mammo_aln.verbs.learning import explain, lineage, list_runs, predict, pretrain_backbone, scrub, train
from mammo_aln.verbs.radiomics import radiomics_extract, radiomics_fit, radiomics_predict
from mammo_aln.verbs.start import completion, demo, doctor, phantom
from mammo_aln.verbs.sweeps import (
    sweep_cancel,
    sweep_collect,
    sweep_drop,
    sweep_log,
    sweep_prune,
    sweep_retry,
    sweep_run,
    sweep_status,
    sweep_work,
    sweep_write,
    sync,
)

__all__ = [
    "check",
    "compare",
    "completion",
    "crop_images",
    "demo",
    "doctor",
    "evaluate",
    "explain",
    "fetch",
    "import_dataset",
    "import_regions",
    "index",
    "init",
    "lineage",
    "list_runs",
    "phantom",
    "predict",
    "pretrain_backbone",
    "radiomics_extract",
    "radiomics_fit",
    "radiomics_predict",
    "scrub",
    "split",
    "sweep_cancel",
    "sweep_collect",
    "sweep_drop",
    "sweep_log",
    "sweep_prune",
    "sweep_retry",
    "sweep_run",
    "sweep_status",
    "sweep_work",
    "sweep_write",
    "sync",
    "train",
]
