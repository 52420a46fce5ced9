"""The gallery's columns say what the comparison says."""

import base64
import json
from pathlib import Path

import numpy as np
from PIL import Image

from compare.comparison import Comparison
from compare.gallery import PARTS, make_gallery
from compare.showing_order import showing_order
from compare.thumbnails import Thumbnails, make_thumbnails
from tests.compare.conftest import made_up_comparison


def _thumbnails(folder: Path, names: list[str]) -> Thumbnails:
    for name in names:
        Image.new("RGB", (64, 64), "green").save(folder / name)
    return make_thumbnails(names, [folder / name for name in names])


def test_columns_hold_both_lists_of_every_image(comparison: Comparison) -> None:
    data = json.loads(json.dumps(make_gallery(comparison, None).data))

    count = len(comparison.names)
    assert data["name"] == list(comparison.names)
    assert data["target"] == comparison.targets.tolist()
    for side, top in (("a", comparison.a), ("b", comparison.b)):
        indices = np.array(data[f"{side}_index"]).reshape(count, 5)
        parts = np.array(data[f"{side}_parts"]).reshape(count, 5)
        assert (indices == top.indices).all()
        # They are rounded to whole parts.
        np.testing.assert_allclose(parts / PARTS, top.probabilities, atol=0.5 / PARTS)
    names = [data["categories"][code] for code in data["category"]]
    assert names == comparison.categories()


def test_of_many_images_the_most_telling_stay(comparison: Comparison) -> None:
    gallery = make_gallery(comparison, None, most=30)

    kept = {comparison.names[row] for row in showing_order(comparison)[:30]}
    assert set(gallery.data["name"]) == kept
    assert gallery.data["left_out"] == len(comparison.names) - 30


def test_images_know_their_tiles_in_the_sheets(tmp_path: Path) -> None:
    comparison = made_up_comparison(300)
    pictured = [comparison.names[place] for place in range(299, 30, -1)]

    gallery = make_gallery(comparison, _thumbnails(tmp_path, pictured))

    assert len(gallery.sheets) == 2
    assert base64.b64decode(gallery.sheets[0]).startswith(b"\xff\xd8\xff")
    tile_of = dict(zip(gallery.data["name"], gallery.data["tile_of"], strict=True))
    assert [tile_of[name] for name in pictured] == list(range(len(pictured)))
    assert tile_of[comparison.names[0]] == -1


def test_fewer_classes_than_five_leave_places_empty() -> None:
    comparison = made_up_comparison(3)
    comparison.a.indices[:, 3:] = -1
    comparison.a.probabilities[:, 3:] = np.nan

    data = make_gallery(comparison, None).data

    assert data["a_index"][3:5] == [-1, -1]
    assert data["a_parts"][3:5] == [0, 0]
