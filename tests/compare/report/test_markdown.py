"""summary.md: whole, plain where others' text is, and the summary's numbers."""

from pathlib import Path
from typing import Any

import pytest

from compare.report.markdown import markdown, write_markdown
from compare.results.comparison import Comparison, align
from compare.results.document import read_document
from compare.results.folder import Latencies, Latency, RunFacts
from compare.results.gates import parse_gate
from compare.results.summary import DataFacts, Summary, places
from compare.results.verdict import Verdict, judge, refuse
from compare.results.wording import say
from tests.compare.conftest import DATA, HEAD, made_up_answers, served

LATENCY = Latencies(a=Latency(p50_ms=5.0), b=Latency(p50_ms=6.5))
NOTHING_RUN = RunFacts()


def test_it_begins_with_the_verdict_and_has_the_summarys_numbers(
    verdict: Verdict, summary: Summary
) -> None:
    text = markdown(summary, RunFacts(latency=LATENCY))

    assert text.startswith("### ")
    assert "NO GATE: m, v16 in place of v8" in text.splitlines()[0]
    top1 = summary.top1
    assert f"v16 breaks {top1.broken} images that v8 had right" in text
    rate = say(top1.negative_flip_rate.value, "percent")
    assert f"| broken: right before, wrong now |  |  | {rate}" in text
    assert "v8 5.00 ms, v16 6.50 ms" in text


def test_changes_have_their_units(summary: Summary) -> None:
    rows = {
        line.split(" | ")[0]: line
        for line in markdown(summary, NOTHING_RUN).splitlines()
    }

    assert " points (" in rows["| first answer right"]
    assert " points (" in rows["| calibration error"]
    for name in ("log loss", "Brier score"):
        assert " (" in rows[f"| {name}"]
        assert "points" not in rows[f"| {name}"]
        assert "%" not in rows[f"| {name}"]


def test_gates_are_a_table_of_what_tripped(comparison: Comparison) -> None:
    gates = (parse_gate("images>1"), parse_gate("delta.low<-1"))
    verdict = judge(comparison, a=served("8"), b=served("16"), gates=gates, data=DATA)

    text = markdown(verdict.summary, NOTHING_RUN)

    assert "| `images>1` | 400 | \N{CROSS MARK} tripped |" in text
    assert "| `delta.low<-1` |" in text
    assert text.startswith("### \N{CROSS MARK} FAIL")


def test_tables_are_whole(summary: Summary) -> None:
    blocks = markdown(summary, NOTHING_RUN).split("\n\n")
    tables = [block.splitlines() for block in blocks if block.startswith("| ")]

    assert len(tables) >= 3
    for lines in tables:
        assert len({line.count("|") for line in lines}) == 1


@pytest.mark.parametrize(
    "key", sorted({place.path[0] for place in places()} - HEAD - {"a", "b", "top1"})
)
def test_a_key_that_is_missing_or_null_breaks_nothing(
    document: dict[str, Any], key: str
) -> None:
    without = {name: value for name, value in document.items() if name != key}

    for changed in (without, {**document, key: None}):
        assert markdown(read_document(changed), NOTHING_RUN).endswith("\n")


def test_what_cannot_be_compared_says_why_and_has_no_table() -> None:
    verdict = refuse(["why <b>"], a=served("8"), b=served("16"), gates=(), data=DATA)

    text = markdown(verdict.summary, NOTHING_RUN)

    assert "NOT COMPARABLE" in text
    assert "* why &lt;b&gt;" in text
    assert "|" not in text


def test_without_labels_it_says_so_and_what_changes() -> None:
    a, b, answers = served("8"), served("16"), made_up_answers(40)
    unlabelled = align(list(answers), None, answers, a=a, b=b)
    data = DataFacts("photos", "d2", labelled=False)
    verdict = judge(unlabelled, a=a, b=b, gates=(), data=data)

    text = markdown(verdict.summary, NOTHING_RUN)

    assert "have no labels" in text
    rate = say(verdict.summary.disagreement_rate, "percent")
    assert f"| changed first answers | {rate} (" in text
    assert "the truth is" not in text


def test_it_is_written_whole(tmp_path: Path, summary: Summary) -> None:
    write_markdown(tmp_path / "summary.md", summary=summary, facts=NOTHING_RUN)

    (file,) = tmp_path.iterdir()
    assert file.read_text() == markdown(summary, NOTHING_RUN)
