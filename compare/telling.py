"""What a user is told of a comparison, and where else the summary goes."""

import shutil
from pathlib import Path

from compare.drawing import Drawn
from compare.files import MARKDOWN
from compare.terminal_report import print_report, print_shown


def tell(drawn: Drawn, *, show: int) -> None:
    print_report(drawn.verdict, data=drawn.record.data_name, folder=drawn.folder)
    if drawn.comparison is not None and show:
        print_shown(drawn.comparison, show)


def copy_summary(drawn: Drawn, to: Path | None) -> None:
    """OSError where that fails, so it comes last."""
    ours = drawn.folder / MARKDOWN
    if to is not None and to.resolve() != ours.resolve():
        shutil.copyfile(ours, to)
