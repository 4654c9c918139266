"""Bring LSPet into a folder, whole and verified, from whichever place still has it.

The addresses that LSPet was published at are dead or unreliable, so nothing that comes from one is
believed: every image and joints.mat must match `lspet.sha256.xz` (the text that `sha256sum -c`
takes), and the folder has the same bytes whichever way it came.
"""

import hashlib
import lzma
import re
import shutil
import stat
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from pipeline.errors import brief, shown
from pipeline.files import written_whole
from pipeline.paths import main_root
from pipeline.sources.transfer import CHUNK, DownloadError, download, file_size

MIRRORS = (
    "https://sam.johnson.io/research/lspet_dataset.zip",
    # The commit before this one holds recompressed images.
    "https://github.com/axelcarlier/lsp/archive/8fabf3183516b1be5f9d44bd1c516609637e983e.zip",
)
LARGEST = 2**26  # bytes of a file of the data set; joints.mat, the largest, has 1.9 million
MOST = 2**29  # bytes of all of them, which have 170 million
MANIFEST = Path(__file__).with_name("lspet.sha256.xz")
DESCRIPTION = Path(__file__).with_name("lspet_readme.txt")  # README.txt beside the photographs
ADVICE = (
    "Set LSPET_ARCHIVE to a copy that you have (lspet_dataset.zip, or the folder that it unpacks"
    " to)"
    " and run this again."
)
CORRUPT = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)

Sources = Mapping[str, Callable[[], Iterable[bytes]]]  # name in the data set: reads its bytes


def manifest() -> dict[str, str]:
    """SHA-256, in hexadecimal digits, of joints.mat and of each of the 10,000 images, by name."""
    lines = lzma.decompress(MANIFEST.read_bytes()).decode().splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    # Mirrors disagree on README.txt, which no result depends on: it is written from the committed
    # text.
    del sums["README.txt"]
    return sums


