"""A run on class folders without parts, and what uses its split afterwards."""

import shutil
from pathlib import Path

import pytest

from classifier.datasets.dataset import Dataset
from classifier.datasets.split import SPLIT, read_split
from compare.collect.images import WantedImages, open_images
from tests.conftest import Store, encoded, picture
from training.__main__ import main

PER_CLASS = 30
NEW = 3


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, digits: Dataset, cache: Path
) -> Store:
    """A run on 300 digits in class folders; files were added after it."""
    folder = tmp_path_factory.mktemp("flat")
    photos, part = folder / "photos", digits.val.first_per_class(PER_CLASS + NEW)
    for file, class_id in zip(part.files, part.class_ids, strict=True):
        (photos / class_id).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, photos / class_id)
    added = folder / "added"
    added.mkdir()
    for file in sorted((photos / "7").iterdir())[:NEW]:
        file.rename(added / file.name)
    store = Store(folder, "photos-tiny")
    flags = ["--arch", "tiny", "--image-size", "16", "--epochs", "1", "--lr", "0.1"]
    flags += ["--device", "cpu", "--precision", "fp32", "--cache", str(cache)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store.uri)
        assert main(["--data", str(photos), *flags]) == 0
    for file in added.iterdir():
        file.rename(photos / "7" / file.name)
    return store


@pytest.fixture
def photos(trained: Store, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", trained.uri)
    return trained.folder / "photos"


def test_the_run_keeps_its_split_and_tells_near_duplicates(trained: Store) -> None:
    registry = trained.registry
    version = registry.resolve(trained.model, "v1")

    split = read_split(registry.run_text(version, SPLIT))
    run = registry.client.get_run(version.run_id)

    assert split is not None
    assert len(split.entries) == 10 * (PER_CLASS + NEW) - NEW
    assert int(run.data.params["near_duplicates"]) >= 0
    assert run.data.params["val_fraction"] == "0.2"
    assert registry.run_text(version, "nothing.csv") is None


def test_a_moved_store_finds_the_split(trained: Store, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(trained.folder, moved)
    registry = Store(moved, trained.model).registry
    (hidden := trained.folder / "mlruns").rename(trained.folder / "elsewhere")
    try:
        version = registry.resolve(trained.model, "v1")
        assert registry.run_text(version, SPLIT)
    finally:
        (trained.folder / "elsewhere").rename(hidden)


def test_evaluate_measures_the_recorded_images_with_the_tags_numbers(
    trained: Store,
    photos: Path,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    command = ["--evaluate", "v1", "--data", str(photos), "--cache", str(cache)]
    assert main(command) == 0

    accuracy = trained.registry.resolve(trained.model, "v1").val_top1_accuracy
    assert accuracy is not None
    assert f" *   Acc@1 {100 * accuracy:.3f} " in capsys.readouterr().out
    assert f"left out {NEW} files that the recorded split does not" in caplog.text

    assert main([*command, "--part", "all"]) == 0
    assert f"all {10 * (PER_CLASS + NEW)} images are taken" in caplog.text


@pytest.fixture
def copy(
    trained: Store, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, list[str]]:
    """A copy of the photos, and the command that trains a run on it further."""
    store = Store(tmp_path, "photos-tiny")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    photos = tmp_path / "photos"
    shutil.copytree(trained.folder / "photos", photos)
    flags = ["--arch", "tiny", "--image-size", "16", "--epochs", "1", "--lr", "0.1"]
    flags += ["--device", "cpu", "--precision", "fp32", "--cache", str(cache)]
    assert main(["--data", str(photos), *flags]) == 0
    return photos, ["--resume", "last", "--epochs", "2", "--cache", str(cache)]


def test_a_run_goes_on_with_its_split_when_files_were_added(
    copy: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two classes get images, one of which only the new ones would put into val."""
    photos, resume = copy
    for number, file in enumerate(sorted((photos / "3").iterdir())[:4]):
        shutil.copy(file, photos / "3" / f"copy-{number}.png")
    other = encoded(picture(8, 8, seed=1), "PNG")
    (photos / "8" / "new.png").write_bytes(other)
    (photos / "of a new class").mkdir()
    (photos / "of a new class" / "new.png").write_bytes(other)
    capsys.readouterr()

    assert main(resume) == 0

    out = capsys.readouterr().out
    note = "left out 6 files that the recorded split does not know; a new run takes"
    assert note in " ".join(out.split())
    registry = Store(tmp_path, "photos-tiny").registry
    first, second = (registry.resolve("photos-tiny", v) for v in ("v1", "v2"))
    assert first.dataset_digest == second.dataset_digest
    assert first.run_id == second.run_id


@pytest.mark.parametrize("change", ["removed", "changed"])
def test_a_run_does_not_go_on_with_other_images(
    copy: tuple[Path, list[str]], change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, resume = copy
    first = min((photos / "3").iterdir())
    if change == "removed":
        first.unlink()
    else:
        first.write_bytes(encoded(picture(8, 8, seed=1), "PNG"))
    capsys.readouterr()

    assert main(resume) == 2

    assert "put them back, or start a new run" in capsys.readouterr().err


BOTH = ((None, "v1"), (None, "v2"))


@pytest.mark.parametrize("part", ["validation", "all"])
def test_quantising_measures_on_the_recorded_images(
    photos: Path, cache: Path, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    command = ["--quantize", "v1", "--data", str(photos), "--part", part]
    assert main([*command, "--cache", str(cache)]) == 0

    assert "The first answers agree on" in capsys.readouterr().out


@pytest.mark.parametrize("version", ["v1", "v1.int8", "best"])
@pytest.mark.parametrize("is_named", [True, False])
def test_compare_takes_the_recorded_images(
    trained: Store, photos: Path, version: str, is_named: bool
) -> None:
    if version == "v1.int8":
        assert main(["--quantize", "v1", "--data", str(photos)]) == 0
    source = str(photos) if is_named else None

    images = open_images(
        WantedImages(source=source), versions=[(None, version), (None, "v1")]
    )
    whole = open_images(
        WantedImages(source=source, takes_all=True), versions=[(None, version)]
    )

    recorded = trained.registry.resolve(trained.model, "v1").dataset_digest
    assert images.digest == recorded
    assert images.class_ids is not None
    assert f"left out {NEW} files" in images.notes[0]
    assert len(whole) == 10 * (PER_CLASS + NEW)


def test_versions_without_a_split_take_a_flat_folder_without_labels_as_before(
    photos: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    wanted = WantedImages(source=str(photos))

    assert open_images(wanted, versions=BOTH).class_ids is None
    whole = WantedImages(source=str(photos), takes_all=True)
    assert open_images(whole, versions=BOTH).class_ids is not None
