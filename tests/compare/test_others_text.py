"""Names that other people chose, in everything that a comparison shows or writes."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import compare
from classifier.bundle.labels import Labels
from compare.__main__ import main
from compare.matrix.output import matrix_csv
from compare.report.html.page import html_parts
from compare.report.markdown import markdown
from compare.report.terminal import print_lines, report_lines, shown_lines
from compare.results.comparison import Comparison
from compare.results.folder import (
    RunFacts,
    write_per_class,
    write_per_image,
    write_summary,
)
from compare.results.numbers import Probe
from compare.results.summary import DataFacts
from compare.results.verdict import Verdict, judge
from tests.compare.conftest import as_json, image_facts, made_up_comparison, served
from tests.compare.matrices import made_up_matrix

TITLE, CLEAR, RED = "\x1b]0;owned\x07", "\x1b[2J", "\x9b31m"
NAMES = (
    *(f"{TITLE}{CLEAR}cat", "\u202egnp.exe", "dog\nverdict: PASS"),
    *("=cmd|' /C calc'!A0", "-1", "@SUM(A1)", f"<b>{RED}</b>|`x`", "owl"),
)
EVIL = f"{TITLE}\u2066=1\r\n| a | b |"

OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def evil() -> Comparison:
    comparison = made_up_comparison(400)
    names = (*(f"{CLEAR}{name}" for name in comparison.names[:9]), EVIL)
    return replace(
        comparison,
        labels=Labels(NAMES, NAMES),
        names=(*names, *comparison.names[10:]),
    )


@pytest.fixture
def verdict(evil: Comparison) -> Verdict:
    a, b = (replace(served(n), model=EVIL) for n in ("8", "16"))
    return judge(
        evil,
        a=a,
        b=b,
        gates=(),
        data=DataFacts(EVIL, "d1", labelled=True),
        images=image_facts(len(evil.names)),
        probe=Probe(images=100, differing=0),
        notes=[EVIL],
    )


def test_a_terminal_has_nothing_to_obey(
    evil: Comparison, verdict: Verdict, capsys: pytest.CaptureFixture[str]
) -> None:
    print_lines(report_lines(verdict, data=EVIL, folder=Path("out")))
    print_lines(shown_lines(evil, 10))

    said = capsys.readouterr().out
    assert OBEYED.findall(said) == []
    assert r"\x1b[2Jimg_0.png" in said
    assert r"\x1b]0;owned\x07\x1b[2Jcat" in said
    assert r"\u202egnp.exe" in said
    assert [line for line in said.splitlines() if line.startswith("verdict:")] == [
        "verdict: NO GATE (no gate was given, so nothing passed)"
    ]


def test_markdown_and_a_page_show_text(evil: Comparison, verdict: Verdict) -> None:
    text = markdown(verdict.summary, RunFacts())
    page = "".join(html_parts(verdict, evil, facts=RunFacts(), thumbnails=None))
    assert OBEYED.findall(text) == []
    assert "<b>" not in text
    assert "| a | b |" not in text
    assert OBEYED.findall(page) == []
    assert r"\u202egnp.exe" in page
    (embedded,) = re.findall(r'json" id="summary">(.*?)</script>', page)
    assert json.loads(embedded) == as_json(verdict.summary)


def test_a_spreadsheet_has_nothing_to_run_and_a_program_reads_the_names(
    evil: Comparison, verdict: Verdict, tmp_path: Path
) -> None:
    write_per_class(tmp_path, verdict.classes, evil.labels)
    write_per_image(tmp_path, evil)
    write_summary(tmp_path, verdict.summary)

    with (tmp_path / "per_class.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    cells = [cell for row in rows for cell in row.values()]
    begun = [cell for cell in cells if cell[:1] in tuple("=+-@\t\r")]
    assert begun
    assert all(float(cell) < 0 for cell in begun)  # numbers, as they are
    assert [row["name"] for row in rows][3:6] == [f"'{name}" for name in NAMES[3:6]]
    assert compare.load(tmp_path).per_class["name"].tolist() == [*NAMES]
    assert compare.load(tmp_path).per_class["id"].tolist() == [*NAMES]
    # What only programs read has the names as they are.
    images = pd.read_parquet(tmp_path / "per_image.parquet")
    assert images["image"].tolist() == [*evil.names]
    assert json.loads((tmp_path / "summary.json").read_text())["model"] == EVIL


def test_a_notebook_shows_text(verdict: Verdict, tmp_path: Path) -> None:
    write_summary(tmp_path, verdict.summary)

    loaded = compare.load(tmp_path)

    assert OBEYED.findall(loaded._repr_html_() + repr(loaded)) == []


def test_the_matrix_of_a_spreadsheet_has_nothing_to_run() -> None:
    matrix = made_up_matrix(["1", "2"])
    (pair,) = matrix.pairs
    odd = replace(matrix, pairs=(replace(pair, a="=1"),))

    first = next(csv.DictReader(matrix_csv(odd).splitlines()))

    assert first["a"] == "'=1"
    assert float(first["delta"]) == pair.delta.value


def test_an_error_has_nothing_for_a_terminal_to_obey(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--from", str(tmp_path / f"{CLEAR}there")]) == 2

    error = capsys.readouterr().err
    assert OBEYED.findall(error) == []
    assert r"\x1b[2Jthere" in error
