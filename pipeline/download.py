"""Bring LSPet into a folder, whole and verified, from whichever place still has it.

The addresses that LSPet was published at are dead or unreliable, so nothing that comes from one is
believed: every image and joints.mat must match `lspet.sha256.xz` (the text that `sha256sum -c` takes),
and the folder has the same bytes whichever way it came.
"""

import contextlib
import fcntl
import hashlib
import lzma
import re
import shutil
import stat
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from time import sleep
from urllib.parse import urlsplit

import requests
from tqdm import tqdm

from pipeline import PipelineError
from pipeline.settings import main_root

MIRRORS = (
    "https://sam.johnson.io/research/lspet_dataset.zip",
    # The commit before this one holds recompressed images.
    "https://github.com/axelcarlier/lsp/archive/8fabf3183516b1be5f9d44bd1c516609637e983e.zip",
)
MANIFEST = Path(__file__).with_name("lspet.sha256.xz")
README = Path(__file__).with_name("lspet_readme.txt")
ADVICE = (
    "Set LSPET_ARCHIVE to a copy that you have (lspet_dataset.zip, or the folder that it unpacks to)"
    " and run this again."
)
ATTEMPTS = 3  # in a row without a new byte, at one mirror
CHUNK = 2**14  # bytes; of a broken connection, the chunk that was not filled is lost
CORRUPT = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError)

Sources = Mapping[str, Callable[[], Iterable[bytes]]]  # name in the data set: reads its bytes


class DownloadError(PipelineError):
    """The data set could not be had; the message says what, where, what was expected and what came."""


def manifest() -> dict[str, str]:
    """SHA-256, in hexadecimal digits, of joints.mat and of each of the 10,000 images, by name."""
    lines = lzma.decompress(MANIFEST.read_bytes()).decode().splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    # Mirrors disagree on README.txt, which no result depends on: it is written from the committed text.
    del sums["README.txt"]
    return sums


def fetch_lspet(
    target: Path,
    *,
    partial: Path,
    archive: str | None = None,
    mirrors: Iterable[str] = MIRRORS,
    expected: Mapping[str, str] | None = None,
    timeout: float = 30.0,
    pause: float = 1.0,
) -> None:
    """Make the folder `target` hold images/, joints.mat and README.txt: whole, or not at all.

    archive: a zip file or a folder to take in place of the mirrors; relative to the main repository.
    partial: folder of the unfinished downloads, to be continued by the next run; outside `target`.
    expected: digests by name, those of manifest() unless given.
    timeout, pause: seconds of silence that end an attempt; seconds before the second one.

    Raises DownloadError, with the reason of every failed attempt.
    """
    target = Path(target).absolute()
    expected = manifest() if expected is None else expected
    work = target.with_name(f".{target.name}.unfinished")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(partial), _emptied(work):
            if archive:
                _from_copy(main_root() / Path(archive).expanduser(), work / "new", expected)
            else:
                _from_mirrors(mirrors, partial, work / "new", expected, timeout, pause)
            if target.exists():
                target.rename(work / "old")  # a folder can only be renamed to a free name
            (work / "new").rename(target)
            for leftover in [*partial.glob("*.zip"), *partial.glob("*.tag")]:
                leftover.unlink()
    except OSError as error:
        raise DownloadError(f"{target}: a file could not be read or written: {error}") from error


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process works on the partial files: parallel experiments share them."""
    with open(folder / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another run that is downloading.", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    """A new folder, and no folder afterwards; what a killed run left there is removed first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _from_copy(path: Path, folder: Path, expected: Mapping[str, str]) -> None:
    try:
        if not path.exists():
            raise DownloadError("no such file or folder")
        if path.is_dir():
            _place(_folder_sources(path), folder, expected)
        else:
            _place_archive(path, folder, expected)
    except DownloadError as error:
        raise DownloadError(f"LSPET_ARCHIVE is set to {path}: {error}. Correct it, or unset it.") from None


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
            _download(url, body, timeout, pause)
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


# Download


def _download(url: str, body: Path, timeout: float, pause: float) -> None:
    """Make the file `body` the whole resource, continuing what is there if it is a part of the same one."""
    best, failures = _size(body), 0
    while True:
        try:
            return _attempt(url, body, timeout)
        except requests.RequestException as error:
            failures = 1 if _size(body) > best else failures + 1
            best = max(best, _size(body))
            if failures >= ATTEMPTS:
                raise DownloadError(f"{_reason(error)} ({ATTEMPTS} attempts in a row)") from error
        sleep(pause * 2 ** (failures - 1))


