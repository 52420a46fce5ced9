"""The OpenVINO backend, on CPUs: its plugin for ONNX Runtime."""

import functools
import json
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from classifier.bundle.files import BrokenBundle, Bundle
from classifier.hardware import (
    BackendKind,
    DeviceUnavailable,
    PrecisionKind,
)
from classifier.inference.backends.base import log_device, padded, powers_of_two
from classifier.inference.backends.onnx_runtime import check_interface, run_session

logger = logging.getLogger(__name__)

_HINTS: Mapping[PrecisionKind, str] = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""OpenVINO chooses bf16 by itself where it can, so that the precision is always set.
An int8 form's own graph says what is int8; the rest is fp32."""


class OpenVinoBackend:
    """Runs model.onnx with OpenVINO, each batch on one core.

    Any number of threads may run it at once: as many batches as there are cores are
    computed side by side. For int8 two cores are hardly faster than one.
    """

    name: BackendKind = "openvino"
    device = "cpu"

    def __init__(
        self, bundle: Bundle, *, precision: PrecisionKind, threads: int
    ) -> None:
        """Raises DeviceUnavailable, or BrokenBundle if OpenVINO cannot run all of the
        graph."""
        is_int8 = bundle.network.precision == "int8"
        self.precision: PrecisionKind = "int8" if is_int8 else precision
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
            "INFERENCE_NUM_THREADS": str(threads),
            "NUM_STREAMS": str(threads),
        }
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4  # its errors are raised as well
        # Else operators that OpenVINO lacks would be run by ONNX Runtime, unsaid.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        options.add_provider_for_devices(
            _processors(), {"load_config": json.dumps({"CPU": settings})}
        )
        try:
            self._session = onnxruntime.InferenceSession(str(bundle.graph), options)
        except Exception as error:  # ONNX Runtime's errors share no class of their own
            logger.exception("openvino cannot load folder=%s", bundle.folder)
            raise BrokenBundle(
                f"OpenVINO cannot run all of {bundle.graph.name}: "
                f"{type(error).__name__}; use --backend onnx"
            ) from error
        check_interface(self._session, bundle)
        log_device("openvino", self.device, "OpenVINO runs on CPUs here")

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return run_session(self._session, padded(images))[: len(images)]

    logits_on_one_core = logits

    def batch_sizes(self, largest: int) -> list[int]:
        return powers_of_two(largest)


def _processors() -> list[Any]:
    """The CPU as OpenVINO sees it. Raises DeviceUnavailable if it can use none."""
    name = _registered()
    is_cpu = onnxruntime.OrtHardwareDeviceType.CPU
    found = [
        device
        for device in onnxruntime.get_ep_devices()
        if device.ep_name == name and device.device.type == is_cpu
    ]
    if not found:
        raise DeviceUnavailable(
            "--backend openvino was asked for, but OpenVINO finds no processor that it "
            "can use; use --backend onnx"
        )
    return found


@functools.cache
def _registered() -> str | None:
    """The name of OpenVINO's provider, registered with ONNX Runtime once a process;
    None if its library cannot be loaded."""
    import onnxruntime_ep_openvino as plugin

    try:
        onnxruntime.register_execution_provider_library(
            "openvino", plugin.get_library_path()
        )
    except Exception:  # it is missing, damaged, or of another ONNX Runtime
        logger.exception("openvino's plugin cannot be loaded")
        return None
    return str(plugin.get_ep_name())
