"""report.html: one file without network access, also inside a sandboxed frame."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from classifier.console.text import page_text, printable_json
from classifier.storage import atomic_write
from classifier.store.provenance import by_section
from compare.report.html import charts, tables
from compare.report.html.gallery import Thumbnails, make_gallery
from compare.results import wording
from compare.results.comparison import Comparison
from compare.results.document import write_document
from compare.results.folder import HTML, RunFacts
from compare.results.summary import five_can_miss
from compare.results.verdict import Verdict

STYLES = ("styles/report.css", "styles/gallery.css")
GALLERY_SCRIPTS = (
    "scripts/images.js",
    "scripts/pictures.js",
    "scripts/filters.js",
    "scripts/cards.js",
    "scripts/enlarged.js",
    "scripts/start.js",
)
PAGE_SCRIPT = "scripts/page.js"


def write_report(
    folder: Path,
    verdict: Verdict,
    comparison: Comparison | None,
    *,
    facts: RunFacts,
    thumbnails: Thumbnails | None,
) -> None:
    parts = html_parts(verdict, comparison, facts=facts, thumbnails=thumbnails)
    with (
        atomic_write(folder / HTML) as partial,
        partial.open("w", encoding="utf-8") as file,
    ):
        file.writelines(parts)  # one text would hold 9 MB three times


def html_parts(
    verdict: Verdict,
    comparison: Comparison | None,
    *,
    facts: RunFacts,
    thumbnails: Thumbnails | None,
) -> Iterator[str]:
    """The page in parts, from start to end; `comparison` is None without answers."""
    summary = verdict.summary
    labelled = summary.data.labelled
    if summary.verdict == "not_comparable":
        comparison = None  # there are no numbers to show
    gallery = None
    if comparison is not None and comparison.names:
        gallery = make_gallery(comparison, thumbnails)
    scripts = (PAGE_SCRIPT, *(GALLERY_SCRIPTS if gallery else ()))
    template = environment().get_template("report.html.j2")
    return template.generate(
        summary=summary,
        facts=facts,
        labelled=labelled,
        compared=comparison is not None,
        labels=comparison.labels if comparison else None,
        words=wording.verdict_in_words(summary),
        a=summary.short_names[0],
        b=summary.short_names[1],
        notes=wording.notes_of(summary),
        date=_date(facts),
        definitions=tables.definitions(summary),
        figures=tables.figures(summary) if comparison else [],
        classes=tables.class_rows(verdict.classes, comparison.labels)
        if comparison and labelled
        else [],
        differences=by_section(facts.differences or ()),
        gallery=gallery,
        summary_json=json_in_script(write_document(summary)),
        gallery_json=json_in_script(gallery.data) if gallery else "",
        style=_inlined(STYLES),
        script=_inlined(scripts),
    )


def json_in_script(document: object) -> Markup:
    """JSON for a script element: no text in it can end the element or begin another.

    Control characters are escaped for readers of the file.
    """
    text = json.dumps(
        document, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(printable_json(text))


def _date(facts: RunFacts) -> str:
    if facts.started_unix_seconds is None:
        return ""
    return datetime.fromtimestamp(facts.started_unix_seconds, UTC).strftime(
        "%d %B %Y, %H:%M UTC"
    )


def environment() -> Environment:
    """Everything is escaped: names of classes and files are text of other people."""
    pages = Environment(
        loader=PackageLoader("compare.report.html"),
        autoescape=True,
        finalize=page_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(
        say=lambda value, kind: _unbroken(wording.say(value, kind)),
        estimate=lambda value, kind: _unbroken(wording.say_value(value, kind)),
        interval=lambda value, kind: _unbroken(wording.say_interval(value, kind)),
        unbroken=_unbroken,
        tenths="{:.1f}".format,
        breakable=lambda path: escape(path).replace("_", Markup("_<wbr>")),
    )
    pages.globals.update(
        views=tables,
        places=wording.PLACES,
        five_can_miss=five_can_miss,
        say_runs=wording.say_runs,
        charts=charts,
    )
    return pages


def _unbroken(text: str) -> str:
    """`text` without line breaks between a number and its unit or sign."""
    for loose in (" %", " ms", "< "):
        text = text.replace(loose, loose.replace(" ", "\N{NO-BREAK SPACE}"))
    return text


def _inlined(names: Sequence[str]) -> Markup:
    folder = resources.files("compare.report.html") / "templates"
    return Markup("\n".join((folder / name).read_text("utf-8") for name in names))
