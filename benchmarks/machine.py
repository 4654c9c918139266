"""The processor's name; without torch, which MediaPipe's environment does not have."""

import platform
import re
from pathlib import Path


def cpu() -> str:
    """The processor in words, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.is_file() else None
    return named[1] if named else platform.processor()
