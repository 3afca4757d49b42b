"""What TensorBoard's and MLflow's own readers say of a run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities import Run

Curves = Mapping[str, list[tuple[int, float]]]
"""Steps and values of each metric."""


def tensorboard_curves(run: Path) -> Curves:
    """Read RUN/tensorboard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def mlflow_runs(run: Path) -> list[Run]:
    """Read the runs in RUN/mlflow.db."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run / 'mlflow.db'}")
    return list(client.search_runs([each.experiment_id for each in client.search_experiments()]))


def mlflow_curves(run: Path) -> Curves:
    """Read the metrics of the one run in RUN/mlflow.db."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run / 'mlflow.db'}")
    [kept] = mlflow_runs(run)
    return {
        name: [(metric.step, metric.value) for metric in client.get_metric_history(kept.info.run_id, name)]
        for name in kept.data.metrics
    }
