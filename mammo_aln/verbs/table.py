"""Table of the verbs: the order of `mammo-aln --help`, of completion and of the reference."""

from __future__ import annotations

DEFAULT_ACTION = {"sweep": "run"}
"""What a verb of several actions does where none is named."""

VERBS: dict[str, tuple[str, str, str]] = {
    # verb, or verb and action: (function in verbs/, its positional argument, what it does)
    "demo": ("demo", "", "phantom cohort -> crops -> training -> external-centre test -> report.html"),
    "doctor": ("doctor", "cohort", "pre-flight of this machine, with the fix to type"),
    "phantom": ("phantom", "", "write a synthetic multi-centre DICOM cohort whose best possible AUC is known"),
    "fetch": ("fetch", "url", "fetch images of a PACS over DICOMweb; the same command goes on where it stopped"),
    "index": ("index", "dicom_dir", "list a DICOM folder's mammograms in images.csv (reads headers only)"),
    "init": (
        "init",
        "cohort",
        "write cohort.yaml, patients.csv and regions.csv, from a clinical table if there is one",
    ),
    "import": ("import_dataset", "name source", "make a cohort folder of a public data set's tables"),
    "regions": ("import_regions", "files", "write boxes of any annotation tool to regions.csv"),
    "check": (
        "check",
        "cohort",
        "find every fault of a cohort before it costs a training (exit code 1 if there is one)",
    ),
    "split": ("split", "cohort", "split by patient, stratified by status and centre, or leave one centre out"),
    "crop": (
        "crop_images",
        "cohort",
        "build the crop store; proof sheets (--proof) and NPY files (--export) on request",
    ),
    "pretrain": ("pretrain_backbone", "cohort", "pre-train a backbone on any label column, or by contrast, for train"),
    "train": ("train", "cohort", "train one model; the same command goes on where it stopped"),
    "predict": ("predict", "cohort", "score a cohort with a frozen run"),
    "evaluate": ("evaluate", "files", "judge predictions: metrics.json, curves, report.html"),
    "sweep run": ("sweep_run", "sweep", "train every cell of a sweep (crop x backbone, ladder, seeds); again: goes on"),
    "sweep write": ("sweep_write", "sweep", "plan a sweep and write its job file for Kubernetes, SkyPilot or Ray"),
    "sweep work": ("sweep_work", "cells", "train cells of a list that `sweep write` made, on any engine's nodes"),
    "sweep status": ("sweep_status", "out", "where every cell of a sweep stands; writes board.html"),
    "sweep log": ("sweep_log", "cells", "the last lines of what a cell said"),
    "sweep cancel": ("sweep_cancel", "cells", "stop a cell, its step saved; `sweep retry` goes on"),
    "sweep retry": ("sweep_retry", "cells", "try a cell again that failed, was cancelled or dropped"),
    "sweep drop": ("sweep_drop", "cells", "take a cell out of the sweep: neither trained nor ranked"),
    "sweep prune": ("sweep_prune", "cells", "list, and with --remove delete, what a sweep holds beyond need"),
    "sweep collect": ("sweep_collect", "out", "cells.csv, the choice by validation alone, then (--test) its test"),
    "runs": ("list_runs", "folder", "list the runs of a folder: settings, state, best validation AUC"),
    "sync": ("sync", "folder", "upload a sweep's cells, or one run, to W&B: what was kept offline or cut off"),
    "lineage": ("lineage", "paths", "print the data and weight licences that a run, weights or a cohort descend from"),
    "scrub": ("scrub", "run", "what a run's folder would tell a stranger; a copy that tells nothing (--out)"),
    "explain": ("explain", "cohort", "why a run says so: heat maps, share of each input, box jitter"),
    "compare": ("compare", "files", "compare models on the same patients: the first file is the reference"),
    "radiomics extract": ("radiomics_extract", "cohort", "radiomic and deep features of volumes or mammograms"),
    "radiomics fit": (
        "radiomics_fit",
        "cohort",
        "clinical, radiomics, deep and DLR signatures from tables of features",
    ),
    "radiomics predict": ("radiomics_predict", "signature", "score another centre's patients by a saved signature"),
    "completion": ("completion", "shell", "print a completion script: source <(mammo-aln completion bash)"),
}
