"""One plain line for whatever is wrong with a setting: its name, what was expected, what was given."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches

from mammo_aln.errors import InputError, did_you_mean

SHOWN = 12
"""So many names are listed in a message; more are left to --help."""
NONE = {"log.tracker": "[]", "log.wandb": "disabled"}
"""Settings that ask for nothing by another word than `none`."""
ALIKE, ALIKE_ELSEWHERE = 0.6, 0.8
"""Likeness (difflib's ratio) from which a name is offered: of the same section, and of another one beside it."""
SYNONYMS = {
    **dict.fromkeys(("learning_rate", "base_lr", "lrate"), "optim.lr"),
    **dict.fromkeys(("wd", "l2", "l2_reg"), "optim.weight_decay"),
    **dict.fromkeys(("warmup", "warmup_steps", "warmup_epochs"), "optim.warmup_fraction"),
    **dict.fromkeys(("ema", "ema_momentum"), "optim.ema_decay"),
    **dict.fromkeys(("grad_clip", "clip_grad", "clip_norm", "gradient_clip_val"), "optim.gradient_clip_norm"),
    **dict.fromkeys(("accumulate_grad_batches", "grad_accumulation"), "optim.accumulate"),
    **dict.fromkeys(("epochs", "num_epochs", "n_epochs"), "trainer.max_epochs"),
    **dict.fromkeys(("early_stopping", "early_stop"), "trainer.patience"),
    **dict.fromkeys(("gpus", "num_gpus", "n_gpus", "num_devices"), "trainer.devices"),
    **dict.fromkeys(("nodes", "n_nodes"), "trainer.num_nodes"),
    **dict.fromkeys(("amp", "fp16", "bf16"), "trainer.precision"),
    **dict.fromkeys(("bs", "batch", "batchsize"), "data.batch_size"),
    **dict.fromkeys(("workers", "n_workers"), "data.num_workers"),
    **dict.fromkeys(("tta",), "data.test_time_copies"),
    **dict.fromkeys(("num_folds", "n_folds", "k_folds"), "data.folds"),
    **dict.fromkeys(("arch", "architecture", "encoder", "net"), "model.backbone"),
    **dict.fromkeys(("dropout", "drop", "p_drop"), "model.drop_rate"),
    **dict.fromkeys(("img_size", "image_size", "input_size", "resolution"), "crop.size_px"),
    **dict.fromkeys(("random_seed", "random_state", "rng_seed"), "seed"),
    **dict.fromkeys(("logger", "loggers"), "log.tracker"),
    **dict.fromkeys(("queue",), "cluster.partition"),
    **dict.fromkeys(("walltime", "time_limit"), "cluster.time"),
    **dict.fromkeys(("memory", "mem"), "cluster.mem_gb"),
    **dict.fromkeys(("cpus", "cores"), "cluster.cpus_per_task"),
    **dict.fromkeys(("env",), "cluster.environment"),
}
"""What other packages call a setting: its last part there, and its name here."""
KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "tuple": "a list",
    "dict": "a mapping, e.g. {KEY: VALUE}",
    "NoneType": "null",
    "str": "a word",
}


def unknown_key(key: str, flags: Collection[str]) -> str:
    """Word the message on a key that is none of the flags: the one that was probably meant, or those there are."""
    section, _, name = key.rpartition(".")
    siblings = [flag for flag in flags if flag.rpartition(".")[0] == section]
    if meant := _meant(section, name, flags, siblings) or did_you_mean(key, flags):
        return f"{key}: unknown key{meant}"
    allowed = sorted(siblings or {flag.partition(".")[0] for flag in flags})
    more = f", and {len(allowed) - SHOWN} more (see --help)" if len(allowed) > SHOWN else ""
    return f"{key}: unknown key; allowed: {', '.join(allowed[:SHOWN])}{more}"


def _meant(section: str, name: str, flags: Collection[str], siblings: Collection[str]) -> str:
    """Find the flag that a key's last part stands for: by its name elsewhere, or by a name that is like it."""
    if SYNONYMS.get(name) in flags:
        return f"; did you mean {SYNONYMS[name]}?"
    exact = [flag for flag in flags if flag.rpartition(".")[2] == name]
    if section and exact:
        return f"; did you mean {exact[0]}?"
    elsewhere = (flags, ALIKE_ELSEWHERE if siblings else ALIKE)
    for candidates, likeness in ((siblings, ALIKE), elsewhere) if section else ((flags, ALIKE),):
        named = {flag.rpartition(".")[2]: flag for flag in candidates}
        if likely := get_close_matches(name, named, n=1, cutoff=likeness):
            return f"; did you mean {named[likely[0]]}?"
    return ""


def refuse_unknown_keys(plain: Mapping[str, object], flags: Collection[str]) -> None:
    """Check the names of nested settings as they stand in a YAML file.

    Raises:
        InputError: names the first key that is no flag, or a section that holds no settings.
    """
    sections = {flag.partition(".")[0] for flag in flags if "." in flag}
    for section, values in plain.items():
        if section in flags or section == "config":
            continue
        if section not in sections:
            key = f"{section}.{next(iter(values))}" if isinstance(values, Mapping) and values else str(section)
            raise InputError(unknown_key(key, flags))
        if not isinstance(values, Mapping):
            raise InputError(f"{section}: expected settings (KEY: VALUE), got {values!r}")
        for key in values:
            if f"{section}.{key}" not in flags:
                raise InputError(unknown_key(f"{section}.{key}", flags))


def plain_message(message: str, positional: str = "") -> str:
    """Put the parser's message into one line."""
    text = " ".join(message.split())
    if missing := re.search(r"the following arguments are required: (.+)", text):
        names = ", ".join(f"--{name.strip()}" for name in missing.group(1).split(","))
        return f"missing {names}" + (f" (or {positional.upper()} as first word)" if positional in names else "")
    text = re.sub(r'Parser key "([^"]+)":', r"\1:", text)
    text = re.sub(r"Expected a typing\.Literal\[([^\]]*)\]\.?", _one_of, text)
    text = re.sub(r"Expected a <class '(\w+)'>\.?", lambda hit: f"expected {_kind(hit.group(1))},", text)
    text = re.sub(
        r"Does not validate against any of the Union subtypes Subtypes: \[(.*?)\] Errors: .*?Given value type: \S+ \S+",
        _any_of,
        text,
    )
    text = re.sub(r",? (Got|Given) value:", ", got", text)
    if (nothing := re.match(r"([\w.]+): .*, got none$", text, re.IGNORECASE)) and nothing.group(1) in NONE:
        return f"{text}; for none write {nothing.group(1)}={NONE[nothing.group(1)]}"
    if wrong := re.search(r"expected one of (.+), got ([\w.:-]+)$", text):
        text += did_you_mean(wrong.group(2), wrong.group(1).split(", "))
    if name := re.search(r"expected a list, got (\w+)$", text):
        text += f"; write [{name.group(1)}]"
    return text


def _kind(name: str) -> str:
    return KINDS.get(name, name)


def _one_of(hit: re.Match[str]) -> str:
    return "expected one of " + hit.group(1).replace("'", "")


def _any_of(hit: re.Match[str]) -> str:
    literal = re.search(r"Literal\[([^\]]*)\]", hit.group(1))
    kinds = [_kind(name) for name in re.findall(r"<class '(?:\w+\.)*(\w+)'>", hit.group(1))]
    kinds = ([literal.group(1).replace("'", "")] if literal else []) + kinds
    if "list[int]" in hit.group(1):
        kinds.insert(1, "a list such as [3, 7]")
    return "expected " + " or ".join(kinds)
