"""A comparison in Python: its verdict and its tables, shown as itself in a notebook."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from classifier.console import csv_text, printable
from compare.results.folder import PER_CLASS, PER_IMAGE, SUMMARY
from compare.results.wording import (
    Kind,
    five_can_miss,
    is_labelled,
    is_older,
    look_up,
    say_estimate,
    say_images,
    verdict_in_words,
)

Row = tuple[str, str, Kind]

ROWS: tuple[Row, ...] = (
    ("first answer right, change in points", "top1.delta", "points"),
    ("truth among five, change in points", "top5.delta", "points"),
    ("broken", "top1.negative_flip_rate", "percent"),
    ("fixed", "top1.positive_flip_rate", "percent"),
    ("calibration error, change in points", "calibration_error_delta", "points"),
    ("log loss, change", "log_loss_delta", "change"),
)


@dataclass(frozen=True)
class Loaded:
    """What `python -m compare` found; the tables are read when they are asked for."""

    folder: Path
    summary: dict[str, Any]
    """summary.json."""

    @property
    def verdict(self) -> str:
        """`pass`, `fail`, `no_gate` or `not_comparable`."""
        verdict = str(self.summary["verdict"])
        # Older summaries say that what was never asked has passed.
        is_asked = verdict != "pass" or self.summary["gates"]
        return verdict if is_asked else "no_gate"

    @cached_property
    def per_image(self) -> pd.DataFrame:
        """A row per image: per_image.parquet. FileNotFoundError if not comparable."""
        frame = pd.read_parquet(self.folder / PER_IMAGE)
        if is_labelled(self.summary) and "a_right" not in frame:  # an older folder
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
        summary = self.summary
        return printable(
            f"<{summary['model']}: v{summary['b']['version']} in place of "
            f"v{summary['a']['version']}, {self.verdict}>"
        )

    def _repr_html_(self) -> str:
        """What Jupyter shows; nothing in it needs scripts."""
        words = verdict_in_words(self.summary)
        said = "".join(f"<p>{_html(text)}</p>" for text in words.sentences)
        rows = "".join(
            f"<tr><th style='text-align:left'>{_html(name)}</th>"
            f"<td>{_html(say_estimate(look_up(self.summary, path), kind))}</td></tr>"
            for name, path, kind in _rows(self.summary)
        )
        images = say_images(self.summary["images"] or 0)
        return (
            f"<div><h3>{_html(words.badge)}: {_html(words.headline)}</h3>{said}"
            f"<table><caption>{_html(repr(self)[1:-1])}, on {images}, with "
            f"95 % intervals</caption>{rows}</table></div>"
        )


def _rows(summary: Mapping[str, Any]) -> list[Row]:
    """The numbers that exist, and say something."""
    silent = set()
    if not five_can_miss(summary):
        silent.add("top5.delta")
    if is_older(summary):
        silent.add("calibration_error_delta")
    return [
        row
        for row in ROWS
        if row[1] not in silent and look_up(summary, f"{row[1]}.value") is not None
    ]


def _html(text: str) -> str:
    return escape(printable(text))


def load_comparison(folder: Path) -> Loaded:
    """FileNotFoundError where the folder has no whole comparison."""
    file = folder / SUMMARY
    if not file.is_file():
        raise FileNotFoundError(
            f"{folder} has no {SUMMARY}; name a folder that python -m compare wrote"
        )
    return Loaded(folder, json.loads(file.read_text("utf-8")))
