"""Kept answers: continued, and cut off by a kill."""

from pathlib import Path

import pytest

from compare.collect.answer_store import (
    ANSWERS,
    AnswerStore,
    read_answers,
)
from compare.collect.schema import NoAnswer
from tests.compare.conftest import made_up_answers


def test_answers_are_read_back_to_the_last_digit(tmp_path: Path) -> None:
    answers = made_up_answers(20)
    broken = NoAnswer("undecodable_image", "why")
    answers["broken.png"] = (answers["img_0.png"][0], broken)
    with AnswerStore(tmp_path) as store:
        store.add(answers)

    with AnswerStore(tmp_path) as store:
        assert store.kept == answers


def test_what_may_succeed_another_time_is_known_but_not_kept(tmp_path: Path) -> None:
    answers = made_up_answers(2)
    late = (answers["img_1.png"][0], NoAnswer("timeout", "late"))
    with AnswerStore(tmp_path) as store:
        store.add({**answers, "img_1.png": late})
        assert list(store.kept) == ["img_0.png"]
        assert store.failed == {"img_1.png": late}

    with AnswerStore(tmp_path) as store:
        assert list(store.kept) == ["img_0.png"]
        assert not store.failed


@pytest.mark.parametrize("cut", [1, 10, 200])
def test_a_line_that_a_kill_cut_off_is_dropped(tmp_path: Path, cut: int) -> None:
    answers = made_up_answers(3)
    with AnswerStore(tmp_path) as store:
        store.add(answers)
    data = (tmp_path / ANSWERS).read_bytes()
    (tmp_path / ANSWERS).write_bytes(data[:-cut])

    with AnswerStore(tmp_path) as store:
        assert len(store.kept) == (3 if cut == 1 else 2)
        store.add(answers)

    with AnswerStore(tmp_path) as store:
        assert store.kept == answers
    assert (tmp_path / ANSWERS).read_bytes() == data


@pytest.mark.parametrize(
    "garbage",
    [
        b"\n",
        b"garbage\n",
        b"\x00" * 512 + b"\n",
        b"\xff\xfe\n",
        b"[]\n",
        b'{"image": "x", "a": {"indices": [1], "probabilities": []}, "b": 1}\n',
        b'{"image": "x", "a": {"indices": ["no"], "probabilities": [1]}}\n',
        b'{"image": "img_0.png"}\n',
    ],
)
@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_line_that_is_no_answer_takes_no_other_with_it(
    tmp_path: Path, garbage: bytes, place: int
) -> None:
    answers = made_up_answers(3)
    with AnswerStore(tmp_path) as store:
        store.add(answers)
    good = (tmp_path / ANSWERS).read_bytes()
    lines = good.splitlines(keepends=True)
    lines.insert(place, garbage)
    (tmp_path / ANSWERS).write_bytes(b"".join(lines))

    assert read_answers(tmp_path) == answers
    with AnswerStore(tmp_path) as store:
        assert store.kept == answers

    assert (tmp_path / ANSWERS).read_bytes() == good


def test_whole_answers_are_not_written_again(tmp_path: Path) -> None:
    with AnswerStore(tmp_path) as store:
        store.add(made_up_answers(3))
    before = (tmp_path / ANSWERS).stat()

    with AnswerStore(tmp_path) as store:
        store.add(made_up_answers(3))

    after = (tmp_path / ANSWERS).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_an_answer_that_is_kept_stays_as_it_is(tmp_path: Path) -> None:
    first, second = made_up_answers(2, seed=1), made_up_answers(2, seed=2)
    with AnswerStore(tmp_path) as store:
        store.add(first)
        store.add(second)

        assert store.kept == first
