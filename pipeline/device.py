"""The device that everything runs on: its name, its arithmetic, and the way to its memory."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

import torch
from torch import Tensor

# Of glibc's malloc.h, for mallopt.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
SHARE = 0.5  # of a GPU's free memory: the rest is a training's


def default_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def keep_memory() -> None:
    """Let this process keep what it frees, for what it allocates next; where malloc is glibc's.

    As a rule glibc gives large blocks back to the kernel at once, which then clears every page of
    the next ones: 250,000 pages in a training step at 192 px, a third of its time.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU's tensor on the device; to a GPU from pinned memory, so its queue need not run dry."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def room(device: torch.device) -> int:
    """Bytes of a GPU's memory that data may fill: SHARE of what is free now. None of a CPU's, which
    reads what it needs from the files, and whose system keeps what is read often."""
    return int(SHARE * torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0


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
