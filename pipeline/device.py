"""The device that everything runs on: its name, its arithmetic, and the way to its memory."""

import contextlib
import os
from collections.abc import Iterator

import torch
from torch import Tensor


def default_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU's tensor on the device; to a GPU from pinned memory, so its queue need not run dry."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager:
    """bf16 where asked for ("bf16") or, by "auto", where the hardware multiplies it; else fp32."""
    # The public test of a CPU's bf16 (torch.cpu.get_capabilities) is younger than torch 2.11.
    native = (
        device.type == "cuda"
        or torch.cpu._is_amx_tile_supported()
        or torch.cpu._is_avx512_bf16_supported()
    )
    wanted = precision == "bf16" or (precision == "auto" and native)
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)


@contextlib.contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Ask torch for the same result from every run, and give up the settings afterwards."""
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = not wanted
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
