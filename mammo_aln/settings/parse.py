"""From command-line words to a function's keyword arguments; one plain line for whatever is wrong with them."""

from __future__ import annotations

import argparse
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar, get_type_hints

from mammo_aln.errors import InputError
from mammo_aln.settings import Settings
from mammo_aln.settings.limits import refuse_outside_limits
from mammo_aln.settings.shipped import find_config

AnySettings = TypeVar("AnySettings", bound=Settings)
SHORT = {"--max_pixels": "--pixels.max_pixels"}
"""Settings that may be given without their section."""

FLAGS_WITHOUT_VALUE = ("--help", "-h", "--print_config")


def parse(function: Callable[..., Any], prog: str, positional: str, words: Sequence[str]) -> dict[str, Any] | None:
    """Keyword arguments of `function` as given by `words`; None where help or the settings were printed instead.

    Args:
        function: its signature is the flags, its docstring their help; parameters that are dataclasses become
            `--name.key`. A parameter `given` is no flag: it gets what the words gave, as nested plain values without
            defaults.
        prog: name shown in the help.
        positional: parameter that words without `--` go to (a list where its type is one); may also be given as
            `--name`. Where it is several names, each takes one word.
        words: the command line behind the verb.

    Raises:
        InputError: an unknown key, a wrong value or a number outside its limits; the message names the key and what is
            allowed.
    """
    from jsonargparse import ArgumentParser

    hints = get_type_hints(function)
    positional, *following = positional.split() or [""]
    parser = ArgumentParser(
        prog=prog, description=_summary(function, positional), exit_on_error=False, allow_abbrev=False
    )
    parser.add_argument(
        "--config", action="config", help="YAML file of settings; may be given several times, later wins"
    )
    parser.add_function_arguments(function, fail_untyped=False, skip={"given"})
    given: dict[str, Any] = {}
    try:
        tidy = _tidy(words, positional, hints, following)
        namespace = parser.instantiate(parser.parse_args(tidy))
        if "given" in hints:
            given = parser.parse_args(tidy, defaults=False).as_dict()
            given.pop("config", None)
    except (argparse.ArgumentError, argparse.ArgumentTypeError) as error:
        raise InputError(_plain(str(error), parser, positional)) from error
    except SystemExit as done:  # --help and --print_config end the parser this way
        if done.code:
            raise
        return None
    arguments = {name: namespace[name] for name in inspect.signature(function).parameters if name != "given"}
    refuse_outside_limits(arguments)
    return arguments | ({"given": given} if "given" in hints else {})


def settings_from(kind: type[AnySettings], plain: Mapping[str, Any], where: str) -> AnySettings:
    """All settings of a kind, from nested plain values as they stand in a YAML file.

    Raises:
        InputError: an unknown key, a wrong value or a number outside its limits; the message begins with `where`.
    """
    parser = _settings_parser(kind)
    try:
        namespace = parser.instantiate(parser.parse_object(dict(plain)))
    except (argparse.ArgumentError, argparse.ArgumentTypeError) as error:
        raise InputError(f"{where}: {_plain(str(error), parser, '')}") from error
    arguments = {field.name: namespace[field.name] for field in fields(kind)}
    try:
        refuse_outside_limits(arguments)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return kind(**arguments)


_PARSERS: dict[str, Any] = {}
"""Parsers by kind of settings: to build one takes ten times as long as to use it."""


def _settings_parser(kind: type[Settings]) -> Any:
    from jsonargparse import ArgumentParser

    if kind.__name__ not in _PARSERS:
        parser = _PARSERS[kind.__name__] = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(kind)
    return _PARSERS[kind.__name__]


