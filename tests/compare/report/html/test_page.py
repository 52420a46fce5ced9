"""report.html as text: whole, escaped, and right where numbers are missing."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from classifier.bundle.labels import Labels
from classifier.console.text import printable
from compare.report.html.page import html_parts, json_in_script, write_report
from compare.results.comparison import Comparison, align
from compare.results.document import read_document
from compare.results.folder import Latencies, Latency, RunFacts
from compare.results.gates import parse_gate
from compare.results.summary import DataFacts, places
from compare.results.verdict import Verdict, judge, refuse
from compare.results.wording import say
from compare.statistics.measure import Estimate
from tests.compare.conftest import (
    DATA,
    HEAD,
    as_json,
    made_up_answers,
    made_up_comparison,
    served,
)

EVIL = "</script><img src=x onerror=alert(1)>\u2028&amp;'\""
FACTS = RunFacts(
    started_unix_seconds=1_795_000_000.0,
    url="http://127.0.0.1:8000",
    latency=Latencies(
        a=Latency(p50_ms=5.0, p95_ms=7.0, requests=3, samples_ms=(4, 5, 7)),
        b=Latency(p50_ms=6.0, p95_ms=8.0, requests=3, samples_ms=(5, 6, 8)),
        median_difference_ms=Estimate(1.0, 0.5, 1.5),
    ),
)


def _html(
    verdict: Verdict, comparison: Comparison | None, facts: RunFacts = FACTS
) -> str:
    return "".join(html_parts(verdict, comparison, facts=facts, thumbnails=None))


def _embedded(html: str, id_: str) -> Any:
    found = re.search(
        rf'<script type="application/json" id="{id_}">(.*?)</script>', html, re.DOTALL
    )
    assert found is not None
    return json.loads(found[1])


def test_the_summary_inside_is_summary_json(
    verdict: Verdict, comparison: Comparison
) -> None:
    assert _embedded(_html(verdict, comparison), "summary") == as_json(verdict.summary)


def test_its_sections_stand_in_the_order_of_their_weight(
    verdict: Verdict, comparison: Comparison
) -> None:
    html = _html(verdict, comparison)

    sections = re.findall(r'<section id="(\w+)"', html)

    assert sections == [
        "verdict",
        "changes",
        "ranks",
        "classes",
        "confusions",
        "calibration",
        "confidence",
        "latency",
        "gallery",
        "slices",
        "suspects",
        "method",
    ]


def test_it_asks_nothing_of_any_network(
    verdict: Verdict, comparison: Comparison
) -> None:
    html = _html(verdict, comparison)

    loads = r"""(?:src|href)\s*=\s*["'](?!#|data:,)|url\(|@import|\bfetch\(|XMLHttp"""
    assert re.findall(loads, html) == []
    assert re.findall(r"localStorage|sessionStorage|window\.open|alert\(", html) == []


def test_names_of_classes_and_files_are_text_whatever_they_hold() -> None:
    comparison = made_up_comparison(40)
    evil = replace(
        comparison,
        labels=Labels(comparison.labels.ids, (EVIL,) * 8),
        names=(EVIL, *comparison.names[1:]),
    )
    verdict = judge(
        evil, a=served("8"), b=served("16"), gates=(), data=DATA, notes=[EVIL]
    )

    html = _html(verdict, evil)

    assert "<img" not in html
    assert "onerror=alert" in html  # it is there, as text
    assert _embedded(html, "images")["name"][0] == printable(EVIL)


def test_json_in_a_script_cannot_end_it() -> None:
    text = json_in_script({"x": EVIL})

    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"x": EVIL}


def test_numbers_are_the_summarys(verdict: Verdict, comparison: Comparison) -> None:
    html = _html(verdict, comparison).replace("\u00a0", " ")

    top1 = verdict.summary.top1
    assert f"v16 breaks {top1.broken} images that v8 had right" in html
    assert say(verdict.summary.a.top1_accuracy, "percent") in html
    assert say(top1.negative_flip_rate.value, "percent") in html
    assert f"{top1.mcnemar_mid_p:.2g}" in html


@pytest.mark.parametrize(
    "key", sorted({place.path[0] for place in places()} - HEAD - {"a", "b", "top1"})
)
def test_a_key_that_is_missing_or_null_breaks_nothing(
    verdict: Verdict, document: dict[str, Any], comparison: Comparison, key: str
) -> None:
    without = {name: value for name, value in document.items() if name != key}
    for changed in (without, {**document, key: None}):
        shown = replace(verdict, summary=read_document(changed))
        assert "</html>" in _html(shown, comparison)


def test_what_cannot_be_compared_says_why_first_and_has_no_numbers() -> None:
    gates = (parse_gate("images<1"),)
    verdict = refuse(
        [EVIL, "why"], a=served("8"), b=served("16"), gates=gates, data=DATA
    )

    html = _html(verdict, None, facts=RunFacts())

    words = re.sub(r"<script.*?</script>|<style.*?</style>", "", html, flags=re.DOTALL)
    assert "NOT COMPARABLE" in words
    assert words.index("why") < words.index("There are no numbers")
    assert 'class="figure"' not in words
    assert 'id="gallery"' not in words
    assert 'id="images"' not in html


def test_without_labels_it_shows_what_exists_and_says_so() -> None:
    a, b = served("8"), served("16")
    unlabelled = align(
        [f"img_{n}.png" for n in range(40)], None, made_up_answers(40), a=a, b=b
    )
    data = DataFacts("photos", "d2", labelled=False)
    verdict = judge(unlabelled, a=a, b=b, gates=(), data=data)

    html = _html(verdict, unlabelled).replace("\u00a0", " ")

    assert "have no labels" in html
    rate = say(verdict.summary.disagreement_rate, "percent")
    assert f"on {rate} of the images" in html
    assert 'id="ranks"' not in html
    images = _embedded(html, "images")
    assert images["target"] == images["category"] == []


def test_it_is_written_whole(
    tmp_path: Path, verdict: Verdict, comparison: Comparison
) -> None:
    write_report(tmp_path, verdict, comparison, facts=FACTS, thumbnails=None)

    (file,) = tmp_path.iterdir()
    assert file.name == "report.html"
    assert file.read_text().endswith("</html>")
