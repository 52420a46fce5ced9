"""compare.load(): a finished comparison in Python and in notebooks."""

import json
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from classifier.console.text import csv_text, printable
from compare.results.document import read_document
from compare.results.folder import PER_CLASS, PER_IMAGE, SUMMARY
from compare.results.summary import Summary, five_can_miss
from compare.results.wording import (
    is_older,
    say_images,
    say_value,
    verdict_in_words,
)
from compare.statistics.measure import NOTHING, Estimate, Kind


@dataclass(frozen=True)
class Loaded:
    """A finished comparison; its tables are read when they are used."""

    folder: Path
    summary: dict[str, Any]  # as the file has it, for users' own code
    """The document of summary.json."""

    @cached_property
    def numbers(self) -> Summary:
        """The same, typed; what an older version did not write is None."""
        return read_document(self.summary)

    @property
    def verdict(self) -> str:
        """`pass`, `fail`, `no_gate` or `not_comparable`."""
        # Older summaries have `pass` without gates too.
        is_judged = self.numbers.verdict != "pass" or self.numbers.gates
        return self.numbers.verdict if is_judged else "no_gate"

    @cached_property
    def per_image(self) -> pd.DataFrame:
        """A row per image: per_image.parquet. FileNotFoundError if not comparable."""
        frame = pd.read_parquet(self.folder / PER_IMAGE)
        if self.numbers.data.labelled and "a_right" not in frame:  # an older folder
            for side in "ab":
                frame[f"{side}_right"] = frame[f"{side}_rank"] == 1
        return frame

    @cached_property
    def per_class(self) -> pd.DataFrame:
        """A row per class: per_class.csv. FileNotFoundError if not comparable."""
        # A class may be called `null` or `nan`, and an id may be a number.
        return pd.read_csv(
            self.folder / PER_CLASS,
            converters={"id": csv_text, "name": csv_text},
            keep_default_na=False,
            na_values={"delta": "", "low": "", "high": "", "mid_p": "", "q_value": ""},
        )

    def __repr__(self) -> str:
        numbers = self.numbers
        return printable(f"<{numbers.title}, {self.verdict}>")

    def _repr_html_(self) -> str:
        """HTML for Jupyter, without scripts."""
        words = verdict_in_words(self.numbers)
        said = "".join(f"<p>{_html(text)}</p>" for text in words.sentences)
        rows = "".join(
            f"<tr><th style='text-align:left'>{_html(name)}</th>"
            f"<td>{_html(say_value(estimate, kind))}</td></tr>"
            for name, estimate, kind in _rows(self.numbers)
        )
        images = say_images(self.numbers.images or 0)
        return (
            f"<div><h3>{_html(words.badge)}: {_html(words.headline)}</h3>{said}"
            f"<table><caption>{_html(repr(self)[1:-1])}, on {images}, with "
            f"95 % intervals</caption>{rows}</table></div>"
        )


def _rows(summary: Summary) -> list[tuple[str, Estimate, Kind]]:
    """The numbers that exist and are informative."""
    top1, overlap = summary.top1, summary.overlap
    rows: list[tuple[str, Estimate, Kind]] = [
        ("first answer right, change in points", top1.delta, "points"),
        (
            "truth among five, change in points",
            summary.top5.delta if five_can_miss(summary) else NOTHING,
            "points",
        ),
        ("broken", top1.negative_flip_rate, "percent"),
        ("fixed", top1.positive_flip_rate, "percent"),
        (
            "calibration error, change in points",
            NOTHING if is_older(summary) else summary.calibration_error_delta,
            "points",
        ),
        ("log loss, change", summary.log_loss_delta, "change"),
    ]
    if not summary.data.labelled:
        rows = [
            ("changed first answers", summary.changed_first_answers, "percent"),
            ("confidence, change in points", summary.confidence.delta, "points"),
            ("shared answers", Estimate(overlap.top5), "percent"),
            ("kappa of first answers", Estimate(summary.agreement_kappa), "number"),
        ]
    return [row for row in rows if row[1].value is not None]


def _html(text: str) -> str:
    return escape(printable(text))


def load_comparison(folder: Path) -> Loaded:
    """FileNotFoundError if the folder has no finished comparison."""
    file = folder / SUMMARY
    if not file.is_file():
        raise FileNotFoundError(
            f"{folder} has no {SUMMARY}; name a folder that python -m compare wrote"
        )
    return Loaded(folder, json.loads(file.read_text("utf-8")))
