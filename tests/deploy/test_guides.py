"""Guides of a team: their links, services, targets and the workflow file exist."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

import compare.config.command_line

ROOT = Path(__file__).parents[2]
GUIDES = [
    *(ROOT / name for name in ("SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(ROOT / "docs" / name for name in ("operations.md", "scale.md", "team.md")),
]
TEXTS = {path.name: path.read_text() for path in GUIDES}


def _anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.name))
def test_its_links_lead_somewhere(guide: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", guide.read_text()):
        name, _, anchor = target.partition("#")
        page = (guide.parent / name).resolve() if name else guide
        assert page.exists(), target
        assert not anchor or anchor in _anchors(page), target


def test_services_and_profiles_of_its_commands_are_in_the_compose_file() -> None:
    file = ROOT / "deploy" / "compose" / "compose.yaml"
    services: dict[str, Any] = yaml.safe_load(file.read_text())["services"]
    text = "\n".join(TEXTS.values())
    command = r"^(?:docker compose -f deploy/compose/compose.yaml|\$compose) (.*)$"
    lines = re.findall(command, text, re.MULTILINE)

    assert len(lines) > 10
    for line in lines:
        words = shlex.split(line.partition(" < ")[0].partition(" > ")[0])
        named = [word for word in words if not word.startswith("-")]
        verb = next(w for w in named if w in ("up", "run", "exec", "stop", "build"))
        asked = named[named.index(verb) + 1 :]
        if verb in ("run", "exec"):
            asked = [word for word in asked if word in services][:1]
            assert asked, line
        for word in asked:
            assert word in services, line
        if "--profile" in words:
            profile = words[words.index("--profile") + 1]
            assert profile in services["training"]["profiles"]


def test_the_workflow_asks_compare_for_what_it_understands() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", TEXTS["team.md"], re.DOTALL)
    workflow = yaml.safe_load(text)
    (job,) = workflow["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    (words,) = re.findall(r"python -m compare (.*)", "\n".join(commands))
    words = words.replace("${candidate%/*}", "birds").replace("$candidate", "birds/v9")

    config = compare.config.command_line.parse_arguments(
        [w.replace("summary.md", "/tmp/summary.md") for w in shlex.split(words)]
    )

    assert config
    assert {"pull-requests": "write"}.items() <= workflow["permissions"].items()
    for name in re.findall(r"-r (\S+)", "\n".join(commands)):
        assert (ROOT / name).is_file()
