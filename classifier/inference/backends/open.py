"""Opens a bundle with a backend: one line for each."""

import functools
import importlib
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version

from classifier.bundle.files import Bundle
from classifier.hardware import (
    BackendKind,
    DeviceKind,
    DeviceUnavailable,
    Form,
    PrecisionKind,
    has_bf16,
)
from classifier.inference.backends.base import Backend

OPENVINO = "onnxruntime-ep-openvino"


def import_engine(kind: BackendKind) -> None:
    """Imports what `open_backend` needs: some libraries start a program to find others,
    which an event loop allows on its own native thread alone."""
    name = {"onnx": "onnx_runtime", "openvino": "openvino", "torch": "pytorch"}[kind]
    importlib.import_module(f"classifier.inference.backends.{name}")


def open_backend(
    kind: BackendKind,
    bundle: Bundle,
    *,
    device: DeviceKind,
    precision: PrecisionKind = "fp32",
    threads: int,
    allowed: Collection[str] = (),
) -> Backend:
    """Raises DeviceUnavailable if `device` is "cuda" and no GPU can be used, or if this
    machine has not the backend or its precision.

    An int8 form is int8 whatever `precision` is. `allowed` are the functions of the
    user's that torch may run to build a network.

    The imports are here, so that an installation with ONNX Runtime needs no torch.
    """
    if kind == "torch":
        from classifier.inference.backends.pytorch import TorchBackend

        return TorchBackend(
            bundle,
            device=device,
            precision=precision,
            threads=threads,
            allowed=allowed,
        )
    if kind == "openvino":
        check_form(Form(kind, precision))
        from classifier.inference.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(bundle, precision=precision, threads=threads)
    from classifier.inference.backends.onnx_runtime import OnnxBackend

    return OnnxBackend(bundle, device=device, threads=threads)


def check_form(form: Form) -> None:
    """Raises DeviceUnavailable if this machine cannot run versions in this form.

    Loads no library, as a fork may follow.
    """
    if form.backend == "openvino" and plugin_version() is None:
        raise DeviceUnavailable(
            f"--backend openvino was asked for, but {OPENVINO} is not installed; "
            f"install flipside[openvino], or use --backend onnx"
        )
    if form == Form("openvino", "bf16") and not has_bf16():
        raise DeviceUnavailable(
            "--precision bf16 was asked for, but this processor has neither AVX-512 "
            "BF16 nor AMX; use --precision fp32"
        )


@functools.cache
def plugin_version() -> str | None:
    """OpenVINO's, as a plugin of ONNX Runtime; None if it is not installed."""
    try:
        return version(OPENVINO)
    except PackageNotFoundError:
        return None


def runtime_versions() -> list[str | None]:
    """Versions of the libraries that run graphs, on which answers and times depend."""
    from classifier.inference.backends.onnx_runtime import RUNTIME_VERSION

    return [RUNTIME_VERSION, plugin_version()]
