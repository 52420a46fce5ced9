"""Answers by Ray Data, here and with two workers: the bytes of answers by HTTP."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from classifier.datasets.dataset import Dataset
from compare.__main__ import main
from compare.collect.answer_store import ANSWERS, AnswerStore, read_answers
from compare.collect.offline import on_ray
from compare.collect.offline.on_ray import SCHEMA, WRITTEN, _take
from compare.collect.schema import NoAnswer
from compare.results.folder import ANSWERED
from tests.compare.conftest import made_up_answers
from tests.conftest import RunningService, Store

pytestmark = [  # Ray's own, in this process
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PAIR = ["--a", "v1", "--b", "v2", "--no-mlflow"]


def _results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ANSWERED}


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray.data", reason="needs Ray (pip install flipside[ray])")
    monkeypatch.setattr(on_ray, "usable_cores", lambda: 2)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.usefixtures("two_cores")
def test_two_workers_have_the_bytes_of_a_service(
    service: RunningService,
    own_store: Store,
    digits: Dataset,
    cache: Path,
    tmp_path: Path,
) -> None:
    """One image is broken, one is not there, and a shard is asked as well."""
    data = _spoilt(digits, tmp_path / "digits")
    flags = [*PAIR, "--data", str(data), "--allow-missing", "2"]
    asked, ran, sharded = tmp_path / "asked", tmp_path / "ran", tmp_path / "sharded"
    assert main([*flags, "--url", service.url, "--out", str(asked)]) == 0

    assert main([*flags, "--engine", "ray", "--out", str(ran)]) == 0

    assert _results(ran) == _results(asked)
    kept = read_answers(ran)
    assert len(kept) == 149
    (failure,) = {pair[0] for pair in kept.values() if isinstance(pair[0], NoAnswer)}
    assert failure.code == "undecodable_image"
    assert not (ran / WRITTEN).exists()
    # what is kept is not asked again, and a shard is like any other
    whole = (ran / ANSWERS).read_text().splitlines(keepends=True)
    (ran / ANSWERS).write_text("".join(whole[:100]))
    assert main([*flags, "--engine", "ray", "--out", str(ran)]) == 0
    assert _results(ran) == _results(asked)
    for index, by in enumerate((["--engine", "ray"], ["--url", service.url])):
        shard = ["--shard", f"{index}/2", "--out", str(sharded)]
        assert main([*flags, *by, *shard]) == 0
    assert main(["--join", str(sharded), "--no-mlflow"]) == 0
    assert _results(sharded) == _results(asked)


def _spoilt(digits: Dataset, folder: Path) -> Path:
    """150 of the digits, the first of them broken and the last a dead link."""
    part = digits.val.subset(range(0, len(digits.val), 6))
    copies = []
    for class_id, file in zip(part.class_ids, part.files, strict=True):
        copies.append(folder / "val" / class_id / file.name)
        copies[-1].parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copies[-1])
    copies[0].write_bytes(b"no image")
    copies[-1].unlink()
    copies[-1].symlink_to("/nowhere")
    return folder


def test_a_cluster_that_is_not_there_is_told(
    two_cores: None,
    own_store: Store,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "nowhere")
    flags = [*PAIR, "--data", "digits", "--cache", str(cache)]

    code = main([*flags, "--engine", "ray", "--out", str(tmp_path / "x")])

    assert code == 3
    said = capsys.readouterr().err
    assert "error: Ray cannot be used at nowhere, which RAY_ADDRESS names: " in said


def test_files_of_workers_that_were_killed_are_taken_or_left_out(
    tmp_path: Path,
) -> None:
    answers = made_up_answers(5)
    rows = [
        {
            "image": name,
            **{
                f"{side}_{key}": getattr(answer, key)
                for side, answer in zip("ab", pair, strict=True)
                for key in ("indices", "probabilities")
            },
        }
        for name, pair in answers.items()
    ]
    written = tmp_path / WRITTEN
    written.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), written / "1.parquet")
    half = (written / "1.parquet").read_bytes()[:-100]
    (written / "2.parquet").write_bytes(half)

    with AnswerStore(tmp_path) as store:
        _take(written, store)

    assert read_answers(tmp_path) == answers
    assert not written.exists()
