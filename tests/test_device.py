"""The device: bf16 where it is wanted, determinism for a while only."""

import platform
import subprocess
import sys

import pytest
import torch

from conftest import CPU, ROOT
from pipeline.device import autocast, deterministic, upload


@pytest.mark.parametrize(
    ("precision", "native", "expected"),
    [
        ("fp32", True, torch.float32),
        ("bf16", False, torch.bfloat16),
        ("auto", True, torch.bfloat16),
        ("auto", False, torch.float32),
    ],
)
def test_bf16_is_used_where_it_is_asked_for_or_native(monkeypatch, precision, native, expected):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    with autocast(precision, CPU):
        assert torch.nn.Conv2d(1, 1, 1)(torch.zeros(1, 1, 2, 2)).dtype == expected
    assert not torch.is_autocast_enabled("cpu")


def test_determinism_is_asked_of_torch_for_the_time_of_the_training_only():
    assert not torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    with deterministic(True):
        assert torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.benchmark
    with deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.benchmark
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark == benchmark


def test_a_cpu_uploads_nothing():
    tensor = torch.ones(3)
    assert upload(tensor, CPU) is tensor


FAULTS = """
import resource, torch
from pipeline.device import keep_memory
keep_memory()
faults = []
for _ in range(40):
    torch.empty(2**24).fill_(1.0)  # 64 MiB: 16,384 pages of 4 KiB
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[19])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is not glibc's")
def test_memory_that_is_freed_is_used_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert int(done.stdout) < 1000  # pages; 330,000 where each tensor's are new
