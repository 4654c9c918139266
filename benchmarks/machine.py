"""The processor, in words; without torch, which MediaPipe's environment does not have."""

import platform
import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
BF16 = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512"}  # flags of a processor, the fastest first


def cpu() -> str:
    """The processor's name, as far as the system tells."""
    return _said("model name") or platform.processor()


def bf16() -> str:
    """What multiplies bf16 numbers: AMX, AVX-512, or nothing that the system tells of."""
    flags = _said("flags").split()
    return next((unit for flag, unit in BF16.items() if flag in flags), "none")


def _said(name: str) -> str:
    """What /proc/cpuinfo says of the first processor; nothing where there is no such file."""
    cpuinfo = CPUINFO.read_text() if CPUINFO.is_file() else ""
    found = re.search(rf"^{name}\s*: (.*)", cpuinfo, re.MULTILINE)
    return found[1] if found else ""
