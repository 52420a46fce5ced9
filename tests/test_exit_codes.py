"""Every error that ends a program has one exit code, in all three programs."""

import errno
import logging

import pytest

import compare.collect.client
import compare.collect.offline.files
import compare.collect.offline.on_ray
import compare.gathered.joining
import compare.gathered.shadow
import compare.gathered.shards
import compare.report.draw
import compare.results.record
import serving.http.auth
import serving.server.supervisor
import serving.shadow.version
import serving.versions.loading
import training.compute
import training.optimization.layers
import training.optimization.trainer
import training.publishing.export
import training.publishing.foreign_graph
import training.run.preflight
import training.run.resume
import training.run.state
from classifier import hardware, storage
from classifier.bundle import files, labels, network, predictions_file, sidecar
from classifier.console.exits import (
    NotNow,
    OurFault,
    WrongUsage,
    exit_code,
    report_failure,
)
from classifier.datasets import dataset, flagged
from classifier.inference.backends import onnx_file
from classifier.networks import weights
from classifier.store import calls, location, versions
from classifier.store.cache import entries
from classifier.store.maintenance import archive, places, removal, single_store
from classifier.upkeep import prune, relocate, transfer

CODES: dict[type[Exception], int] = {
    dataset.BadDataset: 2,
    labels.BadClassMap: 2,
    predictions_file.BadPredictions: 2,
    onnx_file.UnfitOnnxFile: 2,
    files.QuantisedBundle: 2,
    network.NetworkNotAllowed: 2,
    network.UnknownNetwork: 2,
    weights.UnfitWeights: 2,
    training.optimization.layers.NoSuchLayers: 2,
    network.UnfitSize: 2,
    sidecar.BadSidecar: 2,
    training.publishing.foreign_graph.UnfitModel: 2,
    versions.AmbiguousVersion: 2,
    versions.UnknownModel: 2,
    versions.UnknownVersion: 2,
    training.run.state.UnknownRun: 2,
    training.run.resume.NamelessLaunch: 2,
    training.run.resume.OtherFlags: 2,
    training.run.preflight.TooManyProcesses: 2,
    serving.http.auth.BadKeys: 2,
    serving.http.auth.NoKeys: 2,
    serving.shadow.version.UnfitShadow: 2,
    compare.results.record.ForeignFolder: 2,
    compare.gathered.joining.NotJoinable: 2,
    compare.collect.client.KeyRefused: 2,
    compare.collect.client.UnknownServed: 2,
    calls.BadVariable: 2,
    places.PlaceTooLong: 2,
    archive.BadArchive: 2,
    single_store.NotEmpty: 2,
    prune.NotConfirmed: 2,
    relocate.CannotRelocate: 2,
    transfer.SeveralModels: 2,
    transfer.WrongFile: 2,
    removal.FilesElsewhere: 3,
    entries.BadCacheSize: 2,
    location.StoreUnavailable: 3,
    location.FilesAbsent: 3,
    storage.BadPlace: 2,
    storage.DiskTooSmall: 3,
    storage.NotWritable: 3,
    hardware.DeviceUnavailable: 3,
    weights.WeightsNotFound: 3,
    files.BrokenBundle: 3,
    files.NoBundle: 3,
    training.compute.DeviceUnavailable: 3,
    training.compute.FirstProcessFailed: 3,
    training.compute.PeerLost: 3,
    training.compute.PeersNotFound: 3,
    training.optimization.trainer.TrainingDiverged: 3,
    training.run.preflight.StoreInTheWay: 3,
    serving.server.supervisor.AddressUnavailable: 3,
    compare.collect.client.ServedOtherwise: 3,
    compare.collect.client.ServiceUnavailable: 3,
    flagged.FlaggedFull: 3,
    serving.versions.loading.NoInt8Form: 3,
    compare.collect.client.VersionFailed: 3,
    compare.collect.offline.files.NoRuntime: 3,
    compare.report.draw.Unfinished: 3,
    compare.gathered.shadow.NothingKept: 3,
    compare.gathered.shards.ShardUnfinished: 3,
    compare.collect.offline.on_ray.NoRay: 3,
    compare.collect.offline.on_ray.RayFailed: 3,
    OSError: 3,
    training.publishing.export.ExportMismatch: 4,
    training.run.preflight.NetworkUnfit: 4,
}


def _subclasses(kind: type[Exception]) -> set[type[Exception]]:
    return {kind}.union(*map(_subclasses, kind.__subclasses__()))


@pytest.mark.parametrize(("kind", "code"), CODES.items())
def test_an_error_users_can_understand_is_one_line_and_its_code(
    kind: type[Exception], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    error = kind("the reason")
    error.add_note("the remedy")

    assert report_failure(error) == code
    assert capsys.readouterr().err == "error: the reason; the remedy\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/data/x"),
            "cannot use /data/x: Permission denied; give this user the right to it",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "No space left on device; make room on that disk",
        ),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
    ],
)
def test_an_error_of_the_system_has_its_place_and_remedy_and_no_number(
    error: OSError, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report_failure(error) == 3
    assert capsys.readouterr().err == f"error: {line}\n"


def test_every_class_with_an_exit_code_is_in_this_table() -> None:
    bases = {WrongUsage, NotNow, OurFault}
    found = set().union(*map(_subclasses, bases)) - bases
    ours = {kind for kind in found if not kind.__module__.startswith("tests")}

    assert ours == {kind for kind in CODES if issubclass(kind, tuple(bases))}


def test_any_other_error_is_a_fault_of_ours_with_its_traceback_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        assert report_failure(ValueError("unexpected")) == 4

    assert exit_code(ValueError()) is None
    assert "ValueError: unexpected" in caplog.text
