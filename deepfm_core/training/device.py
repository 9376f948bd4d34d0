"""Where a fit trains: on the processor, or on a GPU where the user names one."""

from __future__ import annotations

import os

import torch

from deepfm_core.errors import SpecError


def training_device() -> torch.device:
    """Give the device that `$DEEPFM_DEVICE` names: `cpu` where it names none.

    A GPU is never chosen unasked: its sums are not the same in every run, and small tables train slower on it.

    Raises:
        SpecError: torch knows no such device, or does not find it here.
    """
    wanted = os.environ.get("DEEPFM_DEVICE", "").strip() or "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise SpecError(f"`DEEPFM_DEVICE` is '{wanted}'. torch knows no such device. Use cpu or cuda.") from None
    if device.type not in ("cpu", "cuda"):
        raise SpecError(f"`DEEPFM_DEVICE` is '{wanted}'. Only cpu and cuda are supported. Use one of them.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SpecError(
            f"`DEEPFM_DEVICE` is '{wanted}'. torch {torch.__version__} finds no such GPU here. "
            "Install a build of torch for your GPU, or unset it."
        )
    return device
