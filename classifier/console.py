"""The console of the three programs: flags, exit codes, harmless text, progress bars.

The flags of a program are generated from the fields of its settings. Text that others
wrote (names of classes, files, models and data sets, tags, messages of libraries and
services) is made harmless for a terminal, a log, a spreadsheet, Markdown and a page.
"""

import argparse
import logging
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, Field, dataclass, fields
from types import NoneType, UnionType
from typing import Any, Literal, Protocol, Union, get_args, get_origin, get_type_hints


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
    least: float | None = None
    most: float | None = None
    """Limits of a number that `check_fields` holds; `most` goes with `least`."""


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
        """The field's value; ValueError if the text is wrong."""
        if text in self.words or self.type is None:
            return text
        try:
            return (self.flag.read or self.type)(text)
        except ValueError as error:
            if self.flag.read is not None:
                raise
            number = "a whole number" if self.type is int else "a number"
            words = "".join(f" or {word}" for word in self.words)
            raise ValueError(f"must be {number}{words}, got {text!r}") from error

    def argument(self, text: str) -> Any:
        """The same for argparse, which shows the message of this error alone."""
        try:
            return self.read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    def add_to(self, section: argparse._ArgumentGroup) -> None:
        name = f"--{self.name.replace('_', '-')}"
        if self.type is bool:
            section.add_argument(name, action="store_true", help=self.help)
            return
        section.add_argument(
            name,
            type=self.argument,
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
            section = sections.get(option.flag.group, section)
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
                more = value if option.flag.repeated else [value]
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
            except ValueError as error:
                raise ValueError(f"{variable} {error}") from error
    return values


def check_fields(settings: Any) -> None:
    """ValueError if a field has a word or a number that its flag does not allow."""
    for option in _options(type(settings)):
        flag, name = option.flag, option.field.name
        value = getattr(settings, name)
        if option.type is None and value not in option.words:
            allowed = f"one of {', '.join(option.words)}, got {value!r}"
            raise ValueError(f"{name} must be {allowed}")
        if flag.least is None or value is None:
            continue
        most = math.inf if flag.most is None else flag.most
        if not flag.least <= value <= most:
            limited = f"{flag.least:g} to {most:,}"
            allowed = f"at least {flag.least:g}" if flag.most is None else limited
            raise ValueError(f"{name} must be {allowed}, got {value}")


class WrongUsage(Exception):
    """Base of the errors that end a program with 2: wrong usage or bad data."""

    exit_code = 2


class NotNow(Exception):
    """Base of the errors that end a program with 3: it cannot be done now."""

    exit_code = 3


class OurFault(Exception):
    """Base of the errors that end a program with 4: a known fault of flipside."""

    exit_code = 4


INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def exit_code(error: BaseException) -> int | None:
    """The exit code of an error that users can understand, None of any other."""
    if isinstance(error, (WrongUsage, NotNow, OurFault)):
        return error.exit_code
    # The disk is full or not writable, or a connection is broken.
    return NotNow.exit_code if isinstance(error, OSError) else None


def report_failure(error: Exception) -> int:
    """Print or log the error that ended a program; return the exit code."""
    code = exit_code(error)
    if code is None:
        logging.getLogger(__name__).error("a fault of flipside's", exc_info=error)
        return OurFault.exit_code
    message = "; ".join([str(error), *getattr(error, "__notes__", [])])
    print(error_line(message), file=sys.stderr, flush=True)
    return code


_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Unicode's Bidi_Control: characters that change the direction of text, so that a line
reads as another line."""

_UNSHOWN = f"\x00-\x1f\x7f-\x9f\u2028\u2029{_BIDI}\ufeff\ufff9-\ufffb\ud800-\udfff"
"""Control characters, which terminals obey; Unicode's line ends; surrogates, which no
encoding can write. Joiners are allowed: names in Persian and Hindi need them."""

_NOT_PRINTABLE = re.compile(f"[{_UNSHOWN}]")
_NOT_PRINTABLE_IN_LINES = re.compile(f"(?!\n)[{_UNSHOWN}]")

_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""Beginnings that spreadsheets read as a formula, also of full width (OWASP, "CSV
Injection"). Leading apostrophes count too, so that `csv_text` can undo `csv_row`."""


def printable(text: str) -> str:
    """One line for a terminal: control characters become escapes such as `\\x1b`."""
    return _NOT_PRINTABLE.sub(_escape, text)


def printable_lines(text: str) -> str:
    """The same for text of several lines; line feeds stay."""
    return _NOT_PRINTABLE_IN_LINES.sub(_escape, text)


def printable_json(text: str) -> str:
    """The same for a JSON document: the escapes are JSON's, so its content stays."""
    return _NOT_PRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def error_line(message: str) -> str:
    """A message for standard error; its further lines are indented."""
    return "error: " + printable_lines(message).replace("\n", "\n  ")


class PlainFormatter(logging.Formatter):
    """Writes a record on one line; a traceback follows on its own lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        return printable(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


def plain_handler(style: str) -> logging.Handler:
    """A handler that logs to standard error; `style` is a format of logging's."""
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter(style))
    return handler


def csv_row(cells: Iterable[Any]) -> list[Any]:
    """Cells in which no spreadsheet finds a formula.

    Text that begins like a formula gets an apostrophe in front; numbers stay.
    `csv_text` reads such a cell back.
    """
    return [
        f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell
        for cell in cells
    ]


def csv_text(cell: str) -> str:
    """The text of a cell that `csv_row` wrote."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def markdown_text(text: str) -> str:
    """The text on one line, free of Markdown, HTML, mentions and links."""
    line = printable(re.sub(r"\s+", " ", text))
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*_\[\]|~#!$])", r"\\\1", line)
    # A zero-width space keeps GitHub from finding a person or an address.
    line = re.sub(r"(?i)\bwww\.", lambda found: f"{found[0][:3]}\u200b.", line)
    return line.replace("@", "@\u200b").replace("://", ":\u200b//")


def page_text(value: Any) -> Any:
    """For Jinja's `finalize`: removes control characters from text.

    Markup and other values stay as they are. Jinja escapes the text afterwards.
    """
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return printable_lines(value)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


class Advance(Protocol):
    """Adds `count` finished images to a bar and shows `note` behind it."""

    def __call__(self, count: int, note: str = "") -> None: ...


@contextmanager
def progress_bar(
    description: str, *, total: int, done: int = 0, shown: bool = True
) -> Iterator[Advance]:
    """A bar over `total` images; nothing is shown if standard error is no terminal.

    `done` images were finished before.
    """
    # Here: the service shows no bar, and its installation has no rich.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f} images/s", style="dim")

    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
        console=console,
        transient=True,
        # Printed lines go above the bar, unless they go to a file or a pipe.
        redirect_stdout=sys.stdout.isatty(),
        disable=not (shown and console.is_terminal),
    )
    task = progress.add_task(description, total=total, completed=done, note="")

    def advance(count: int, note: str = "") -> None:
        progress.update(task, advance=count, note=note)

    # If the terminal is closed, the bar ends and the work goes on.
    with suppress(OSError):
        progress.start()
    try:
        yield advance
    finally:
        with suppress(OSError):
            progress.stop()
