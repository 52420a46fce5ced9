"""Images decoded once: what is kept, when it is built again, what is broken."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from classifier.bundle.labels import Labels
from classifier.bundle.preprocessing import Preprocessing
from classifier.datasets.dataset import BadDataset, Part, part_digest
from tests.conftest import encoded, picture
from training.data.decoded_images import IMAGES, INDEX, DecodedPart, decode_part

PREPROCESSING = Preprocessing(16, 16)

Decode = Callable[..., DecodedPart]


@pytest.fixture
def part(tmp_path: Path) -> Part:
    names = tuple(f"{number}.png" for number in range(5))
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(encoded(picture(seed=number), "PNG"))
    return Part(names, ("a", "b", "a", "b", "a"), tuple(tmp_path / n for n in names))


@pytest.fixture
def decode(tmp_path: Path) -> Decode:
    def decode_it(part: Part, **how: Any) -> DecodedPart:
        how = {"skip_broken": False, "max_megapixels": 100, **how}
        return decode_part(
            part,
            name="val",
            labels=Labels.from_ids(["a", "b"]),
            preprocessing=PREPROCESSING,
            cache=tmp_path / "cache",
            **how,
        )

    return decode_it


def test_images_targets_and_digest_are_those_of_the_files(
    part: Part, decode: Decode
) -> None:
    decoded = decode(part)

    for image, file in zip(decoded.images, part.files, strict=True):
        np.testing.assert_array_equal(image, PREPROCESSING.image(file.read_bytes()))
    assert decoded.targets.tolist() == [0, 1, 0, 1, 0]
    assert decoded.digest == part_digest(part)


def test_a_second_run_decodes_nothing(part: Part, decode: Decode) -> None:
    first = decode(part)
    for file in part.files:
        # the same size and times, other bytes: a second decoding would notice
        status = file.stat()
        file.write_bytes(b"x" * status.st_size)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))

    again = decode(part)

    np.testing.assert_array_equal(again.images, first.images)


def test_a_changed_file_is_decoded_again(part: Part, decode: Decode) -> None:
    before = decode(part)
    part.files[0].write_bytes(encoded(picture(seed=9), "PNG"))

    after = decode(part)

    assert (before.images[0] != after.images[0]).any()
    assert before.digest != after.digest


def test_images_that_do_not_decode_are_named_and_can_be_skipped(
    part: Part, decode: Decode
) -> None:
    part.files[1].write_bytes(b"no image")

    with pytest.raises(BadDataset, match=r"1 of 5 images do not decode: .*1\.png"):
        decode(part)

    skipped = decode(part, skip_broken=True)
    assert skipped.names == ("0.png", "2.png", "3.png", "4.png")
    assert skipped.targets.tolist() == [0, 0, 1, 0]
    np.testing.assert_array_equal(
        skipped.images[1], PREPROCESSING.image(part.files[2].read_bytes())
    )
    assert skipped.digest == part_digest(part)


def test_links_that_lead_nowhere_are_broken_images(
    part: Part, decode: Decode, tmp_path: Path
) -> None:
    whole = decode(part)
    file = part.files[1].rename(tmp_path / "moved.png")
    part.files[1].symlink_to(tmp_path / "gone.png")

    with pytest.raises(
        BadDataset,
        match=r"1 of 5 images do not decode: .*1\.png \(a link to '.*gone\.png'",
    ):
        decode(part)
    skipped = decode(part, skip_broken=True)
    assert skipped.names == ("0.png", "2.png", "3.png", "4.png")
    assert skipped.digest == part_digest(part) != whole.digest

    file.rename(tmp_path / "gone.png")
    assert decode(part).digest == whole.digest


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_nobody_may_read_is_broken_until_it_may_be(
    part: Part, decode: Decode
) -> None:
    part.files[1].chmod(0)

    with pytest.raises(BadDataset, match=r"1\.png \(it cannot be read: Permission"):
        decode(part)
    part.files[1].chmod(0o644)
    assert len(decode(part)) == 5


def test_the_limit_of_pixels_is_part_of_what_is_kept(
    part: Part, decode: Decode
) -> None:
    """An image that was too large decodes once it may be."""
    part.files[1].write_bytes(encoded(Image.new("L", (1100, 1000)), "PNG"))

    with pytest.raises(BadDataset, match=r"1\.1 megapixels, and the limit is 1 "):
        decode(part, max_megapixels=1)

    assert len(decode(part, max_megapixels=2)) == 5


def test_all_images_broken_is_an_error_even_when_skipping(
    part: Part, decode: Decode
) -> None:
    for file in part.files:
        file.write_bytes(b"no image")

    with pytest.raises(BadDataset, match="none of the 5"):
        decode(part, skip_broken=True)


def _flip_a_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _without(file: Path, key: str) -> None:
    index = json.loads(file.read_text())
    del index[key]
    file.write_text(json.dumps(index))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a byte of images": lambda folder: _flip_a_byte(folder / IMAGES),
    "a byte of index": lambda folder: _flip_a_byte(folder / INDEX),
    "cut images": lambda folder: os.truncate(folder / IMAGES, 1000),
    "empty images": lambda folder: os.truncate(folder / IMAGES, 0),
    "no images": lambda folder: (folder / IMAGES).unlink(),
    "cut index": lambda folder: (folder / INDEX).write_text('{"digest": '),
    "other index": lambda folder: (folder / INDEX).write_text("[]"),
    "no index": lambda folder: (folder / INDEX).unlink(),
    "no checksum": lambda folder: _without(folder / INDEX, "images_crc32"),
    "no checksum of index": lambda folder: _without(folder / INDEX, "crc32"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_told_and_built_again(
    part: Part,
    decode: Decode,
    tmp_path: Path,
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = decode(part)
    expected = np.array(whole.images)
    (folder,) = (tmp_path / "cache" / "decoded").glob("[!.]*")
    kept = shutil.copytree(folder, tmp_path / "kept")
    DAMAGES[damage](folder)

    again = decode(part)

    assert f"damaged folder={folder} is built again" in caplog.text
    np.testing.assert_array_equal(again.images, expected)
    assert again.digest == whole.digest
    for name in (IMAGES, INDEX):
        assert (folder / name).read_bytes() == (kept / name).read_bytes()


def test_a_whole_cache_is_not_built_again(
    part: Part, decode: Decode, caplog: pytest.LogCaptureFixture
) -> None:
    decode(part)

    decode(part)

    assert not caplog.text


def test_an_interrupted_build_is_never_read(
    part: Part, decode: Decode, tmp_path: Path
) -> None:
    expected = np.array(decode(part).images)
    (folder,) = (tmp_path / "cache" / "decoded").glob("[!.]*")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.move(folder, partial)
    (partial / "images.npy").write_bytes(b"half")

    np.testing.assert_array_equal(decode(part).images, expected)
    assert not partial.exists()
