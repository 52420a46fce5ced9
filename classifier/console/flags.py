"""Flags of the programs, generated from the fields of their settings."""

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Flag:
    """How a field of settings is typed: `epochs: Annotated[int, Flag("passes")] = 16`.

    The field's type gives the choices and reads the text: a Literal, int, float, str,
    Path, a tuple, or bool for a flag without a value.
    """

    help: str
    name: str = ""
    """Without `--`; empty takes the field's name."""

    group: str = ""
    """Where --help lists the flag; empty takes the group of the field before."""

    metavar: str = ""
    default: str = ""
    """The default in words, where its value says too little."""

    read: Callable[[str], Any] | None = None
    """Reads the text instead of the type; ValueError if the text is wrong."""

    repeated: bool = False
    several: bool = False
    """Whether it takes more than one value; its field is a tuple."""

    least: float | None = None
    most: float | None = None
    """Limits of a number that `check_fields` holds; `most` goes with `least`."""


def not_empty(text: str) -> str:
    """Raises ValueError for an empty path, which stands for the current folder."""
    if not text:
        raise ValueError("must be a path, got ''")
    return text


@dataclass(frozen=True)
class _Option:
    """A flag and its field."""

    flag: Flag
    field: Field[Any]
    words: tuple[str, ...]
    """The words of the field's Literal."""

    type: Any
    """The field's type apart from None and Literal; None if there is no other."""

    @property
    def name(self) -> str:
        """argparse's name: `per_class` of --per-class."""
        return (self.flag.name or self.field.name).replace("-", "_")

    @property
    def help(self) -> str:
        words, default = self.flag.default, self.field.default
        has_none = default in (MISSING, None, ()) or default is False
        if not words and not has_none:
            words = f"{default:g}" if isinstance(default, float) else str(default)
        text = self.flag.help + (f" (default: {words})" if words else "")
        return text.replace("%", "%%")

    def read(self, text: str) -> Any:
        """The field's value. Raises ArgumentTypeError, whose message argparse shows."""
        if text in self.words or self.type is None:
            return text
        try:
            if self.type is Path:
                not_empty(text)
            read = str if get_origin(self.type) is tuple else self.type
            return (self.flag.read or read)(text)
        except ValueError as error:
            fault = str(error)
            if self.flag.read is None and self.type is not Path:
                number = "a whole number" if self.type is int else "a number"
                words = "".join(f" or {word}" for word in self.words)
                fault = f"must be {number}{words}, got {text!r}"
            raise argparse.ArgumentTypeError(fault) from error

    def add_to(self, section: argparse._ArgumentGroup) -> None:
        name = f"--{self.name.replace('_', '-')}"
        if self.type is bool:
            section.add_argument(name, action="store_true", help=self.help)
            return
        section.add_argument(
            name,
            nargs="+" if self.flag.several else None,
            type=self.read,
            choices=self.words if self.type is None else None,
            action="append" if self.flag.repeated else "store",
            metavar=self.flag.metavar or _METAVARS.get(self.type),
            help=self.help,
        )


_METAVARS = {int: "N", float: "X", str: "TEXT"}


def _options(settings: type) -> Iterator[_Option]:
    hints = get_type_hints(settings, include_extras=True)
    for field in fields(settings):
        kind, *notes = get_args(hints[field.name]) or (hints[field.name],)
        parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        words = [part for part in parts if get_origin(part) is Literal]
        types = [part for part in parts if part is not NoneType and part not in words]
        for flag in notes:
            if isinstance(flag, Flag):
                yield _Option(
                    flag,
                    field,
                    words=tuple(word for part in words for word in get_args(part)),
                    type=types[0] if types else None,
                )


def new_parser(
    program: str,
    settings: Sequence[type],
    *,
    groups: Sequence[str],
    usage: str,
    description: str,
    epilog: str,
) -> argparse.ArgumentParser:
    """A parser of the flags of all `settings`; a flag that several have is one flag.

    It returns only the flags that were typed: the defaults are those of the settings.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {program}",
        usage=usage,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    sections = {title: parser.add_argument_group(title) for title in groups}
    added: set[str] = set()
    for kind in settings:
        section = sections[groups[0]]
        for option in _options(kind):
            if option.flag.group:
                section = sections[option.flag.group]
            if option.name not in added:
                option.add_to(section)
            added.add(option.name)
    return parser


def flag_names(settings: type) -> set[str]:
    """argparse's names of the flags of `settings`."""
    return {option.name for option in _options(settings)}


def field_values(settings: type, typed: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that the typed flags set; flags of a tuple's field add to it."""
    values: dict[str, Any] = {}
    for option in _options(settings):
        if option.name in typed:
            name, value = option.field.name, typed[option.name]
            if get_origin(option.type) is tuple:
                is_list = option.flag.repeated or option.flag.several
                more = value if is_list else [value]
                value = (*values.get(name, ()), *more)
            values[name] = value
    return values


def environment_values(
    settings: type, environment: Mapping[str, str], *, prefix: str
) -> dict[str, Any]:
    """The fields that variables set, such as SERVING_MAX_LOADED=4.

    An empty variable is unset. ValueError names a variable whose text is wrong.
    """
    values = {}
    for option in _options(settings):
        variable = f"{prefix}{option.field.name.upper()}"
        if text := environment.get(variable):
            try:
                values[option.field.name] = option.read(text)
            except argparse.ArgumentTypeError as error:
                raise ValueError(f"{variable} {error}") from error
    return values


def check_fields(settings: Any) -> None:
    """ValueError if a field has a word or a number that its flag does not allow."""
    for option in _options(type(settings)):
        flag, name = option.flag, option.field.name
        value = getattr(settings, name)
        words = (*option.words, option.field.default)
        if option.type is None and value not in words:
            allowed = f"one of {', '.join(option.words)}, got {value!r}"
            raise ValueError(f"{name} must be {allowed}")
        if flag.least is None or value is None:
            continue
        most = math.inf if flag.most is None else flag.most
        if not flag.least <= value <= most:
            limited = f"{flag.least:g} to {most}"
            allowed = f"at least {flag.least:g}" if flag.most is None else limited
            raise ValueError(f"{name} must be {allowed}, got {value}")
