"""Single requests to both versions, one after the other."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from classifier.datasets.dataset import Dataset
from compare.collect.answer_store import PairOfAnswers
from compare.collect.client import Service, ServiceUnavailable
from compare.collect.images import Images, labelled_images
from compare.collect.probes import count_differing, measure_latency, spread
from compare.collect.schema import Answer, NoAnswer, ServedVersion, TopAnswer
from tests.compare.conftest import made_up_answers, served
from tests.conftest import RunningService


def test_both_versions_are_timed_over_images_that_are_asked_in_a_circle(
    service: RunningService, digits: Dataset
) -> None:
    images = labelled_images(digits, 3)
    with contextlib.closing(Service(service.url, patience_seconds=5)) as client:
        a, b = client.version("v1"), client.version("v2")
        timed = measure_latency(client, images, a, b)
        expected = client.predict([("x", images.files[1].read_bytes())], [a, b])
    latency = timed.facts["latency"]

    assert set(timed.answers) == set(images.names)
    given = timed.answers[images.names[1]]
    assert given == expected[0]
    for side in ("a", "b"):
        assert 0 < latency[side]["p50_ms"] <= latency[side]["p95_ms"]
        assert 2 <= latency[side]["requests"] <= 200
    change = latency["median_difference_ms"]
    assert change["low"] <= change["high"]
    difference = latency["b"]["p50_ms"] - latency["a"]["p50_ms"]
    assert math.isclose(change["value"], difference, abs_tol=1e-9)


def test_a_service_that_has_gone_leaves_a_note_in_its_place(
    service: RunningService, digits: Dataset
) -> None:
    images = labelled_images(digits, 3)
    with contextlib.closing(Service(service.url, patience_seconds=5)) as client:
        a, b = client.version("v1"), client.version("v2")
    gone = Service("http://127.0.0.1:9", patience_seconds=0)

    measured = measure_latency(gone, images, a, b).facts

    assert measured["latency"] is None
    assert measured["latency_note"].startswith("not measured: http://127.0.0.1:9 gave")


def test_where_no_image_was_answered_nothing_is_timed(
    service: RunningService, digits: Dataset
) -> None:
    none = labelled_images(digits, 3).only(())
    with contextlib.closing(Service(service.url, patience_seconds=5)) as client:
        a = client.version("v1")

        measured = measure_latency(client, none, a, a).facts

    assert measured["latency"] is None


A, B = served("8"), served("16")


def _images(folder: Path, count: int) -> Images:
    names = tuple(f"img_{n}.png" for n in range(count))
    for name in names:
        (folder / name).write_bytes(name.encode())
    return Images(
        data_name="x",
        source="x",
        digest="d",
        available=count,
        names=names,
        files=tuple(folder / name for name in names),
        class_ids=None,
    )


class _Again:
    """Gives the kept answers again, but for the images that it has others of."""

    def __init__(
        self, kept: Mapping[str, PairOfAnswers], others: Mapping[str, PairOfAnswers]
    ) -> None:
        self._answers = {**kept, **others}
        self.asked: list[str] = []

    def __call__(
        self, batch: Sequence[tuple[str, bytes]], versions: Sequence[ServedVersion]
    ) -> list[tuple[Answer, ...]]:
        assert len(batch) <= 32
        self.asked += [data.decode() for _, data in batch]
        pairs = [self._answers[name] for name, _ in batch]
        return [pair[: len(versions)] for pair in pairs]


def test_a_hundred_images_from_all_over_the_data_are_asked_again(
    tmp_path: Path,
) -> None:
    kept = made_up_answers(250)
    again = _Again(kept, {})

    found = count_differing(
        again, _images(tmp_path, 250), kept, again={}, a=A, b=B, batch_size=32
    )

    assert found == (100, 0)
    assert again.asked[:3] == ["img_0.png", "img_2.png", "img_5.png"]
    assert again.asked[-1] == "img_247.png"


def test_of_few_images_all_are_asked_and_a_version_against_itself_once(
    tmp_path: Path,
) -> None:
    kept = {n: (a, a) for n, (a, _) in made_up_answers(3).items()}
    del kept["img_1.png"]  # it went unanswered, and is not asked again here

    found = count_differing(
        _Again(kept, {}), _images(tmp_path, 3), kept, again={}, a=A, b=A, batch_size=32
    )

    assert found == (2, 0)


def test_answers_that_were_given_again_already_are_not_asked_for(
    tmp_path: Path,
) -> None:
    kept = made_up_answers(4)
    other = kept["img_3.png"][::-1]
    given = {"img_1.png": kept["img_1.png"], "img_3.png": other}
    again = _Again(kept, {})

    found = count_differing(
        again, _images(tmp_path, 4), kept, again=given, a=A, b=B, batch_size=32
    )

    assert again.asked == ["img_0.png", "img_2.png"]
    assert found == (4, 1)


TOP = TopAnswer((1, 2, 3), (0.6, 0.2, 0.1))


@pytest.mark.parametrize(
    ("second", "differing"),
    [
        (TOP, 0),
        (replace(TOP, probabilities=(0.6004, 0.1996, 0.1)), 0),
        (replace(TOP, probabilities=(0.602, 0.198, 0.1)), 1),
        (replace(TOP, indices=(2, 1, 3)), 1),
        # of two classes that are equally likely, the other one made the list
        (replace(TOP, indices=(1, 2, 4)), 0),
        (replace(TOP, indices=(1, 3, 4)), 1),
        (NoAnswer("undecodable_image", "x"), 1),
    ],
)
def test_another_answer_is_one_that_the_last_digits_do_not_explain(
    second: Answer, differing: int, tmp_path: Path
) -> None:
    kept = {"img_0.png": (TOP, TOP)}
    again = _Again(kept, {"img_0.png": (TOP, second)})

    found = count_differing(
        again, _images(tmp_path, 1), kept, again={}, a=A, b=B, batch_size=32
    )

    assert found == (1, differing)


def test_what_fails_the_second_time_is_no_other_answer(tmp_path: Path) -> None:
    kept = {"img_0.png": (TOP, TOP)}
    late = (TOP, NoAnswer("timeout", "too late"))

    with pytest.raises(ServiceUnavailable, match=r"img_0\.png .* too late; try again"):
        count_differing(
            _Again(kept, {"img_0.png": late}),
            _images(tmp_path, 1),
            kept,
            again={},
            a=A,
            b=B,
            batch_size=32,
        )


def test_items_are_spread_from_the_first_on_and_the_same_each_time() -> None:
    assert spread(range(5), 10) == [0, 1, 2, 3, 4]
    assert spread(range(10), 4) == [0, 2, 5, 7]
