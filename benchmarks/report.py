"""Where benchmarks write their tables: a section each in docs/benchmarks.md."""

import platform
import re
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from classifier.cores import usable_cores

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def write_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Prints the table, and puts it in the place of the last one of this title."""
    lines = [
        f"## {title}",
        f"{date.today()} · {_machine()} · `{_command()}`",
        "",
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]
    section = "\n".join(lines)
    print(section)
    page = PAGE.read_text() if PAGE.is_file() else "# Benchmarks\n\n"
    old = re.compile(rf"## {re.escape(title)}\n.*?(?=\n## |\Z)", re.DOTALL)
    if old.search(page):
        page = old.sub(lambda _: section.rstrip() + "\n", page)
    else:
        page = f"{page.rstrip()}\n\n{section}"
    PAGE.write_text(page)


def _machine() -> str:
    cpuinfo = Path("/proc/cpuinfo").read_text()
    match = re.search(r"model name\s*: (.*)", cpuinfo)
    name = match[1] if match else platform.processor()
    return f"{usable_cores()} cores of {name}, Python {platform.python_version()}"


def _command() -> str:
    return f"python -m {__package__}.{Path(sys.argv[0]).stem}"
