"""What a comparison asks for, keeps and does, from its start to its end."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from classifier.datasets.dataset import Dataset
from compare.__main__ import main
from compare.results.folder import ANSWERED, MARKDOWN
from serving.http.bodies import MAX_BODY_BYTES
from tests.conftest import RunningService, Store, serving

KEY = "s3cret"


@pytest.fixture(scope="module")
def locked(
    store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """A service that answers those who have KEY."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"tests predict {hashlib.sha256(KEY.encode()).hexdigest()}\n")
    flags = ("--versions", "v1,v2", "--keys", str(keys), "--drain-seconds", "0")
    with serving(store, *flags) as service:
        yield service


def _compare(service: RunningService, out: Path, *more: str) -> int:
    common = ["--a", "v1", "--b", "v2", "--url", service.url, "--out", str(out)]
    return main([*common, "--limit", "50", *more])


def _photos(folder: Path, files: Sequence[Path]) -> Path:
    """Without labels, in a folder of their own."""
    photos = folder / "photos"
    photos.mkdir()
    for file in files:
        shutil.copy(file, photos)
    return photos


def _json(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(file.read_text())
    return document


def test_a_comparison_is_logged_and_its_candidate_promoted(
    service: RunningService,
    own_store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    passing = ["--fail-on", "images<1"]
    code = _compare(service, tmp_path / "x", *passing, "--promote", "champion")

    assert code == 0
    version = own_store.registry.resolve(own_store.model, "@champion")
    assert version.number == "2"
    assert version.tags["compare.vs_1.verdict"] == "pass"
    assert "@champion of digits-tiny is now v2" in capsys.readouterr().out
    runs = _json(tmp_path / "x" / "mlflow.json")["runs"]
    (entry,) = runs.values()

    # the same again, and a gate that trips: one more run, and the alias stays
    assert _compare(service, tmp_path / "x", *passing) == 0
    assert _json(tmp_path / "x" / "mlflow.json")["runs"] == runs
    tripped = ["--fail-on", "images>1", "--promote", "best"]
    assert _compare(service, tmp_path / "x", *tripped) == 1
    assert "@best was not moved to v2: the verdict is fail" in capsys.readouterr().out
    assert entry["run_id"] in str(_json(tmp_path / "x" / "mlflow.json"))
    assert own_store.registry.resolve(own_store.model, "@champion").number == "2"


ODD_TAGS = {
    "epoch": "soon",
    "val_top1_accuracy": "n/a",
    "dataset_name": "",
    "dataset_digest": "",
    "dataset_source": "photos",
}


def test_odd_tags_of_a_version_end_no_comparison(
    own_store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "compare")
    registry = own_store.registry
    first = registry.resolve(own_store.model, "v1")
    assert first.model_id is not None
    registry.register(
        own_store.model, model_id=first.model_id, run_id="x", tags=ODD_TAGS
    )
    flags = ("--versions", "v1,v2,v3", "--drain-seconds", "0")
    with serving(own_store, *flags) as service:
        assert _compare(service, tmp_path / "others") == 0
        assert _compare(service, tmp_path / "odd", "--b", "v3", "--data", "digits") == 0
        # the images of v1 are recorded, those of v3 are not
        assert "the registry names digits as the images" in caplog.text
        assert _compare(service, tmp_path / "none", "--a", "v3") == 2

    assert _json(tmp_path / "others" / "summary.json")["b"]["epoch"] == 2
    odd = _json(tmp_path / "odd" / "summary.json")["b"]
    assert odd["epoch"] is odd["chosen_on_these_images"] is None
    assert main(["--matrix", "v1..v3", "--out", str(tmp_path / "matrix")]) == 0
    matrix = _json(tmp_path / "matrix" / "matrix.json")
    assert [version["epoch"] for version in matrix["versions"]] == [1, 2, None]


def test_without_mlflow_nothing_is_logged(
    service: RunningService, own_store: Store, tmp_path: Path
) -> None:
    assert _compare(service, tmp_path / "x", "--no-mlflow") == 0

    client = own_store.registry.client
    assert client.get_experiment_by_name("compare") is None
    assert not (tmp_path / "x" / "mlflow.json").exists()


def test_to_promote_without_a_store_is_refused_before_anything_is_asked(
    service: RunningService,
    digits: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)

    promoting = ["--fail-on", "images<1", "--promote", "champ"]
    code = _compare(service, tmp_path / "x", "--data", "digits", *promoting)

    assert code == 3
    assert not (tmp_path / "x").exists()


def test_a_store_that_fails_at_the_end_leaves_the_verdict(
    service: RunningService,
    own_store: Store,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = own_store.registry.client
    client.delete_experiment(client.create_experiment("compare"))

    assert _compare(service, tmp_path / "x", "--fail-on", "images>1") == 1

    assert "not logged in MLflow: experiment 'compare' was deleted" in caplog.text
    assert "--no-mlflow" in caplog.text
    assert (tmp_path / "x" / "report.html").is_file()


def test_a_key_opens_a_service_and_is_written_nowhere(
    locked: RunningService, own_store: Store, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text(f"{KEY}\n")

    assert _compare(locked, tmp_path / "x", "--key", str(key), "--no-mlflow") == 0

    for file in (tmp_path / "x").iterdir():
        assert KEY.encode() not in file.read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "name a file whose first line is yours"), ("other", "does not take the")],
)
def test_a_key_that_lacks_or_is_another_is_told(
    locked: RunningService,
    own_store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str | None,
    message: str,
) -> None:
    more = []
    if content is not None:
        (tmp_path / "key").write_text(content)
        more = ["--key", str(tmp_path / "key")]

    assert _compare(locked, tmp_path / "x", *more) == 2

    error = capsys.readouterr().err
    assert message in error
    assert "status 401" in error


def test_the_summary_goes_where_a_comment_is_made_of_it(
    service: RunningService, own_store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "comment.md"
    more = ["--summary-md", str(file), "--no-mlflow"]

    assert _compare(service, tmp_path / "x", *more) == 0

    assert file.read_bytes() == (tmp_path / "x" / MARKDOWN).read_bytes()


def test_what_was_measured_stays_when_nothing_new_is_asked(
    service: RunningService, own_store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "x"
    assert _compare(service, out, "--no-mlflow") == 0
    before = {name: (out / name).read_bytes() for name in ANSWERED}
    run = _json(out / "run.json")

    assert _compare(service, out, "--no-mlflow") == 0

    again = _json(out / "run.json")
    assert again["latency"] == run["latency"]
    assert again["started_unix_seconds"] > run["started_unix_seconds"]
    for name, content in before.items():
        assert (out / name).read_bytes() == content, name


def test_fresh_throws_away_what_was_kept_and_nothing_else(
    service: RunningService, own_store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "x"
    assert _compare(service, out) == 0
    (out / "notes.txt").write_text("mine")
    cut_off = out / f"{MARKDOWN}.partial"
    cut_off.write_text("of a run that was killed")
    (first,) = _json(out / "mlflow.json")["runs"].values()

    assert _compare(service, out, "--fresh") == 0

    (second,) = _json(out / "mlflow.json")["runs"].values()
    assert first["run_id"] != second["run_id"]
    assert (out / "notes.txt").read_text() == "mine"
    assert not cut_off.exists()


def test_images_without_labels_are_compared_by_their_answers_alone(
    service: RunningService,
    own_store: Store,
    digits: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photos = _photos(tmp_path, digits.val.files[:60:2])
    gates = ["--fail-on", "images<10"]

    code = _compare(service, tmp_path / "x", "--data", str(photos), *gates)

    assert code == 0
    summary = _json(tmp_path / "x" / "summary.json")
    assert summary["images"] == 30
    assert summary["data"]["labelled"] is False
    assert summary["disagreement_rate"] is not None
    assert summary["top1"]["delta"]["value"] is None
    assert "no labels" in capsys.readouterr().out
    assert main(["--from", str(tmp_path / "x")]) == 0
    accuracy = ["--from", str(tmp_path / "x"), "--non-inferior", "0.1"]
    assert main(accuracy) == 1  # what cannot be told did not pass


def test_nothing_of_mlflow_is_imported_before_it_is_needed() -> None:
    """It takes 1.3 s and 65 MB; also of a service that is not there it is told soon."""
    program = "import sys, compare.run; print(*sys.modules)"
    printed = subprocess.check_output([sys.executable, "-c", program], text=True)

    assert not {"mlflow", "sqlalchemy"} & {*printed.split()}


def test_a_probe_holds_for_the_images_it_was_of_and_only_if_it_was_passed(
    service: RunningService, own_store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert _compare(service, out, "--no-mlflow", "--limit", "5") == 0
    assert _json(out / "summary.json")["probe"]["images"] == 5

    assert _compare(service, out, "--no-mlflow") == 0
    assert _json(out / "summary.json")["probe"]["images"] == 50

    facts = _json(out / "run.json")
    facts["probe"]["differing"] = 3  # as a service leaves it that was loaded anew
    (out / "run.json").write_text(json.dumps(facts))
    assert _compare(service, out, "--no-mlflow") == 0
    assert _json(out / "summary.json")["probe"]["differing"] == 0


def test_a_larger_sample_keeps_the_answers_of_a_smaller_one(
    service: RunningService, own_store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    size = ["--no-mlflow", "--batch-size", "10"]
    assert _compare(service, out, *size) == 0
    before = (out / "answers.jsonl").read_text()

    assert _compare(service, out, *size, "--limit", "80") == 0

    assert (out / "answers.jsonl").read_text().startswith(before)
    summary = _json(out / "summary.json")
    assert (summary["images"], summary["verdict"]) == (80, "no_gate")
    classes = pd.read_csv(out / "per_class.csv")["images"]
    assert list(classes) == [8] * 10


def test_the_folders_own_summary_may_be_named(
    service: RunningService, own_store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "link").symlink_to(out)

    for name in ("out", "out/../out", "link"):
        own = ("--no-mlflow", "--summary-md", str(tmp_path / name / MARKDOWN))
        assert _compare(service, out, *own) == 0
        assert (out / MARKDOWN).is_file()


def test_an_image_that_no_request_can_bring_is_missing_and_no_more(
    service: RunningService,
    own_store: Store,
    digits: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photos, out = _photos(tmp_path, digits.val.files[:3]), tmp_path / "out"
    with (photos / "huge.png").open("wb") as huge:
        huge.truncate(MAX_BODY_BYTES + 1)
    unlabelled = ("--data", str(photos), "--no-mlflow")

    assert _compare(service, out, *unlabelled) == 3
    assert "1 of 4 images have no answer" in capsys.readouterr().out

    assert _compare(service, out, *unlabelled, "--allow-missing", "1") == 0
    assert _json(out / "summary.json")["images"] == 3
    assert "body_too_large" in _json(out / "run.json")["missing"]["huge.png"]
    assert "huge.png" not in (out / "answers.jsonl").read_text()  # is asked again

    assert main(["--from", str(out)]) == 0
    assert "body_too_large" in _json(out / "run.json")["missing"]["huge.png"]


def test_the_summary_is_there_also_where_nobody_could_be_promoted(
    service: RunningService, own_store: Store, tmp_path: Path
) -> None:
    own_store.registry.client.delete_model_version(own_store.model, "2")
    file = tmp_path / "comment.md"
    flags = ["--promote", "champion", "--fail-on", "images<1", "--no-mlflow"]
    flags += ["--data", "digits"]

    assert _compare(service, tmp_path / "x", *flags, "--summary-md", str(file)) == 2

    assert "v2 in place of v1" in file.read_text()
