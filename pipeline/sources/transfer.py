"""Bring a file from an address, whole, continuing what an earlier attempt left."""

import re
import sys
from pathlib import Path
from time import sleep
from urllib.parse import urlsplit

import requests
from tqdm import tqdm

from pipeline.errors import PipelineError

ATTEMPTS = 3  # in a row without a new byte, at one address
CHUNK = 2**14  # bytes; of a broken connection, the chunk that was not filled is lost


class DownloadError(PipelineError):
    """The data set could not be had; the message says what, where, what was expected, what came."""


def download(url: str, body: Path, timeout: float, pause: float) -> None:
    """Make the file `body` the whole resource; continue what is there if it is part of the same."""
    best, failures = file_size(body), 0
    while True:
        try:
            return _attempt(url, body, timeout)
        except requests.RequestException as error:
            failures = 1 if file_size(body) > best else failures + 1
            best = max(best, file_size(body))
            if failures >= ATTEMPTS:
                raise DownloadError(f"{_reason(error)} ({ATTEMPTS} attempts in a row)") from error
        sleep(pause * 2 ** (failures - 1))


def _attempt(url: str, body: Path, timeout: float) -> None:
    """One request. Raises DownloadError if another is of no use, else requests.RequestException."""
    tag = body.with_suffix(".tag")  # holds what the server calls this version of the resource
    have = file_size(body) if tag.exists() else 0
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
    if total is not None and file_size(body) != total:
        raise requests.RequestException(f"cut off after {file_size(body):,} of {total:,} bytes")


def _receive(response: requests.Response, body: Path, have: int, total: int | None) -> None:
    """Append the response's bytes to `body`, and show how far it is."""
    calm = (
        0.2 if sys.stderr.isatty() else 30
    )  # s between two lines, so that a log does not fill with them
    name = urlsplit(response.url).netloc
    with (
        open(body, "ab") as file,
        tqdm(
            desc=name, total=total, initial=have, unit="B", unit_scale=True, mininterval=calm
        ) as bar,
    ):
        for chunk in response.iter_content(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))


def _version_and_length(response: requests.Response) -> tuple[str, int | None]:
    """What identifies these exact bytes ("" if nothing does), and how many are to come, if said."""
    if (
        "Content-Encoding" in response.headers
    ):  # the stored bytes are then not those that are counted
        return "", None
    version = response.headers.get("ETag", "W/")
    if version.startswith("W/"):  # a weak one promises the same meaning, not the same bytes
        version = response.headers.get("Last-Modified", "")
    length = response.headers.get("Content-Length", "")
    return version, int(length) if length.isdecimal() else None


def _first_byte(response: requests.Response) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def file_size(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def _reason(error: BaseException) -> str:
    """What the innermost exception says: the outer ones bury it in names of connection pools."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    inner = error
    while cause := inner.__cause__ or inner.__context__:
        inner = cause
    return str(error) if inner is error else f"the connection failed: {inner}"
