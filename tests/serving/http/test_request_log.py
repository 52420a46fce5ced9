"""The log: many lines at a time, warnings at once, and none lost at the end."""

import logging
import os
import subprocess
import sys
import textwrap
from contextlib import suppress

import orjson
import pytest

from serving.http.request_log import JsonFormatter, LogWriter


def _record(level: int, message: str) -> logging.LogRecord:
    return logging.LogRecord("x", level, "", 0, message, None, None)


def test_a_warning_is_written_at_once_after_what_came_before_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    writer = LogWriter()

    for number in range(3):
        writer.handle(_record(logging.INFO, f"line {number}"))
    writer.handle(_record(logging.WARNING, "careful"))

    assert capsys.readouterr().err == "line 0\nline 1\nline 2\ncareful\n"


def test_a_line_of_json_has_nothing_for_a_terminal_to_obey(
    capsys: pytest.CaptureFixture[str],
) -> None:
    writer = LogWriter()
    writer.setFormatter(JsonFormatter("{levelname}{message}", style="{"))
    reason = "label \x1b]0;x\x07\x9b31m\u202e\udcff\nis odd"

    writer.handle(_record(logging.ERROR, f"failed reason={reason}"))

    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    message = orjson.loads(line)["message"]
    escaped = r"label \x1b]0;x\x07\x9b31m\u202e\udcff"
    assert message == f"failed reason={escaped}\nis odd"


def test_all_is_written_at_the_end_also_in_a_child() -> None:
    program = """
        import logging, os
        from serving.http.request_log import LogWriter

        logging.basicConfig(level=logging.INFO, handlers=[LogWriter()])
        logging.info("before the fork")
        child = os.fork()
        logging.info("child" if child == 0 else "parent")
        logging.shutdown()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )

    lines = [f"INFO:root:{line}" for line in ("before the fork", "child", "parent")]
    assert sorted(done.stderr.splitlines()) == lines


def test_a_line_that_cannot_be_written_takes_no_other_with_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    writer = LogWriter()
    broken = logging.LogRecord("x", logging.INFO, "", 0, "%d", ("no number",), None)

    writer.handle(broken)
    writer.handle(_record(logging.WARNING, "fine"))

    assert capsys.readouterr().err.endswith("fine\n")


def test_a_disk_that_is_full_does_not_end_who_logs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LogWriter()
    with open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", full)
        writer.handle(_record(logging.INFO, "lost"))
        writer.handle(_record(logging.WARNING, "lost as well"))
        with suppress(OSError):
            full.close()

    writer.handle(_record(logging.WARNING, "fine"))

    assert capsys.readouterr().err == "fine\n"
