"""As many requests as a server answers: wrk on a number of connections that wait."""

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.request_bodies import Bodies

SCRIPT = Path(__file__).parent / "post.lua"
TIMEOUT_SECONDS = 30


class NoWrk(RuntimeError):
    """The load generator is missing, or did not end as it should."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What came of a load."""

    answered: int
    """Requests with a status of 2xx or 3xx."""

    seconds: float
    errors: int
    """Answers of other statuses, broken connections and answers that never came."""

    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Answered requests a second."""
        return self.answered / self.seconds


def run_wrk(url: str, bodies: Bodies, *, connections: int, seconds: float) -> Load:
    """One thread of wrk posts the bodies in turn; NoWrk."""
    if shutil.which("wrk") is None:
        raise NoWrk(
            "wrk is not installed; it is a package of Debian's: apt install wrk"
        )
    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(bodies.contents):
            (Path(folder) / str(number)).write_bytes(content)
        # wrk takes whole seconds.
        duration = f"{max(1, round(seconds))}s"
        command = ["wrk", "-t1", f"-c{connections}", f"-d{duration}"]
        command += ["--timeout", f"{TIMEOUT_SECONDS}s", "-s", str(SCRIPT), url, "--"]
        command += [folder, str(len(bodies.contents)), bodies.content_type]
        done = subprocess.run(command, capture_output=True, text=True)
    return parse_wrk(done.stdout + done.stderr)


def parse_wrk(output: str) -> Load:
    """Of post.lua's line of JSON; NoWrk where there is none."""
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise NoWrk(f"wrk printed no result, but {output.strip()[-500:]!r}")
    values: dict[str, Any] = json.loads(lines[-1])
    return Load(
        answered=values["requests"] - values["status_errors"],
        seconds=values["microseconds"] / 1e6,
        errors=values["status_errors"] + values["socket_errors"],
        p50_ms=values["p50_us"] / 1000,
        p99_ms=values["p99_us"] / 1000,
    )
