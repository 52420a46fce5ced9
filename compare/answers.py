"""The answers of two versions, kept on disk as they come."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from compare.contract import Answer, NoAnswer, TopAnswer

IDENTITY = "identity.json"
ANSWERS = "answers.jsonl"


class ForeignFolder(ValueError):
    """The folder holds something else."""


@dataclass(frozen=True)
class Identity:
    """What kept answers are about; the service's address is no part of it."""

    model: str
    a_version: str
    a_run_id: str | None
    b_version: str
    b_run_id: str | None
    dataset: str
    dataset_digest: str


@dataclass(frozen=True)
class PairOfAnswers:
    """To one image."""

    a: Answer
    b: Answer


class AnswerStore:
    """Appends one line an image, and has read those of earlier runs.

    A line that a kill cut off is dropped when the folder is opened again.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ANSWERS
        self.kept: dict[str, PairOfAnswers] = {}
        for name, pair in _read_lines(self._path):
            self.kept[name] = pair
        self._file: TextIO = self._rewritten()

    def __enter__(self) -> "AnswerStore":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, answers: Mapping[str, PairOfAnswers]) -> None:
        """Those that are already kept stay as they are."""
        new = {name: pair for name, pair in answers.items() if name not in self.kept}
        self._file.write("".join(_line(name, pair) for name, pair in new.items()))
        self._file.flush()
        self.kept.update(new)

    def _rewritten(self) -> TextIO:
        whole = self._path.with_suffix(".partial")
        whole.write_text("".join(_line(name, pair) for name, pair in self.kept.items()))
        whole.replace(self._path)
        return self._path.open("a")


def open_folder(folder: Path, identity: Identity, *, fresh: bool) -> None:
    """Makes the folder, or finds that it is about the same; ForeignFolder else."""
    if folder.exists() and not folder.is_dir():
        raise ForeignFolder(f"{folder} is a file; name another folder with --out")
    if fresh:
        for name in (IDENTITY, ANSWERS):
            (folder / name).unlink(missing_ok=True)
    elif folder.exists() and any(folder.iterdir()):
        _check_same(folder, identity)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{IDENTITY}.partial"
    partial.write_text(json.dumps(asdict(identity), indent=1) + "\n")
    partial.replace(folder / IDENTITY)


def _check_same(folder: Path, identity: Identity) -> None:
    try:
        found = json.loads((folder / IDENTITY).read_text())
    except (OSError, ValueError) as error:
        raise ForeignFolder(
            f"{folder} holds something that is no comparison; name another folder with "
            "--out, or throw it away with --fresh"
        ) from error
    for key, value in asdict(identity).items():
        if found.get(key) != value:
            raise ForeignFolder(
                f"{folder} holds a comparison with another {key.replace('_', ' ')}: "
                f"{found.get(key)!r}, asked was {value!r}; name another folder with "
                "--out, or throw it away with --fresh"
            )


def read_answers(folder: Path) -> Mapping[str, PairOfAnswers]:
    """Those that are kept; the folder stays as it is."""
    return dict(_read_lines(folder / ANSWERS))


def _read_lines(path: Path) -> Iterator[tuple[str, PairOfAnswers]]:
    if not path.is_file():
        return
    for line in path.read_text().splitlines():
        try:
            entry = json.loads(line)
            yield entry["image"], PairOfAnswers(_parse(entry["a"]), _parse(entry["b"]))
        except (ValueError, KeyError, TypeError):
            return  # cut off by a kill: it and what might follow are asked again


def _line(name: str, pair: PairOfAnswers) -> str:
    entry = {"image": name, "a": asdict(pair.a), "b": asdict(pair.b)}
    return json.dumps(entry, separators=(",", ":")) + "\n"


def _parse(entry: Mapping[str, Any]) -> Answer:
    if "code" in entry:
        return NoAnswer(entry["code"], entry["message"])
    return TopAnswer(tuple(entry["indices"]), tuple(entry["probabilities"]))