def _tidy(words: Sequence[str], positional: str, hints: dict[str, Any], following: Sequence[str] = ()) -> list[str]:
    """Bring words to `--key=value` form: `-` and `_` are the same in keys, a lone boolean flag means true.

    An option that takes a list takes every word up to the next option.
    """
    loose: list[str] = []
    tidy: list[str] = []
    lists: dict[str, list[str]] = {}
    rest = list(words)
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
        if not equals:
            is_flag = hints.get(key[2:]) is bool
            if is_flag and (not rest or rest[0].lower() not in ("true", "false")):
                value = "true"
            elif rest and not (rest[0].startswith("--") and len(rest[0]) > 2):
                value = rest.pop(0)
            else:
                raise InputError(f"{key}: a value is missing")
        key = SHORT.get(key, key) if SHORT.get(key, key)[2:].split(".")[0] in hints else key
        if key == "--config":
            value = str(find_config(value))
        if key[2:] == positional and _is_list(hints[positional]) and not value.startswith("["):
            loose.append(value)
            continue
        if _is_list(hints.get(key[2:])) and not value.startswith("["):
            lists.setdefault(key[2:], []).append(value)
            while not equals and rest and not rest[0].startswith("-"):
                lists[key[2:]].append(rest.pop(0))
            continue
        tidy.append(f"{key}={value}")
    given = loose or any(word.startswith(f"--{positional}=") for word in tidy)
    for name, values in lists.items():
        if positional and not _is_list(hints[positional]) and not given and len(values) > 1:
            # `--run RUN COHORT`: the word that the verb still lacks is the last one.
            loose.append(values.pop())
            given = True
        tidy.append(f"--{name}={json.dumps(values)}")
    for name, word in zip(following, loose[1:], strict=False):
        tidy.append(f"--{name}={word}")
        loose.remove(word)
    if loose and not positional:
        raise InputError(f"unexpected word {loose[0]!r}: options begin with --")
    if loose and _is_list(hints[positional]):
        tidy.append(f"--{positional}={json.dumps(loose)}")
    elif loose:
        if len(loose) > 1:
            raise InputError(f"unexpected word {loose[1]!r}: {positional} is {loose[0]!r} already")
        if any(word.startswith(f"--{positional}=") for word in tidy):
            raise InputError(f"--{positional} is given twice: as an option and as the word {loose[0]!r}")
        tidy.append(f"--{positional}={loose[0]}")
    return tidy


def _is_list(hint: Any) -> bool:
    return str(hint).startswith("list")


def _summary(function: Callable[..., Any], positional: str) -> str:
    first = (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")
    return f"{first} ({positional.upper()} may stand without --{positional}.)" if positional else first


def _plain(message: str, parser: Any, positional: str) -> str:
    """One line out of the parser's message: the key, what was expected, what was given."""
    text = " ".join(message.split())
    text = re.sub(r'Parser key "([^"]+)":', r"\1:", text)
    text = re.sub(
        r"Expected a typing\.Literal\[([^\]]*)\]", lambda hit: "expected one of " + hit.group(1).replace("'", ""), text
    )
    text = re.sub(r"Expected a <class '(\w+)'>", r"expected \1", text)
    text = text.replace("Got value:", "got")
    known = sorted(action.dest for action in parser._actions if action.dest not in ("help", "config", "print_config"))
    unknown = re.search(r"unrecognized arguments: --([\w.]+)", text) or re.search(
        r"does not accept option '([\w.]+)'", text
    )
    unknown = unknown or re.search(r"[Kk]ey '?([\w.]+)'? is not expected", text)
    if unknown:
        section = re.search(r"Group '([\w.]+)'", text)
        key = f"{section.group(1)}.{unknown.group(1)}" if section else unknown.group(1)
        prefix = key.rsplit(".", 1)[0] + "." if "." in key else ""
        allowed = [name for name in known if name.startswith(prefix)] or known
        return f"{key}: unknown key; allowed: {', '.join(allowed)}"
    missing = re.search(r"the following arguments are required: (.+)", text)
    if missing:
        names = [f"--{name.strip()}" for name in missing.group(1).split(",")]
        return f"missing {', '.join(names)}" + (
            f" (or {positional.upper()} as first word)" if positional in missing.group(1) else ""
        )
    return text
