"""Output of a run on standard output: its setup, its epochs, its diagnosis.

A closed standard output does not end the run; nothing more is printed then.
"""

import logging
import os
import sys
from collections.abc import Sequence

from classifier.console.text import printable_lines
from training.evaluation.epoch import EpochRecord

HEADER = "  epoch   train loss   top-1      val loss   top-1{}    images/s  version"
TOP5 = "    top-5"

logger = logging.getLogger(__name__)


def print_start(lines: Sequence[tuple[str, str]], *, has_top5: bool) -> None:
    """Prints names with their texts, then the header of the epochs.

    `has_top5`: with five classes or fewer, top-5 is always 100 %.
    """
    for name, text in lines:
        print_text(f"{name:8} {text}")
    print_text(f"\n{HEADER.format(TOP5 if has_top5 else '')}")


def print_epoch(
    record: EpochRecord, *, epochs: int, version: str, has_top5: bool
) -> None:
    training, val = record.training, record.val
    top5 = f" {val.top5_accuracy:8.2%}" if has_top5 else ""
    print_text(
        f"{record.epoch:4}/{epochs:<4}"
        f"{training.metrics.loss:9.4f} {training.metrics.top1_accuracy:9.2%}"
        f"{val.loss:12.4f} {val.top1_accuracy:8.2%}{top5}"
        f"{training.images_per_second:10,.0f}   v{version}"
    )


def print_note(note: str) -> None:
    print_text(f"note     {note}")


def print_text(text: str, end: str = "\n") -> None:
    try:
        print(printable_lines(text), end=end, flush=True)
    except OSError as error:
        logger.warning("standard output is gone, the run goes on: %s", error)
        # The buffered output would fail again when the interpreter ends:
        # docs.python.org/3/library/signal.html, "Note on SIGPIPE".
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
