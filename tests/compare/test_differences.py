"""What differs between the runs of two versions, in the reports of their comparison."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from classifier.store.provenance import Difference
from compare.__main__ import main
from compare.report.html.page import html_parts
from compare.report.markdown import MOST_DIFFERENCES, markdown
from compare.results.comparison import Comparison
from compare.results.folder import ANSWERED, RunFacts, read_run, run_facts
from compare.results.verdict import Verdict
from tests.conftest import Store

TITLE = "What differs between the two versions besides their answers"
EPOCH = {"section": "version", "name": "epoch", "a": "1", "b": "2"}


@pytest.fixture
def folder(compared_store: Store, tmp_path: Path) -> Path:
    """A copy of a comparison's folder, made where there was a store."""
    made = compared_store.folder.parent / "compare-v1-v2"
    return Path(shutil.copytree(made, tmp_path / "out"))


def test_the_reports_say_what_differs_between_the_versions_runs(folder: Path) -> None:
    assert read_run(folder)["differences"] == [EPOCH]
    for name in ("report.html", "summary.md"):
        text = (folder / name).read_text()
        assert TITLE in text
        assert "The versions are of one run." in text


def test_they_say_it_again_where_there_is_no_store(folder: Path) -> None:
    (folder / "report.html").unlink()

    assert main(["--from", str(folder)]) == 0

    assert TITLE in (folder / "report.html").read_text()
    assert "version: epoch | 1 | 2 |" in (folder / "summary.md").read_text()


def test_it_changes_no_file_of_answers(folder: Path, compared: Path) -> None:
    """The other comparison was made without a store."""
    assert read_run(compared)["differences"] is None
    assert TITLE not in (compared / "report.html").read_text()
    assert TITLE not in (compared / "summary.md").read_text()

    for name in ANSWERED:
        assert (folder / name).read_bytes() == (compared / name).read_bytes(), name


def test_a_comparison_that_is_continued_without_a_store_keeps_it(
    folder: Path, compared_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", compared_store.uri)
    (folder / "answers.jsonl").touch()
    command = ["--a", "v1", "--b", "v2", "--limit", "200", "--out", str(folder)]

    assert main([*command, "--no-mlflow"]) == 0

    assert read_run(folder)["differences"] == [EPOCH]


def test_a_run_without_the_key_has_no_section(folder: Path) -> None:
    facts = read_run(folder)
    del facts["differences"]
    (folder / "run.json").write_text(json.dumps(facts))

    assert main(["--from", str(folder)]) == 0

    assert TITLE not in (folder / "report.html").read_text()


def test_facts_of_others_are_harmless_in_both_reports(
    verdict: Verdict, comparison: Comparison
) -> None:
    evil = "<script>alert(1)</script> @all \x1b[31m"
    found = Difference(section=evil, name=evil, a=evil, b=None)
    facts = RunFacts(differences=(found,))

    page = "".join(html_parts(verdict, comparison, facts=facts, thumbnails=None))
    text = markdown(verdict.summary, facts)

    for said in (page, text):
        assert "<script>alert" not in said
        assert "\x1b" not in said
        assert "not recorded" in said
    assert "@all" not in text


def test_many_differences_are_cut_short_in_a_comment_alone(verdict: Verdict) -> None:
    one = Difference(section="settings", name="lr", a="0.1", b="0.2")
    many = tuple(replace(one, name=f"setting_{n}") for n in range(50))

    text = markdown(verdict.summary, RunFacts(differences=many))

    assert text.count("settings: setting") == MOST_DIFFERENCES
    assert "report.html has 20 more." in text


def test_equal_versions_are_said_to_be_so(verdict: Verdict) -> None:
    text = markdown(verdict.summary, run_facts({"differences": []}))

    assert "Nothing that was recorded of the two versions differs." in text
