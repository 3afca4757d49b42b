"""From command-line words to a function's keyword arguments; one plain line for whatever is wrong with them."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mammo_aln.errors import InputError
from mammo_aln.settings import Settings
from mammo_aln.settings.flags import GIVEN, flags_of, settings_of
from mammo_aln.settings.limits import refuse_outside_limits
from mammo_aln.settings.messages import plain_message, refuse_unknown_keys
from mammo_aln.settings.words import tidy_words

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

AnySettings = TypeVar("AnySettings", bound="DataclassInstance")


def parse(function: Callable[..., Any], prog: str, positional: str, words: Sequence[str]) -> dict[str, Any] | None:
    """Read the keyword arguments of `function` from `words`; None where help or the settings were printed instead.

    Args:
        function: its signature is the flags, its docstring their help; parameters that are dataclasses become
            `--name.key`, those of `settings` without its name. A parameter `given` is no flag: it gets what the words
            gave, as nested plain values without defaults.
        prog: name shown in the help.
        positional: parameter that words without `--` go to (a list where its type is one); may also be given as
            `--name`. Where it is several names, each takes one word.
        words: the command line behind the verb.

    Raises:
        InputError: an unknown key, a wrong value or a number outside its limits; the message names the key and what is
            allowed.
    """
    from jsonargparse import ArgumentParser

    flags = flags_of(function)
    flat = settings_of(function)
    names = list(inspect.signature(function).parameters)
    positional, *following = positional.split() or [""]
    parser = ArgumentParser(
        prog=prog, description=_summary(function, positional), exit_on_error=False, allow_abbrev=False
    )
    parser.add_argument(
        "--config", action="config", help="YAML file of settings; may be given several times, later wins"
    )
    parser.add_function_arguments(function, fail_untyped=False, skip={GIVEN, *([flat[0]] if flat else [])})
    if flat:
        parser.add_class_arguments(flat[1])
    given: dict[str, Any] = {}
    try:
        tidy = tidy_words(words, positional, flags, following)
        namespace = parser.instantiate(parser.parse_args(tidy))
        if GIVEN in names:
            given = parser.parse_args(tidy, defaults=False).as_dict()
            given.pop("config", None)
    except (argparse.ArgumentError, argparse.ArgumentTypeError) as error:
        raise InputError(plain_message(str(error), positional)) from error
    except SystemExit as done:  # --help and --print_config end the parser this way
        if done.code:
            raise
        return None
    arguments = {name: _from_home(namespace[name]) for name in names if name in namespace}
    if flat:
        arguments[flat[0]] = flat[1](**{field.name: namespace[field.name] for field in fields(flat[1])})
    refuse_outside_limits(function, arguments)
    return arguments | ({GIVEN: given} if GIVEN in names else {})


def settings_from(kind: type[AnySettings], plain: Mapping[str, Any], where: str) -> AnySettings:
    """Read all settings of a kind, or of one section, from plain values as they stand in a YAML file.

    Raises:
        InputError: an unknown key, a wrong value or a number outside its limits; the message begins with `where`.
    """
    parser = _settings_parser(kind)
    try:
        refuse_unknown_keys(plain, flags_of(kind))
        namespace = parser.instantiate(parser.parse_object(dict(plain)))
        arguments = {field.name: namespace[field.name] for field in fields(kind)}
        refuse_outside_limits(kind, arguments)
    except (argparse.ArgumentError, argparse.ArgumentTypeError) as error:
        raise InputError(f"{where}: {plain_message(str(error))}") from error
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return kind(**arguments)


def check_sections(where: str, **sections: Any) -> None:
    """Check sections that were made in Python (`crop=CropConfig(...)`), as those of a YAML file are: `InputError`."""
    settings_from(Settings, {name: asdict(section) for name, section in sections.items()}, where)


def _from_home(value: Any) -> Any:
    """Put the home folder in place of a path's `~`: no shell does so behind `--out=`."""
    if isinstance(value, list):
        return [_from_home(each) for each in value]
    return value.expanduser() if isinstance(value, Path) else value


_PARSERS: dict[str, Any] = {}
"""Parsers by kind of settings: to build one takes ten times as long as to use it."""


def _settings_parser(kind: type[DataclassInstance]) -> Any:
    from jsonargparse import ArgumentParser

    if kind.__name__ not in _PARSERS:
        parser = _PARSERS[kind.__name__] = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(kind)
    return _PARSERS[kind.__name__]


def _summary(function: Callable[..., Any], positional: str) -> str:
    first = (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")
    return f"{first} ({positional.upper()} may stand without --{positional}.)" if positional else first
