"""Files and folders that are whole or not there, and what is in a file."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import PipelineError

LITTLE = 2**20  # bytes that are free on a disk that is full


class FullDiskError(PipelineError):
    """A file could not be written for want of room."""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A free place beside `path` to write a file or a folder to; it becomes `path` when the block
    ends.

    If the block fails, nothing is left of it and what was at `path` stays. What a killed run left
    beside is removed first, or put back where it is all that there is. Raises FullDiskError where
    that is why the block failed, whatever the library that writes makes of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside, old = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.old")
    _remove(beside)
    if old.exists() and not path.exists():
        old.rename(path)
    _remove(old)
    try:
        yield beside
        if path.is_dir() and beside.is_dir():  # a folder can only be renamed to a free name
            path.rename(old)
        os.replace(beside, path)
    except Exception as error:
        if _for_want_of_room(error, path.parent):
            raise FullDiskError(
                f"{path}: no room is left on its disk; what was there stays. Make room, and run"
                " this again"
            ) from error
        raise
    finally:
        _remove(beside)
        _remove(old)


def copied(folder: Path, *files: Path) -> None:
    """Make a folder anew, of copies of files."""
    with written_whole(folder) as beside:
        beside.mkdir()
        for file in files:
            shutil.copyfile(file, beside / file.name)


def linked(path: Path, new: Path) -> None:
    """Let a file have one more name, or be copied where the file system has no such names."""
    with suppress(OSError):
        os.link(path, new)
        return
    shutil.copyfile(path, new)


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _for_want_of_room(error: Exception, folder: Path) -> bool:
    # Few libraries keep the number: some keep its words, and most leave a file that takes all room.
    full = (errno.ENOSPC, errno.EDQUOT)
    said = any(os.strerror(number) in str(error) for number in full)
    free = shutil.disk_usage(folder).free
    return said or getattr(error, "errno", None) in full or free < LITTLE


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
