"""Folders of comparisons as large as one likes, with answers that are made up."""

import json
from pathlib import Path

import numpy as np

from classifier.labels import Labels
from compare.answers import AnswerStore, PairOfAnswers, open_folder
from compare.contract import ServedVersion, TopAnswer
from compare.files import RUN
from compare.record import Record, keep_record

CLASSES, BATCH = 200, 32


def write_comparison(folder: Path, images: int) -> None:
    """As a finished comparison leaves it, for `--from`; without pictures."""
    labels = Labels.from_ids([f"n{index:08}" for index in range(CLASSES)])
    a, b = (
        ServedVersion("made-up", number, labels, f"run-{number}", int(number), "d")
        for number in ("1", "2")
    )
    names = tuple(f"val_{image}.JPEG" for image in range(images))
    record = Record(
        a=a,
        b=b,
        data_name="made-up",
        data_digest="d",
        names=names,
        class_ids=tuple(labels.ids[image % CLASSES] for image in range(images)),
        available=images,
    )
    open_folder(folder, record.identity, fresh=False)
    keep_record(folder, record)
    rng = np.random.default_rng(0)
    with AnswerStore(folder) as store:
        for start in range(0, images, BATCH):
            batch = enumerate(names[start : start + BATCH], start)
            store.add(
                {
                    name: PairOfAnswers(_answer(rng, image), _answer(rng, image))
                    for image, name in batch
                }
            )
    facts = {"probe": {"images": 100, "differing": 0}}
    (folder / RUN).write_text(json.dumps(facts))


def _answer(rng: np.random.Generator, image: int) -> TopAnswer:
    """The truth, `image` modulo 200, is the first in a third of them."""
    indices = rng.choice(CLASSES, 5, replace=False)
    if rng.random() < 1 / 3:
        indices = (indices - indices[0] + image) % CLASSES
    probabilities = np.sort(rng.random(5) / 5)[::-1].round(7)
    return TopAnswer(tuple(indices.tolist()), tuple(probabilities.tolist()))