def _attempt(url: str, body: Path, timeout: float) -> None:
    """One request. Raises DownloadError if another is of no use, else requests.RequestException."""
    tag = body.with_suffix(".tag")  # holds what the server calls this version of the resource
    have = _size(body) if tag.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag.read_text()}
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
        version, length = _version_and_length(response)
        if response.status_code == 206:
            if not have or version != tag.read_text() or _first_byte(response) != have:
                tag.unlink(missing_ok=True)
                raise requests.RequestException("the file changed while it was downloaded")
        elif response.status_code == 200:
            have = 0
            # In this order, so that a kill in between cannot leave old bytes under the new version.
            tag.unlink(missing_ok=True)
            body.write_bytes(b"")
            if version:
                tag.write_text(version)
        elif response.status_code == 416:
            tag.unlink(missing_ok=True)
            raise requests.RequestException("answers 416, what is here is no part of it")
        elif response.status_code in (408, 429) or response.status_code >= 500:
            raise requests.RequestException(f"answers {response.status_code} {response.reason}")
        else:
            raise DownloadError(f"answers {response.status_code} {response.reason}")
        total = have + length if length is not None else None
        _receive(response, body, have, total)
    if total is not None and _size(body) != total:
        raise requests.RequestException(f"cut off after {_size(body):,} of {total:,} bytes")


def _receive(response: requests.Response, body: Path, have: int, total: int | None) -> None:
    """Append the response's bytes to `body`, and show how far it is."""
    calm = 0.2 if sys.stderr.isatty() else 30  # s between two lines, so that a log does not fill with them
    name = urlsplit(response.url).netloc
    with (
        open(body, "ab") as file,
        tqdm(desc=name, total=total, initial=have, unit="B", unit_scale=True, mininterval=calm) as bar,
    ):
        for chunk in response.iter_content(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))


def _version_and_length(response: requests.Response) -> tuple[str, int | None]:
    """What identifies these exact bytes ("" if nothing does), and how many are to come, if it is said."""
    if "Content-Encoding" in response.headers:  # the stored bytes are then not those that are counted
        return "", None
    version = response.headers.get("ETag", "W/")
    if version.startswith("W/"):  # a weak one promises the same meaning, not the same bytes
        version = response.headers.get("Last-Modified", "")
    length = response.headers.get("Content-Length", "")
    return version, int(length) if length.isdecimal() else None


def _first_byte(response: requests.Response) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: BaseException) -> str:
    """What the innermost exception says: the outer ones bury it in names of connection pools."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    inner = error
    while inner.__cause__ or inner.__context__:
        inner = inner.__cause__ or inner.__context__
    return str(error) if inner is error else f"the connection failed: {inner}"


# Contents


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
    size = f"{_size(path):,} bytes"
    if b"<html" in head or b"<!doctype html" in head:
        return f"an HTML page of {size}"
    return f"a truncated or corrupt one of {size}" if head.startswith(b"pk") else f"something else of {size}"


def _archive_sources(archive: zipfile.ZipFile) -> Sources:
    members = {}
    for info in archive.infolist():
        parts = PurePosixPath(info.filename).parts
        # A backslash separates, and a colon names a drive, for some of the programs that make archives.
        if info.filename.startswith("/") or ".." in parts or re.search(r"\\|^[A-Za-z]:", info.filename):
            raise DownloadError(f"the archive's member {info.filename!r} would leave the folder")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DownloadError(f"the archive's member {info.filename!r} is a link, expected a file")
        if not info.is_dir():
            members[str(PurePosixPath(*parts))] = lambda info=info: _member(archive, info)
    return _without_top(members)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(info) as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except CORRUPT as error:
        raise DownloadError(f"the archive is corrupt at {info.filename!r}: {error}") from None


def _folder_sources(folder: Path) -> Sources:
    files = [*folder.glob("*"), *folder.glob("images/*"), *folder.glob("*/*"), *folder.glob("*/images/*")]
    return _without_top(
        {path.relative_to(folder).as_posix(): lambda path=path: [path.read_bytes()] for path in files}
    )


def _without_top(sources: Sources) -> Sources:
    """The same, named from the folder that joints.mat lies in: the root, or one folder in it."""
    tops = [
        name.removesuffix("joints.mat") for name in sources if re.fullmatch(r"([^/]+/)?joints\.mat", name)
    ]
    if not tops:
        raise DownloadError("joints.mat is missing, expected at the top or in one folder there")
    top = min(tops, key=len)
    return {name.removeprefix(top): read for name, read in sources.items() if name.startswith(top)}


def _place(sources: Sources, folder: Path, expected: Mapping[str, str]) -> None:
    """Write what is expected into the new `folder`, and nothing else; refuse if anything differs."""
    images = {name for name in sources if re.fullmatch(r"images/[^/]+\.jpg", name)}
    _refuse("missing", expected.keys() - sources.keys(), expected)
    _refuse("not in the data set", images - expected.keys(), expected)
    shutil.rmtree(folder, ignore_errors=True)  # of the mirror before
    (folder / "images").mkdir(parents=True)
    altered = []
    for name, digest in expected.items():
        found = hashlib.sha256()
        with open(folder / name, "wb") as file:
            for chunk in sources[name]():
                found.update(chunk)
                file.write(chunk)
        if found.hexdigest() != digest:
            altered.append(name)
    _refuse("other than published (SHA-256 differs)", altered, expected)
    shutil.copyfile(README, folder / "README.txt")


def _refuse(what: str, names: Iterable[str], expected: Mapping[str, str]) -> None:
    """Raise DownloadError if there are any `names`, with their count and the first few."""
    names = sorted(names)
    if names:
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise DownloadError(f"of {len(expected):,} expected files, {len(names):,} are {what}: {shown}")
