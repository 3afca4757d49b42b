"""Arithmetic that a training's last digits hang on: where it goes on with another one, that is told."""

from __future__ import annotations

from pathlib import Path

import torch

from mammo_aln.files import read_object
from mammo_aln.machine.hardware import computes_on_gpu
from mammo_aln.progress import say
from mammo_aln.settings import PretrainSettings, Settings
from mammo_aln.settings.steps import step_shape
from mammo_aln.training.checkpoints import LAST
from mammo_aln.training.data.device_crops import made_on_device


def arithmetic_in_words(settings: Settings) -> list[str]:
    """Say what computes this training, as far as it shapes last digits and not the run's identity.

    Returns:
        as many sentences for any training of this version.
    """
    on_gpu = computes_on_gpu(settings.trainer)
    device = torch.device("cuda" if on_gpu else "cpu")
    # A pre-training's crops are always changed by loader processes.
    on_device = not isinstance(settings, PretrainSettings) and made_on_device(settings.data, device)
    return [
        f"torch {torch.__version__}",
        torch.cuda.get_device_name() if on_gpu else f"OMP_NUM_THREADS={torch.get_num_threads()}",
        f"data.device_gb={settings.data.device_gb} (crops changed {'where it trains' if on_device else 'by loaders'})",
        f"{step_shape(settings).at_once} patients at once",
        f"trainer.compile={str(settings.trainer.compile).lower()}",
        f"trainer.deterministic={str(settings.trainer.deterministic).lower()}",
    ]


def tell_other_arithmetic(run: Path, words: list[str]) -> None:
    """Say where a training that goes on is computed otherwise than the attempt before it, see `arithmetic_in_words`.

    Another version may have recorded more of it, less, or in another form.
    """
    record = run / "environment.json"
    if not (run / "checkpoints" / LAST).is_file() or not record.is_file():
        return
    before = read_object(record).get("arithmetic", words)
    if not isinstance(before, list) or not all(isinstance(old, str) for old in before):
        say(f"run {run.name}: another version recorded its arithmetic in another form; its last digits may differ")
        return
    lost = [old for old in before if _kind(old) not in map(_kind, words)]
    new = [word for word in words if _kind(word) not in map(_kind, before)]
    if lost or new:
        say(
            f"run {run.name} goes on with {', '.join(new) or 'no word on that'}, where it had"
            f" {', '.join(lost) or 'no word on that'}: the same training, but its figures will differ from those of one"
            " without a stop as roundings add up"
        )


def _kind(words: str) -> str:
    """A budget of another size changes no digit: what counts is where crops are changed."""
    return words.partition(" (")[2] or words
