"""Brightness and colour, as the files show them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compare.collect.image_statistics import IMAGES, facts_of, keep_looks, look_at


def _files(folder: Path) -> dict[str, Path]:
    colours = {"black": (0, 0, 0), "white": (255, 255, 255), "red": (200, 0, 0)}
    files = {name: folder / f"{name}.png" for name in (*colours, "broken")}
    for name, colour in colours.items():
        Image.new("RGB", (9, 5), colour).save(files[name])
    files["broken"].write_bytes(b"no image")
    return files


def test_what_is_seen_is_kept_and_given_in_any_order(tmp_path: Path) -> None:
    files = _files(tmp_path)
    keep_looks(tmp_path, list(files), list(files.values()), {})
    for file in files.values():
        file.unlink()

    facts = facts_of(tmp_path, ["red", "broken", "white"])

    assert facts is not None
    luma = 0.299 * 200  # of ITU-R BT.601
    assert facts.brightness == pytest.approx([luma, np.nan, 255], nan_ok=True)
    assert facts.is_grey.tolist() == [False, False, True]


def test_a_grey_jpeg_that_was_stored_in_colour_is_grey(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    file = tmp_path / "x.jpg"
    Image.fromarray(noise).convert("RGB").save(file, quality=60)
    keep_looks(tmp_path, ["x"], [file], {})

    facts = facts_of(tmp_path, ["x"])

    assert facts is not None
    assert facts.is_grey.all()


@pytest.mark.parametrize("file", ["x.jpg", "x.webp", "x.png"])
def test_a_grey_picture_stored_in_colour_is_grey_and_a_red_dot_ends_that(
    file: str, tmp_path: Path
) -> None:
    rows, columns = np.mgrid[0:32, 0:32]
    grey = Image.fromarray(
        (127 + 120 * np.sin(rows / 9 + columns / 7)).astype(np.uint8)
    )
    dotted = grey.convert("RGB")
    dotted.paste((255, 0, 0), (10, 10, 12, 12))  # 4 of 1,024 pixels: a mean below 1
    files = {"grey": tmp_path / file, "dotted": tmp_path / f"dotted-{file}"}
    grey.convert("RGB").save(files["grey"], quality=50)
    dotted.save(files["dotted"], quality=50)
    keep_looks(tmp_path, list(files), list(files.values()), {})

    facts = facts_of(tmp_path, ["grey", "dotted"])

    assert facts is not None
    assert facts.is_grey.tolist() == [True, False]


def test_what_is_kept_of_other_images_is_of_no_use(tmp_path: Path) -> None:
    files = _files(tmp_path)
    assert facts_of(tmp_path, ["red"]) is None
    keep_looks(tmp_path, ["red"], [files["red"]], {})

    assert facts_of(tmp_path, ["red", "white"]) is None
    keep_looks(tmp_path, ["white"], [files["white"]], {})
    assert facts_of(tmp_path, ["white"]) is not None
    (tmp_path / IMAGES).write_bytes(b"cut off")
    assert facts_of(tmp_path, ["white"]) is None


def test_what_was_seen_already_is_not_looked_at_again(tmp_path: Path) -> None:
    files = _files(tmp_path)
    answers = iter([False, False, True])
    seen = look_at(list(files), list(files.values()), until=lambda: next(answers))
    for name in ("black", "white"):
        files[name].unlink()

    keep_looks(tmp_path, list(files), list(files.values()), seen)

    facts = facts_of(tmp_path, ["black", "white", "red"])
    assert facts is not None
    assert facts.brightness == pytest.approx([0, 255, 0.299 * 200])


def test_files_that_are_away_for_a_while_are_looked_at_when_they_are_back(
    tmp_path: Path,
) -> None:
    files = _files(tmp_path)
    names, paths = list(files), list(files.values())
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    keep_looks(undisturbed, names, paths, {})
    data = files["white"].read_bytes()
    files["white"].unlink()

    looks = keep_looks(tmp_path, names, paths, {})
    assert list(looks) == ["black", "red", "broken"]
    assert looks["broken"] is None
    assert facts_of(tmp_path, names) is None

    files["white"].write_bytes(data)
    assert list(keep_looks(tmp_path, names, paths, {})) == names
    kept = [folder / IMAGES for folder in (tmp_path, undisturbed)]
    assert kept[0].read_bytes() == kept[1].read_bytes()