def fetch_lspet(
    target: Path,
    *,
    partial: Path,
    archive: str | None = None,
    here: Path | None = None,
    mirrors: Iterable[str] = MIRRORS,
    expected: Mapping[str, str] | None = None,
    timeout: float = 30.0,
    pause: float = 1.0,
) -> None:
    """Make the folder `target` hold images/, joints.mat and README.txt: whole, or not at all.

    archive: a zip file or a folder to take in place of the mirrors; relative to the main
    repository. here: a folder that may hold the data set; where it does not, it is said, and the
    mirrors are asked; nothing in it changes. partial: folder of the unfinished downloads, to be
    continued by the next run; outside `target`. expected: digests by name, those of manifest()
    unless given. timeout, pause: seconds of silence that end an attempt; seconds before the second
    one.

    Raises DownloadError, with the reason of every failed attempt.
    """
    target = Path(target).absolute()
    expected = manifest() if expected is None else expected
    try:
        partial.mkdir(parents=True, exist_ok=True)
        with _alone(partial):
            with written_whole(target) as folder:
                if archive:
                    _from_copy(main_root() / Path(archive).expanduser(), folder, expected)
                elif not (here and _from_here(here, folder, expected)):
                    _from_mirrors(mirrors, partial, folder, expected, timeout, pause)
            for leftover in [*partial.glob("*.zip"), *partial.glob("*.tag")]:
                leftover.unlink()
    except OSError as error:
        raise DownloadError(f"{target}: a file could not be read or written: {error}") from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process works on the partial files: parallel experiments share them."""
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print("Waiting for another run that is downloading.", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _from_copy(path: Path, folder: Path, expected: Mapping[str, str]) -> None:
    try:
        if not path.exists():
            raise DownloadError("no such file or folder")
        if path.is_dir():
            _place(_folder_sources(path), folder, expected)
        elif not path.is_file():  # of a pipe or a device there may be no end
            raise DownloadError("neither a file nor a folder")
        else:
            _place_archive(path, folder, expected)
    except DownloadError as error:
        raise DownloadError(
            f"LSPET_ARCHIVE is set to {path}: {error}. Correct it, or unset it."
        ) from None


def _from_here(path: Path, folder: Path, expected: Mapping[str, str]) -> bool:
    """Take the data set from a folder, if it is there and whole."""
    if not path.is_dir():
        return False
    try:
        _place(_folder_sources(path), folder, expected)
    except DownloadError as error:
        print(f"{path} is not taken, and left as it is: {error}", file=sys.stderr)
        return False
    return True


def _from_mirrors(
    mirrors: Iterable[str],
    partial: Path,
    folder: Path,
    expected: Mapping[str, str],
    timeout: float,
    pause: float,
) -> None:
    reasons = []
    for url in mirrors:
        body = partial / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.zip"
        try:
            download(url, body, timeout, pause)
            try:
                _place_archive(body, folder, expected)
            except DownloadError:
                body.unlink()  # whole, but wrong: continuing it would never help
                raise
            return
        except DownloadError as error:
            reasons.append(f"  {url}: {error}")
            print(f"{url}: {error}", file=sys.stderr)
    raise DownloadError("\n".join(["LSPet could not be had from any mirror.", *reasons, ADVICE]))


def _place_archive(path: Path, folder: Path, expected: Mapping[str, str]) -> None:
    try:
        archive = zipfile.ZipFile(path)
    except CORRUPT:
        raise DownloadError(f"expected a zip archive, but {_kind(path)} came") from None
    with archive:
        _place(_archive_sources(archive), folder, expected)


def _kind(path: Path) -> str:
    with open(path, "rb") as file:
        head = file.read(1024).lower()
    size = f"{file_size(path):,} bytes"
    if b"<html" in head or b"<!doctype html" in head:
        return f"an HTML page of {size}"
    return (
        f"a truncated or corrupt one of {size}"
        if head.startswith(b"pk")
        else f"something else of {size}"
    )


def _archive_sources(archive: zipfile.ZipFile) -> Sources:
    members = {}
    for info in archive.infolist():
        parts = PurePosixPath(info.filename).parts
        # A backslash separates, and a colon names a drive, for some of the programs that make
        # archives.
        if (
            info.filename.startswith("/")
            or ".." in parts
            or re.search(r"\\|^[A-Za-z]:", info.filename)
        ):
            raise DownloadError(
                f"the archive's member {shown(info.filename)} would leave the folder"
            )
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DownloadError(
                f"the archive's member {shown(info.filename)} is a link, expected a file"
            )
        if parts and not info.is_dir():  # of a name that is empty zipfile cannot tell
            members[str(PurePosixPath(*parts))] = partial(_member, archive, info)
    return _without_top(members)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        _refuse_large(f"the archive's member {shown(info.filename)}", info.file_size, LARGEST)
        with archive.open(info) as file:  # which ends at file_size
            while chunk := file.read(CHUNK):
                yield chunk
    except CORRUPT as error:
        raise DownloadError(
            f"the archive is corrupt at {shown(info.filename)}: {brief(error)}"
        ) from None


def _folder_sources(folder: Path) -> Sources:
    files = [
        *folder.glob("*"),
        *folder.glob("images/*"),
        *folder.glob("*/*"),
        *folder.glob("*/images/*"),
    ]
    return _without_top(
        {
            path.relative_to(folder).as_posix(): partial(_file, path)
            for path in files
            if path.is_file()  # no pipe and no device, which may never end
        }
    )


def _file(path: Path) -> Iterator[bytes]:
    _refuse_large(str(path), path.stat().st_size, LARGEST)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _refuse_large(what: str, size: int, most: int) -> None:
    """Raise DownloadError where something has more bytes than it may have."""
    if size > most:
        raise DownloadError(f"{what} has {size:,} bytes, expected at most {most:,}")


def _without_top(sources: Sources) -> Sources:
    """The same, named from the folder that joints.mat lies in: the root, or one folder in it."""
    tops = [
        name.removesuffix("joints.mat")
        for name in sources
        if re.fullmatch(r"([^/]+/)?joints\.mat", name)
    ]
    if not tops:
        raise DownloadError("joints.mat is missing, expected at the top or in one folder there")
    top = min(tops, key=len)
    return {name.removeprefix(top): read for name, read in sources.items() if name.startswith(top)}


def _place(sources: Sources, folder: Path, expected: Mapping[str, str]) -> None:
    """Write what is expected, and nothing else, to the new `folder`; refuse if anything differs."""
    images = {name for name in sources if re.fullmatch(r"images/[^/]+\.jpg", name)}
    _refuse("missing", expected.keys() - sources.keys(), expected)
    _refuse("not in the data set", images - expected.keys(), expected)
    shutil.rmtree(folder, ignore_errors=True)  # of the mirror before
    (folder / "images").mkdir(parents=True)
    altered, size = [], 0
    for name, digest in expected.items():
        found = hashlib.sha256()
        with open(folder / name, "wb") as file:
            for chunk in sources[name]():
                size += len(chunk)
                _refuse_large("what has been read so far", size, MOST)
                found.update(chunk)
                file.write(chunk)
        if found.hexdigest() != digest:
            altered.append(name)
    _refuse("other than published (SHA-256 differs)", altered, expected)
    shutil.copyfile(DESCRIPTION, folder / "README.txt")


def _refuse(what: str, names: Iterable[str], expected: Mapping[str, str]) -> None:
    """Raise DownloadError if there are any `names`, with their count and the first few."""
    names = sorted(names)
    if names:
        some = ", ".join(map(brief, names[:3])) + (", ..." if len(names) > 3 else "")
        raise DownloadError(
            f"of {len(expected):,} expected files, {len(names):,} are {what}: {some}"
        )
