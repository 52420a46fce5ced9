"""Shards, asked for one by one and joined: the bytes of a comparison without them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from classifier.datasets.dataset import Dataset
from compare.__main__ import main
from compare.collect.answer_store import ANSWERS
from compare.collect.images import Shard
from compare.results.folder import ANSWERED, HTML, REPORTS
from tests.conftest import RunningService, Store

Ask = Callable[..., int]
"""`python -m compare --a v1 --b v2` with more flags, on the digits; its exit code."""


@pytest.fixture
def ask(service: RunningService, own_store: Store, cache: Path) -> Ask:
    flags = ["--a", "v1", "--b", "v2", "--url", service.url, "--data", "digits"]

    def ask(out: Path, *more: str) -> int:
        return main([*flags, "--cache", str(cache), "--out", str(out), *more])

    return ask


@pytest.fixture
def digits_folder(digits: Dataset, tmp_path: Path) -> Path:
    """Every sixth of the digits, as files that a test may spoil."""
    part = digits.val.subset(range(0, len(digits.val), 6))
    for class_id, file in zip(part.class_ids, part.files, strict=True):
        folder = tmp_path / "digits" / "val" / class_id
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder)
    return tmp_path / "digits"


def _ask_all(ask: Ask, out: Path, count: int, *more: str) -> None:
    for index in range(count):
        assert ask(out, "--shard", f"{index}/{count}", *more) == 0


def _results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ANSWERED}


def _json(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(file.read_text())
    return document


@pytest.mark.parametrize(("limit", "count"), [([], 16), (["--limit", "100"], 3)])
def test_shards_have_the_bytes_of_one_run(
    ask: Ask, tmp_path: Path, limit: list[str], count: int
) -> None:
    """The last of them has no images."""
    single, sharded = tmp_path / "single", tmp_path / "sharded"
    gate = ["--fail-on", "images<1"]
    assert ask(single, *limit, *gate) == 0

    _ask_all(ask, sharded, count, *limit)
    assert not list(sharded.glob(f"*/{HTML}"))
    assert main(["--join", str(sharded), *gate]) == 0

    assert _results(sharded) == _results(single)
    assert _json(sharded / "run.json")["probe"] == {"images": 100, "differing": 0}
    # pictures too, of files that the shards name; and it can be drawn again
    for kept in ("images.parquet", "thumbnails.parquet"):
        assert (sharded / kept).read_bytes() == (single / kept).read_bytes()
    assert main(["--from", str(sharded)]) == 0
    assert _results(sharded) == _results(single)


def test_a_joined_comparison_is_judged_logged_and_promoted_as_any_other(
    ask: Ask, own_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _ask_all(ask, tmp_path / "x", 2, "--limit", "128")
    client = own_store.registry.client
    assert client.get_experiment_by_name("compare") is None

    join = ["--join", str(tmp_path / "x")]
    assert main([*join, "--fail-on", "images>1", "--promote", "champion"]) == 1
    assert main([*join, "--fail-on", "images<1", "--promote", "champion"]) == 0

    assert "@champion of digits-tiny is now v2" in capsys.readouterr().out
    version = own_store.registry.resolve(own_store.model, "@champion")
    assert version.tags["compare.vs_1.verdict"] == "pass"
    assert len(_json(tmp_path / "x" / "mlflow.json")["runs"]) == 2


def test_what_is_cut_off_or_asked_twice_goes_on(ask: Ask, tmp_path: Path) -> None:
    single, out = tmp_path / "single", tmp_path / "out"
    assert ask(single, "--limit", "200") == 0
    _ask_all(ask, out, 2, "--limit", "200")
    first = out / Shard(0, 2).folder
    whole = (first / ANSWERS).read_bytes()

    assert ask(out, "--shard", "0/2", "--limit", "200") == 0
    assert (first / ANSWERS).read_bytes() == whole
    (first / ANSWERS).write_bytes(whole[: len(whole) // 2])
    assert main(["--join", str(out)]) == 3
    assert ask(out, "--shard", "0/2", "--limit", "200") == 0
    # another pod asked for it too, in a place of its own
    again = shutil.copytree(first, tmp_path / "pod" / first.name)
    joined = tmp_path / "joined"
    assert main(["--join", str(out), str(again), "--out", str(joined)]) == 0

    assert _results(joined) == _results(single)


def test_what_is_missing_is_said(
    ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for index in (0, 2):
        assert ask(out, "--shard", f"{index}/4") == 0
    join = ["--join", str(out)]
    capsys.readouterr()

    assert main(join) == 3
    assert "2 of 4 shards are not there: 1/4, 3/4; " in capsys.readouterr().err
    assert main(["--join", str(tmp_path)]) == 2
    assert f"{tmp_path} has no shards; name the folder" in capsys.readouterr().err
    for index in (1, 3):
        assert ask(out, "--shard", f"{index}/4") == 0
    lines = out / "shard-1-of-4" / ANSWERS
    lines.write_text("".join(lines.read_text().splitlines(keepends=True)[:-7]))
    capsys.readouterr()
    assert main(join) == 3
    said = capsys.readouterr().err
    assert "shard 1/4 in " in said
    assert "is not finished: 249 of 256 images are answered" in said
    assert not any((out / name).exists() for name in REPORTS)


def test_shards_of_other_comparisons_are_told_apart(
    ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert ask(out, "--shard", "0/2", "--limit", "100") == 0
    assert ask(out, "--shard", "1/2", "--limit", "101") == 0
    other = tmp_path / "other"
    assert ask(other, "--shard", "1/2", "--limit", "100", "--b", "v1") == 0
    assert ask(other, "--shard", "0/3", "--limit", "100") == 0
    capsys.readouterr()

    one, two, three, four = (
        str(folder)
        for parent in (out, other)
        for folder in sorted(parent.glob("shard-*"))
    )
    assert main(["--join", one, two]) == 2
    assert "is a shard of 101 images, and " in capsys.readouterr().err
    assert main(["--join", one, three]) == 2
    assert "some of the shards are of 2 and 3" in capsys.readouterr().err
    assert main(["--join", one, four]) == 2
    assert "its candidate is '1', and that of " in capsys.readouterr().err
    shutil.rmtree(two)
    assert ask(tmp_path / "more", "--shard", "1/2", "--limit", "100") == 0
    assert main(["--join", str(out), str(tmp_path / "more")]) == 2
    assert "name that of the comparison with --out" in capsys.readouterr().err


def test_images_that_no_request_can_decode_are_judged_by_the_join(
    ask: Ask, tmp_path: Path, digits_folder: Path
) -> None:
    """A shard has all the answers there are, and a pod is not started again for it."""
    min(digits_folder.glob("val/*/*")).write_bytes(b"no image")
    flags = ["--data", str(digits_folder)]
    single, out = tmp_path / "single", tmp_path / "out"
    assert ask(single, *flags) == 3
    assert ask(single, *flags, "--allow-missing", "1") == 0

    _ask_all(ask, out, 2, *flags)
    assert main(["--join", str(out)]) == 3
    assert main(["--join", str(out), "--allow-missing", "1"]) == 0

    assert _results(out) == _results(single)
