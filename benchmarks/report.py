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
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    note: str = "",
    page: Path = PAGE,
) -> None:
    """Prints the table, and puts it in the place of the last one of this title.

    `note` is a paragraph below the table: what was measured, and how.
    """
    lines = [
        f"## {title}",
        f"{date.today()} · {machine()} · `{_command()}`",
        "",
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        *([note, ""] if note else []),
    ]
    section = "\n".join(lines)
    print(section)
    text = page.read_text() if page.is_file() else "# Benchmarks\n\n"
    old = _section(title)
    if old.search(text):
        text = old.sub(lambda _: section.rstrip() + "\n", text)
    else:
        text = f"{text.rstrip()}\n\n{section}"
    page.write_text(text)


def has_table(title: str, page: Path = PAGE) -> bool:
    return page.is_file() and bool(_section(title).search(page.read_text()))


def _section(title: str) -> re.Pattern[str]:
    return re.compile(rf"^## {re.escape(title)}\n.*?(?=\n## |\Z)", re.DOTALL | re.M)


def machine() -> str:
    cpuinfo = Path("/proc/cpuinfo").read_text()
    match = re.search(r"model name\s*: (.*)", cpuinfo)
    name = match[1] if match else platform.processor()
    return (
        f"{usable_cores()} cores of {name}{_gpu()}, Python {platform.python_version()}"
    )


def _gpu() -> str:
    import torch  # seconds to import, and every benchmark ends here

    return f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""


def _command() -> str:
    """As typed, but of a path only its last part: the page names no one's folders."""
    arguments = [argument.rstrip("/").split("/")[-1] for argument in sys.argv[1:]]
    return " ".join(
        ["python -m", f"{__package__}.{Path(sys.argv[0]).stem}", *arguments]
    )
