"""Answers of two versions on the disk, one line an image, appended as they come."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from classifier.storage import atomic_write, writing
from compare.collect.schema import Answer, NoAnswer, TopAnswer

ANSWERS = "answers.jsonl"


PairOfAnswers = tuple[Answer, Answer]
"""Both versions' answers to one image, a's first."""


def is_final(pair: PairOfAnswers) -> bool:
    """Whether the same request would bring the same answers again."""
    return all(isinstance(x, TopAnswer) or x.is_final for x in pair)


class AnswerStore:
    """The answers in a folder; new ones are appended.

    A line that is no answer is dropped when the folder is opened, such as the last one
    after a kill; its image is asked again. No write waits for the disk (fsync): a power
    cut takes a tail, whose images are asked again too.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / ANSWERS
        self.kept: dict[str, PairOfAnswers] = {}
        self.failed: dict[str, PairOfAnswers] = {}
        """Failures of this run, which another run asks again; never written."""

        is_whole = True
        for line in _read_lines(self._path):
            if line is None:
                is_whole = False
            else:
                self.kept.setdefault(*line)
        self._file: TextIO = self._path.open("a") if is_whole else self._rewritten()

    def __enter__(self) -> "AnswerStore":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # On a full disk the last lines cannot be written now either.
        with suppress(OSError):
            self._file.close()

    def add(self, answers: Mapping[str, PairOfAnswers]) -> None:
        """Keep final answers; those that are kept already stay as they are."""
        with writing(f"write {self._path}", is_users_path=False):
            for name, pair in answers.items():
                if name in self.kept:
                    continue
                if is_final(pair):
                    self.kept[name] = pair
                    self._file.write(_line(name, pair))
                else:
                    self.failed[name] = pair
            self._file.flush()

    def _rewritten(self) -> TextIO:
        with atomic_write(self._path) as partial, partial.open("w") as file:
            file.writelines(_line(name, pair) for name, pair in self.kept.items())
        return self._path.open("a")


def read_answers(folder: Path) -> Mapping[str, PairOfAnswers]:
    """The kept answers by image; the folder stays as it is."""
    lines = _read_lines(folder / ANSWERS)
    return dict(line for line in lines if line is not None)


def _read_lines(path: Path) -> Iterator[tuple[str, PairOfAnswers] | None]:
    """Image and answers of each line; None for a line that is no answer or cut off."""
    if not path.is_file():
        return
    with path.open("rb") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
                pair = (_parse(entry["a"]), _parse(entry["b"]))
                yield str(entry["image"]), pair
            except (ValueError, KeyError, TypeError):
                yield None
            if not line.endswith(b"\n"):
                yield None


def _line(name: str, pair: PairOfAnswers) -> str:
    a, b = pair
    entry = {"image": name, "a": _to_json(a), "b": _to_json(b)}
    return json.dumps(entry, separators=(",", ":")) + "\n"


def _to_json(answer: Answer) -> dict[str, Any]:
    if isinstance(answer, NoAnswer):
        return {"code": answer.code, "message": answer.message}
    return {"indices": answer.indices, "probabilities": answer.probabilities}


def _parse(entry: Mapping[str, Any]) -> Answer:
    """Raises KeyError, TypeError or ValueError if `entry` is no answer."""
    if "code" in entry:
        return NoAnswer(str(entry["code"]), str(entry["message"]))
    indices = tuple(map(int, entry["indices"]))
    probabilities = tuple(map(float, entry["probabilities"]))
    if not indices or len(indices) != len(probabilities):
        raise ValueError("not as many classes as probabilities")
    return TopAnswer(indices, probabilities)
