"""Small file systems, to be full: real ones, where this account may mount any."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def mountable() -> str:
    """Why no file system can be mounted here; empty where one can."""
    if shutil.which("mount") is None:
        return "there is no `mount`"
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", "/mnt"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr.strip() or "mount failed"
    subprocess.run(["umount", "/mnt"], check=True)
    return ""


@contextmanager
def small_disk(folder: Path, kibibytes: int) -> Iterator[Path]:
    """A file system of its own at a folder, with so much room; what was there lies in it, and comes
    back."""
    kept = folder.with_name(f"{folder.name}-kept")
    if folder.exists():
        folder.rename(kept)
    folder.mkdir()
    size = f"size={max(kibibytes, 4)}k"  # 0 would be no limit
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", str(folder)], check=True)
    try:
        if kept.exists():
            shutil.copytree(kept, folder, dirs_exist_ok=True)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()
        if kept.exists():
            kept.rename(folder)
