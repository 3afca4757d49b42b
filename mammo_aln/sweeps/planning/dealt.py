"""Tell what a sweep deals to its cells itself: seeds and folds, each from one place alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from mammo_aln.errors import InputError, shortened
from mammo_aln.settings import Settings
from mammo_aln.settings.limits import MOST_FOLDS, NO_FOLDS_OR_FOLDS, SEED

DEALT = {"seed": "seeds", "data.folds": "folds", "data.fold": "folds"}
"""Settings that a sweep's file names by words of its own."""
MOST_SEEDS = 10_000


def read_seeds(where: str, given: Any, base: Mapping[str, Any], over: Mapping[str, Any]) -> tuple[int, ...]:
    """Read seeds as the file and `--seeds` give them: a count, of seeds from 0, or the list of them.

    Args:
        where: the file, for messages.
        given: what stands under `seeds`; without it the settings' own seed is the only one.
        base: settings of every cell by the file, nested.
        over: settings of the command line, nested.

    Raises:
        InputError: neither a count nor a list of different seeds, or one seed by a flag beside several by the file.
    """
    if given is None:
        seed = over.get("seed", base.get("seed", 0))
        if type(seed) is not int or not SEED.allows(seed):
            raise InputError(f"{where}: seed: expected a whole number, {SEED.text}, got {shortened(seed)}")
        return (seed,)
    if "seed" in over:
        raise InputError(
            f"--seed={over['seed']}: the seeds of the sweep's cells are asked for already ({given!r}); write"
            f" --seeds=[{over['seed']}] to train that seed alone"
        )
    few = isinstance(given, list | tuple) and 0 < len(given) <= MOST_SEEDS
    if few and all(type(seed) is int and SEED.allows(seed) for seed in given):
        if twice := [seed for seed, count in Counter(given).items() if count > 1]:
            raise InputError(f"{where}: seeds: {twice[0]} stands there twice; each seed is one cell")
        return tuple(given)
    if type(given) is int and 1 <= given <= MOST_SEEDS:
        return tuple(range(given))
    odd = [seed for seed in given if type(seed) is not int or not SEED.allows(seed)] if few else [given]
    alone = type(given) is int and given > MOST_SEEDS and SEED.allows(given)
    raise InputError(
        f"{where}: seeds: expected a count of 1 or more (3 is the seeds 0, 1 and 2) or a list of seeds such as [3, 7],"
        f" at most {MOST_SEEDS} of them, each {SEED.text}, got {shortened(odd[0])}"
        + f"; that seed alone is [{given}]"
        * alone
    )


def read_folds(where: str, given: Any, base: Mapping[str, Any], over: Mapping[str, Any]) -> int:
    """Read the number of folds that every cell is trained in once each; `--data.folds` wins over the file.

    Args:
        where: the file, for messages.
        given: what stands under `folds`; 0 where nothing does.
        base: settings of every cell by the file, nested.
        over: settings of the command line, nested.

    Raises:
        InputError: no count of 2 or more; one fold is asked for by name beside all of them; two different counts.
    """
    if type(given) is not int or not NO_FOLDS_OR_FOLDS.allows(given):
        raise InputError(
            f"{where}: folds: expected a count of 2 or more, at most {MOST_FOLDS}, or 0 for the split column,"
            f" got {shortened(given)}"
        )
    if not given:
        return 0
    own, flags = (dict(settings.get("data") or {}) for settings in (base, over))
    if "fold" in flags:
        raise InputError(
            f"--data.fold={flags['fold']}: {where} has folds: {given}, which trains every fold; leave out the flag, or"
            " take folds: out of the file"
        )
    if own.get("folds") not in (None, 0, given):
        raise InputError(
            f"{where}: data.folds = {own['folds']} and folds: {given} contradict each other; write folds: alone"
        )
    if "folds" not in flags:
        return given
    if flags["folds"] < 2:
        raise InputError(
            f"--data.folds={flags['folds']}: {where} has folds: {given}; expected a count of 2 or more in its place"
        )
    return int(flags["folds"])


def refuse_dealt(where: str, key: str, settings: Mapping[str, Any], folds: int) -> None:
    """Refuse a choice of an axis that sets what the sweep deals, which would win over it without a word.

    Args:
        where: the file, for messages.
        key: the axis as the file names it.
        settings: what the choice sets, nested; a value that is its setting's default says nothing in a whole file of
            settings (`config`), and is let through there.
        folds: folds of every cell, 0 for none.

    Raises:
        InputError: names the setting and the word to write instead.
    """
    plain = Settings()
    data = settings.get("data") or {}
    defaults = {"seed": plain.seed, "data.folds": plain.data.folds, "data.fold": plain.data.fold}
    chosen = {"seed": settings.get("seed"), "data.folds": data.get("folds"), "data.fold": data.get("fold")}
    for name, value in chosen.items():
        if value is None or (key == "grid: config" and value == defaults[name]):
            continue
        if name == "seed":
            what = key if key == "grid: seed" else f"{key}: seed = {value}"
            raise InputError(f"{where}: {what}: the sweep deals it to its cells; write seeds: beside grid:")
        if folds:
            raise InputError(
                f"{where}: {key}: sets {name} = {value}, and folds: {folds} trains every cell once per fold; leave out"
                " one of them"
            )
