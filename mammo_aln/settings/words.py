"""Command-line words in the one form that the parser reads: `--key=value`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_origin

from mammo_aln.errors import InputError
from mammo_aln.settings.bounded_yaml import UnreadableYaml, refuse_unbounded
from mammo_aln.settings.messages import refuse_unknown_keys, unknown_key
from mammo_aln.settings.shipped import find_config, read_yaml

SHORT = {"max_pixels": "pixels.max_pixels", "decode_timeout_s": "pixels.decode_timeout_s"}
"""Settings that may be given without their section."""

INSTEAD = {"cohort": "dicom"}
"""Flag that stands in place of a positional one."""

NAMED_TILDE = re.compile(r"(--[^=]+=)?\./+(?=~)")
"""Beginning of a path to something here whose name begins with `~`, which libraries would take for a home folder."""

FLAGS_WITHOUT_VALUE = ("--help", "-h", "--print_config")


def tidy_words(
    words: Sequence[str], positional: str, flags: Mapping[str, Any], following: Sequence[str] = ()
) -> list[str]:
    """Bring words to `--key=value` form: `-` and `_` are the same in keys, a lone boolean flag means true.

    An option that takes a list takes every word up to the next option; a setting that is a list may be given one name.

    Args:
        words: the command line behind the verb.
        positional: flag that words without `--` go to.
        flags: types of the verb's flags, by name.
        following: flags that take one word each after the positional one.

    Raises:
        InputError: an unknown flag, a missing value or a word too many.
    """
    loose: list[str] = []
    tidy: list[str] = []
    lists: dict[str, list[str]] = {}
    rest = [_below_here(word) for word in words]
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            loose.append(word)
            continue
        key, equals, value = word.partition("=")
        key = key if key == "-h" else "--" + key.lstrip("-").replace("-", "_")
        if key.split("=")[0] in FLAGS_WITHOUT_VALUE:
            tidy.append(key + equals + value)
            continue
        name = key[2:] if key[2:] in flags or key[2:] not in SHORT else SHORT[key[2:]]
        _require_flag(name, flags)
        if not equals:
            is_flag = flags.get(name) is bool
            if is_flag and (not rest or rest[0].lower() not in ("true", "false")):
                value = "true"
            elif rest and not (rest[0].startswith("--") and len(rest[0]) > 2):
                value = rest.pop(0)
            else:
                raise InputError(f"--{name}: a value is missing")
        is_section = any(flag.startswith(f"{name}.") for flag in flags)
        if is_section and not (value.startswith("{") or Path(value).is_file()):
            raise InputError(f"--{name}={value}: expected --{name}.KEY=VALUE, or a file of that section's settings")
        if name == "config":
            value = str(_readable_config(value, flags))
        elif is_section and not value.startswith("{"):
            refuse_unknown_keys({name: read_yaml(Path(value))}, flags)
        elif value[:1] in ("{", "["):
            _refuse_unbounded(name, value)
        if get_origin(flags.get(name)) is tuple and not value.startswith("["):
            value = f"[{value}]"
        if name == positional and _is_list(flags[positional]) and not value.startswith("["):
            loose.append(value)
            continue
        if _is_list(flags.get(name)) and not value.startswith("["):
            lists.setdefault(name, []).append(value)
            while not equals and rest and not rest[0].startswith("-"):
                lists[name].append(rest.pop(0))
            continue
        tidy.append(f"--{name}={value}")
    standing = tuple(f"--{name}=" for name in (positional, INSTEAD.get(positional, positional)))
    given = loose or any(word.startswith(standing) for word in tidy)
    for name, values in lists.items():
        if positional and not _is_list(flags[positional]) and not given and len(values) > 1:
            # `--run RUN COHORT`: the word that the verb still lacks is the last one.
            loose.append(values.pop())
            given = True
        tidy.append(f"--{name}={json.dumps(values)}")
    for name, word in zip(following, loose[1:], strict=False):
        tidy.append(f"--{name}={word}")
        loose.remove(word)
    if loose and not positional:
        raise InputError(f"unexpected word {loose[0]!r}: options begin with --")
    if loose and _is_list(flags[positional]):
        tidy.append(f"--{positional}={json.dumps(loose)}")
    elif loose:
        if len(loose) > 1:
            raise InputError(f"unexpected word {loose[1]!r}: {positional} is {loose[0]!r} already")
        if any(word.startswith(f"--{positional}=") for word in tidy):
            raise InputError(f"--{positional} is given twice: as an option and as the word {loose[0]!r}")
        tidy.append(f"--{positional}={loose[0]}")
    return tidy


def _require_flag(name: str, flags: Mapping[str, Any]) -> None:
    """Refuse a name that is no flag, no section, and no key of a mapping."""
    is_section = any(flag.startswith(f"{name}.") for flag in flags)
    if not (name in flags or name == "config" or is_section or flags.get(name.rpartition(".")[0]) == dict[str, Any]):
        raise InputError(unknown_key(name, flags))


def _readable_config(name: str, flags: Mapping[str, Any]) -> Path:
    """Find a file of settings whose keys are all known."""
    path = find_config(name)
    try:
        refuse_unknown_keys(read_yaml(path), flags)
    except InputError as error:
        raise InputError(f"--config {name}: {error}") from error
    return path


def _refuse_unbounded(name: str, value: str) -> None:
    try:
        refuse_unbounded(value)
    except UnreadableYaml as error:
        raise InputError(f"--{name}: {error}") from error


def _is_list(hint: Any) -> bool:
    return str(hint).startswith("list")


def _below_here(word: str) -> str:
    """Write `./~name` from the root on: `Path` drops the `./`, and what is left would be read as a home folder."""
    if not (named := NAMED_TILDE.match(word)):
        return word
    return f"{named[1] or ''}{Path.cwd()}/{word[named.end() :]}"
