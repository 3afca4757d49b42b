"""TensorBoard, MLflow and CSV through Lightning's loggers, sent the rows of metrics.csv."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger

from mammo_aln.training.trackers.mirrored import Mirrored
from mammo_aln.training.trackers.outcome import Outcome, finite

NOWHERE = "mlflow-artifacts:/"
"""Where MLflow's own server keeps artifacts, of which none are sent: of a folder it would write the whole path."""


class LoggedRun:
    """A run that one of Lightning's loggers writes.

    Args:
        logger: the logger.
        settings: what it is told of the run, by name.
        sent: epochs that it holds already.
        final: names of the frozen numbers that it holds already.
    """

    def __init__(self, logger: Logger, settings: Mapping[str, Any], sent: int = 0, final: Collection[str] = ()) -> None:
        self.logger, self.sent, self.final = logger, sent, final
        logger.log_hyperparams(_flat(settings))

    def log_rows(self, rows: Sequence[Mapping[str, float]], *, last: bool) -> None:
        """Send the epochs that are not there yet."""
        for row in rows[self.sent :]:
            self.logger.log_metrics(dict(finite(row)), step=self.sent)
            self.sent += 1
        self.logger.save()

    def complete(self, outcome: Outcome) -> None:
        """Send the epochs that are missing, and the frozen numbers as `final/NAME`."""
        self.log_rows(outcome.rows, last=True)
        numbers = {f"final/{name}": value for name, value in outcome.numbers.items() if name not in self.final}
        if numbers:
            self.logger.log_metrics(numbers, step=max(0, self.sent - 1))
            self.logger.save()

    def close(self, exit_code: int = 0) -> None:
        """End it."""
        self.logger.finalize("failed" if exit_code else "success")


def csv_run(mirrored: Mirrored) -> LoggedRun:
    """Open RUN/csv, in place of what stood there."""
    shutil.rmtree(mirrored.run / "csv", ignore_errors=True)
    return LoggedRun(CSVLogger(save_dir=str(mirrored.run), name="csv"), mirrored.config)


def tensorboard_run(mirrored: Mirrored) -> LoggedRun:
    """Open RUN/tensorboard, in place of what stood there: a resumed run has one curve, not two that overlap."""
    shutil.rmtree(mirrored.run / "tensorboard", ignore_errors=True)
    # Of itself it draws a metric that nobody measured, -1.
    logger = TensorBoardLogger(save_dir=str(mirrored.run), name="tensorboard", version="", default_hp_metric=False)
    with _host_called(mirrored.run.name):
        logger.experiment  # noqa: B018  # makes its file, and takes the host's name into that of the file
    return LoggedRun(logger, mirrored.config)


@contextmanager
def _host_called(name: str) -> Iterator[None]:
    """Have TensorBoard's writer take this for the host's name: it has no option for its file's name."""
    from tensorboard.summary.writer import event_file_writer

    theirs = event_file_writer.socket
    event_file_writer.socket = SimpleNamespace(gethostname=lambda: name)
    try:
        yield
    finally:
        event_file_writer.socket = theirs


def mlflow_run(mirrored: Mirrored) -> LoggedRun:
    """Open the run on MLflow, or the one of this id that is there already, and see how far it came."""
    project = mirrored.settings.log.project
    server = os.environ.get("MLFLOW_TRACKING_URI")
    uri = server or f"sqlite:///{(mirrored.run / 'mlflow.db').absolute()}"
    if not server:
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        SqlAlchemyStore(uri, NOWHERE)  # the first to open a new file says where its artifacts lie
    run_id, sent, final = _begun_on_mlflow(uri, project, mirrored.run.name)
    logger = MLFlowLogger(
        experiment_name=project,
        run_name=mirrored.title,
        tracking_uri=uri,
        run_id=run_id,
        artifact_location=None if server else NOWHERE,
        # MLflow would fill in the user and the program's path.
        tags={
            "run_id": mirrored.run.name,
            "group": mirrored.group,
            "job_type": mirrored.job_type,
            "tags": ",".join(mirrored.tags),
            "mlflow.user": "",
            "mlflow.source.name": "mammo-aln",
        },
    )
    # What a begun run was told of its settings cannot be told it again.
    return LoggedRun(logger, {} if run_id else mirrored.config, sent, final)


def _begun_on_mlflow(uri: str, project: str, run_id: str) -> tuple[str | None, int, frozenset[str]]:
    """Look for a run on MLflow by our id; its id there, the number of its epochs, the frozen numbers that it has."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(project)
    if experiment is None:
        return None, 0, frozenset()
    begun = client.search_runs([experiment.experiment_id], filter_string=f"tags.run_id = '{run_id}'")
    if not begun:
        return None, 0, frozenset()
    epochs = client.get_metric_history(begun[0].info.run_id, "epoch")
    final = frozenset(name.removeprefix("final/") for name in begun[0].data.metrics if name.startswith("final/"))
    return begun[0].info.run_id, max((metric.step for metric in epochs), default=-1) + 1, final


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """Nested settings as `section.key`; what is no plain value is put in words."""
    flat: dict[str, str | int | float | bool] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, str | int | float | bool) else str(value)
    return flat
