"""A trained model at an address: fetched once, checked, kept."""

import logging
import re
from pathlib import Path
from urllib.parse import urldefrag

import pooch
from requests import RequestException

from pipeline import paths
from pipeline.errors import PipelineError, brief

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
DIGEST = re.compile(r"sha256=([0-9a-f]{64})")
SUMS = "SHA256SUMS"  # of the files beside it, as `sha256sum` writes them
FILES = tuple(path.name for path in (paths.JUDGEMENT, paths.FINDER, paths.WEIGHTS))
LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def located(text: str) -> Path:
    """A path as it is; what is at an address as `fetched` brings it. Raises PipelineError."""
    return fetched(text) if ADDRESS.match(text) else Path(text)


def fetched(address: str) -> Path:
    """The weights of a model at an address, on this machine, with finder and judgement beside them.

    address: http(s)://HOST/FOLDER#sha256=HEX: a folder such as pretrained/, and the digest of its
    SHA256SUMS, which has those of the files. They are kept in the user's cache by this digest, so
    that they are fetched once. Raises PipelineError.
    """
    folder, fragment = urldefrag(address)
    digest = DIGEST.fullmatch(fragment)
    if not folder.lower().startswith(("https://", "http://")) or not digest:
        raise PipelineError(
            f"{brief(address)}: expected https://.../FOLDER#sha256=DIGEST, a folder of"
            f" {', '.join(FILES)} and {SUMS}, and the SHA-256 of the last"
        )
    kept = pooch.os_cache("adversarial-posenet") / digest[1]
    sums = _file(folder, SUMS, digest[1], kept).read_text("utf-8")
    known = {name: sha256 for sha256, name in LINE.findall(sums)}
    if missing := [name for name in FILES if name not in known]:
        raise PipelineError(f"{folder}/{SUMS}: names no {', '.join(missing)}")
    for name in FILES:
        weights = _file(folder, name, known[name], kept)
    return weights


def _file(folder: str, name: str, sha256: str, kept: Path) -> Path:
    logging.getLogger("pooch").setLevel(logging.WARNING)
    url = f"{folder.rstrip('/')}/{name}"
    try:
        bar = name.endswith(".safetensors")
        return Path(pooch.retrieve(url, f"sha256:{sha256}", name, kept, progressbar=bar))
    except (RequestException, OSError) as error:
        raise PipelineError(f"{url}: not fetched: {brief(error)}") from None
    except ValueError:  # pooch has deleted it
        raise PipelineError(f"{url}: not the file whose SHA-256 is {sha256}") from None
