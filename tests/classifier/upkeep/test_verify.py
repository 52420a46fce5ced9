"""`python -m classifier verify`: whole versions pass, each kind of damage is named."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from classifier.__main__ import main
from classifier.bundle.files import GRAPH, LABELS, NETWORK, WEIGHTS, weights_header
from classifier.store.artifacts import DIGESTS_TAG
from tests.conftest import Store

Verify = Callable[..., tuple[int, dict[str, Any], dict[str, Any]]]


@pytest.fixture
def copy(
    quantised_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Store:
    """Versions 1, 2 and 2.int8."""
    made = quantised_store.copy(tmp_path / "store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.uri)
    return made


@pytest.fixture
def verify(copy: Store, capsys: pytest.CaptureFixture[str]) -> Verify:
    """The exit code, the entries of the versions by number, and the document."""

    def run(*names: str) -> tuple[int, dict[str, Any], dict[str, Any]]:
        capsys.readouterr()
        code = main(["verify", *names, "--json"])
        document = json.loads(capsys.readouterr().out)
        return code, {e["version"]: e for e in document["versions"]}, document

    return run


def _folder(store: Store, name: str) -> Path:
    registry = store.registry
    return registry.fetch(registry.resolve(store.model, name))


def _forget_digests(store: Store, name: str) -> None:
    """As in a version made before digests were recorded."""
    version = store.registry.resolve(store.model, name)
    assert version.model_id is not None
    store.registry.client.delete_logged_model_tag(version.model_id, DIGESTS_TAG)


def test_whole_versions_pass_with_one_proof_for_the_graph_that_they_share(
    copy: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify"]) == 0

    first, second, int8, summary = capsys.readouterr().out.splitlines()
    assert first.startswith("v1        whole   8 files, ")
    assert "graph equals weights within " in first
    assert first.endswith(" on 8 kept images")
    assert second.endswith("; graph proved with v1")
    assert int8.startswith("v2.int8   whole ")
    assert int8.endswith("graph runs on 8 kept images")
    assert summary == "3 versions: 3 whole, 0 broken"


def test_a_named_version_is_proved_with_its_int8_form(verify: Verify) -> None:
    code, versions, document = verify("latest", "v2")

    assert (code, document["whole"], [*versions]) == (0, True, ["2", "2.int8"])
    assert "graph equals weights" in versions["2"]["notes"][0]


@pytest.mark.parametrize("name", [WEIGHTS, GRAPH, LABELS, "MLmodel"])
def test_one_changed_byte_is_found_in_any_file(
    name: str, copy: Store, verify: Verify
) -> None:
    file = _folder(copy, "v2") / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)

    code, versions, document = verify()

    assert (code, document["whole"]) == (1, False)
    (fault,) = versions["2"]["faults"]
    assert fault.startswith(f"{name} is not what was published: its sha256 is ")
    assert versions["1"]["whole"]
    assert versions["2.int8"]["whole"]


def test_a_missing_file_and_missing_folder_are_found(
    copy: Store, verify: Verify
) -> None:
    (_folder(copy, "v2") / "validation_predictions.parquet").unlink()
    shutil.rmtree(_folder(copy, "v1"))

    code, versions, _ = verify()

    assert code == 1
    assert versions["2"]["faults"] == ["validation_predictions.parquet is missing"]
    assert "the files of version 1 are not at" in versions["1"]["faults"][0]


def test_a_damaged_int8_form_is_found(copy: Store, verify: Verify) -> None:
    (_folder(copy, "v2.int8") / GRAPH).write_bytes(b"")

    code, versions, _ = verify("v2")

    assert (code, versions["2"]["whole"], versions["2.int8"]["whole"]) == (
        1,
        True,
        False,
    )


def test_a_version_without_digests_is_run_by_itself_and_said_to_have_none(
    copy: Store, verify: Verify
) -> None:
    _forget_digests(copy, "v2")

    code, versions, _ = verify()

    assert code == 0
    assert versions["2"]["notes"] == [
        "no digests",
        "graph runs on 8 kept images, proved with v1",
    ]


def _cut_off_weights(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:-4])


def _not_a_number(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-4:] = np.float32(np.nan).tobytes()
    (folder / WEIGHTS).write_bytes(data)


def _another_graph(folder: Path) -> None:
    graph = onnx.load(folder / GRAPH, load_external_data=False)
    node = next(node for node in graph.graph.node if node.op_type == "Relu")
    node.op_type = "Identity"
    (folder / GRAPH).write_bytes(graph.SerializeToString())


def _no_graph(folder: Path) -> None:
    (folder / GRAPH).write_bytes(b"no graph")


def _other_names(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    name = next(iter(weights_header(folder / WEIGHTS).places)).encode()
    (folder / WEIGHTS).write_bytes(data.replace(name, name[:-1] + b"_", 1))


def _broken_labels(folder: Path) -> None:
    (folder / LABELS).write_text("[")


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (_cut_off_weights, f"{WEIGHTS} has "),
        (_not_a_number, f"{GRAPH} gives logits that are not finite"),
        (_another_graph, f"{GRAPH} differs from the network with the same weights by "),
        (_no_graph, f"{GRAPH} cannot be loaded"),
        (_other_names, f"{WEIGHTS} does not fit"),
        (_broken_labels, f"{LABELS} cannot be read"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_damage_is_found_without_digests_too(
    damage: Callable[[Path], None],
    fault: str,
    copy: Store,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _forget_digests(copy, "v1")
    damage(_folder(copy, "v1"))

    assert main(["verify", "v1"]) == 1

    shown = capsys.readouterr()
    assert f"; {fault}" in shown.out
    assert "1 version: 0 whole, 1 broken" in shown.out
    assert shown.err == ""


def test_a_graph_whose_network_cannot_be_built_is_run_alone(
    copy: Store, verify: Verify
) -> None:
    _forget_digests(copy, "v1")
    network = _folder(copy, "v1") / NETWORK
    spec = {**json.loads(network.read_text()), "source": "onnx"}
    network.write_text(json.dumps(spec))

    code, versions, _ = verify("v1")

    assert code == 0
    note = versions["1"]["notes"][1]
    assert note.startswith("graph runs on 8 kept images, not compared with the weights")
    assert "imported from an ONNX file" in note


def test_without_kept_images_the_graph_is_proved_on_noise(
    copy: Store, verify: Verify
) -> None:
    for kept in copy.folder.rglob("images.npy"):
        kept.unlink()

    code, versions, _ = verify("v1")

    assert code == 0
    assert versions["1"]["notes"][0].endswith("on 8 random images")


def test_a_run_or_logged_model_that_is_gone_is_a_fault(
    copy: Store, verify: Verify
) -> None:
    registry = copy.registry
    version = registry.resolve(copy.model, "v1")
    assert version.model_id is not None
    assert version.run_id is not None
    registry.client.delete_run(version.run_id)

    code, versions, _ = verify()

    assert code == 1
    assert "mlflow runs restore --run-id" in versions["1"]["faults"][0]
    assert versions["2.int8"]["whole"]  # it is of a run of its own

    with closing(sqlite3.connect(copy.folder / "mlflow.db")) as database, database:
        database.execute("DELETE FROM runs WHERE run_uuid = ?", (version.run_id,))
    registry.client.delete_logged_model(version.model_id)

    code, versions, _ = verify()

    faults = versions["1"]["faults"]
    assert code == 1
    assert f"the logged model {version.model_id} of version 1 was deleted" in faults[0]
    assert faults[1] == f"its run {version.run_id} is not in the store"


def test_an_alias_that_names_no_version_is_found(
    copy: Store, verify: Verify, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(copy.folder / "mlflow.db")) as database, database:
        database.execute(
            "INSERT INTO registered_model_aliases (name, alias, version, workspace) "
            "SELECT name, 'prod', 7, workspace FROM registered_models"
        )

    code, versions, document = verify("v1")

    assert (code, document["whole"], versions["1"]["whole"]) == (1, False, True)
    assert document["aliases"] == [
        {
            "alias": "prod",
            "fault": "names v7 of 'digits-tiny', which is not in the registry",
        }
    ]
    assert main(["verify", "v1"]) == 1
    assert "@prod     BROKEN  names v7" in capsys.readouterr().out
