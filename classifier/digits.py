"""scikit-learn's handwritten digits, written out once as a folder of class folders."""

from pathlib import Path

import numpy as np
from PIL import Image

from classifier.staging import build_once

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def write_digits(cache: Path) -> Path:
    """The folder; 1,797 grey images of 8 x 8, half of each class in train/ and in val/.

    The first half of each class trains: the digits come in the order of their writers,
    so the halves share few of them. Files rather than arrays, because everything
    downstream (digest, curl, compare) takes an image as the bytes of a file.
    """
    return build_once(cache / "digits", _write)


def _write(folder: Path) -> None:
    from sklearn.datasets import load_digits  # 1 s to import, and only this needs it

    digits = load_digits()
    for class_index, name in enumerate(NAMES):
        members = np.flatnonzero(digits.target == class_index)
        half = (len(members) + 1) // 2
        for part, chosen in (("train", members[:half]), ("val", members[half:])):
            class_folder = folder / part / str(class_index)
            class_folder.mkdir(parents=True)
            for position in chosen:
                grey = np.rint(digits.images[position] * (255 / 16)).astype(np.uint8)
                # Stored, not deflated: the same bytes, so the same digest, everywhere.
                Image.fromarray(grey).save(
                    class_folder / f"digit_{position:04}.png", compress_level=0
                )
        with (folder / "words.txt").open("a") as words:
            words.write(f"{class_index}\t{name}\n")
