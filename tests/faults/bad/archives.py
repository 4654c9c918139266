"""Archives and folders that LSPET_ARCHIVE may name by mistake, or by malice.

Each way writes to a free place; what it writes is LSPet by its names, though not by its bytes.
"""

import io
import os
import stat
import struct
import tarfile
import warnings
import zipfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np

from faults.bad import damage
from pipeline.sources.lspet import manifest

LARGE = 60_000_000  # bytes of a member, below what a single one may have
MANY = 40  # of them, more than all of LSPet


@cache
def whole() -> bytes:
    """A zip file with all of LSPet's names, a few bytes each."""
    return zipped({name: name.encode() for name in names()})


@cache
def names() -> list[str]:
    """All of LSPet's."""
    return list(manifest())


@cache
def zeros(size: int) -> tuple[bytes, int]:
    """So many zeros, deflated, and their CRC."""
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeezed.compress(bytes(size)) + squeezed.flush(), zlib.crc32(bytes(size))


def zipped(members: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def with_member(name: str, content: bytes = b"-", mode: int = 0o100644) -> bytes:
    """The whole and one more."""
    buffer = io.BytesIO(whole())
    with zipfile.ZipFile(buffer, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there twice
        info = zipfile.ZipInfo("placeholder")
        info.filename, info.external_attr = name, mode << 16
        archive.writestr(info, content)
    return buffer.getvalue()


def record(name: str, content: bytes, size: int, crc: int, flags: int = 0, method: int = 8):
    """A member's local header and content, and the fields that its central one shares."""
    fields = struct.pack("<HHHHHIIIHH", 20, flags, method, 0, 33, crc, len(content), size,
                         len(name), 0)  # fmt: skip
    return b"PK\x03\x04" + fields + name.encode() + content, fields


def by_hand(records: list[tuple[str, bytes, bytes, int | None]]) -> bytes:
    """A zip file of records (name, local header and content, fields, place or None: the next)."""
    body, central, size = [], [], 0
    for name, local, fields, place in records:
        start = struct.pack("<I", size if place is None else place)
        head = b"PK\x01\x02" + struct.pack("<H", 20) + fields
        central.append(head + bytes(10) + start + name.encode())
        if place is None:
            body.append(local)
            size += len(local)
    listed = b"".join(central)
    end = struct.pack("<HHHHIIH", 0, 0, len(records), len(records), len(listed), size, 0)
    return b"".join([*body, listed, b"PK\x05\x06", end])


def damaged(place: Path, rng: np.random.Generator) -> None:
    place.write_bytes(damage.damaged(whole(), rng))


def damaged_list(place: Path, rng: np.random.Generator) -> None:
    """Its central directory, which says what is where."""
    content = whole()
    first = content.index(b"PK\x01\x02")
    place.write_bytes(content[:first] + damage.damaged(content[first:], rng))


def damaged_end(place: Path, rng: np.random.Generator) -> None:
    place.write_bytes(whole()[:-22] + damage.flipped(whole()[-22:], rng))


def names_that_leave(place: Path, rng: np.random.Generator) -> None:
    odd = (
        *("/etc/slipped", "../slipped", "images/../../slipped", "..\\slipped", "C:\\slipped"),
        *("c:slipped", "//host/slipped", "\\slipped", "./../slipped", "images/..", ".."),
    )
    place.write_bytes(with_member(odd[int(rng.integers(len(odd)))]))


def odd_names(place: Path, rng: np.random.Generator) -> None:
    odd = (
        *("images/im\x1b[2J.jpg", "images/im\nerror.jpg", "images/im" + "x" * 60_000 + ".jpg"),
        *("images/im00001.jpg/", "", ".", "images", "joints.mat/deeper", "images/é\u202e.jpg"),
        *("IMAGES/IM00001.JPG", "images/CON.jpg", "images/im00001.jpg ", "images/im:1.jpg"),
    )
    place.write_bytes(with_member(odd[int(rng.integers(len(odd)))]))


def links_and_devices(place: Path, rng: np.random.Generator) -> None:
    kinds = (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFDIR)
    mode = kinds[int(rng.integers(len(kinds)))] | 0o777
    place.write_bytes(with_member("images/im00001.jpg", b"/etc/passwd", mode))


def doubled_names(place: Path, rng: np.random.Generator) -> None:
    name = ("joints.mat", "images/im00007.jpg")[int(rng.integers(2))]
    place.write_bytes(with_member(name, rng.bytes(40)))


def member_that_is_large(place: Path, rng: np.random.Generator) -> None:
    content, crc = zeros(200_000_000)
    local, fields = record("joints.mat", content, 200_000_000, crc)
    others = _others("joints.mat")
    place.write_bytes(by_hand([*others, ("joints.mat", local, fields, None)]))


def member_that_claims_little(place: Path, rng: np.random.Generator) -> None:
    content, crc = zeros(200_000_000)
    local, fields = record("joints.mat", content, 1000, crc)
    place.write_bytes(by_hand([*_others("joints.mat"), ("joints.mat", local, fields, None)]))


def member_that_claims_much(place: Path, rng: np.random.Generator) -> None:
    local, fields = record("joints.mat", b"\x03\x00", 2**32 - 2, 0)
    place.write_bytes(by_hand([*_others("joints.mat"), ("joints.mat", local, fields, None)]))


def many_that_are_large(place: Path, rng: np.random.Generator) -> None:
    """Each no larger than a single one may be, together more than any disk has to spare."""
    content, crc = zeros(LARGE)
    some = names()[:MANY]
    large = [(name, *record(name, content, LARGE, crc), None) for name in some]
    place.write_bytes(by_hand(large + _others(*some)))


def many_over_one(place: Path, rng: np.random.Generator) -> None:
    """All members are the same place of the file."""
    content, crc = zeros(LARGE)
    first, *rest = (name for name in names() if name != "joints.mat")
    local, fields = record(first, content, LARGE, crc)
    same = [(name, b"", fields, 0) for name in rest]
    last = ("joints.mat", *record("joints.mat", b"", 0, 0, method=0), None)
    place.write_bytes(by_hand([(first, local, fields, None), *same, last]))


def encrypted(place: Path, rng: np.random.Generator) -> None:
    local, fields = record("joints.mat", bytes(40), 28, 0, flags=1, method=0)
    place.write_bytes(by_hand([*_others("joints.mat"), ("joints.mat", local, fields, None)]))


def odd_methods(place: Path, rng: np.random.Generator) -> None:
    method = int(rng.choice([1, 9, 12, 14, 93, 97, 99, 255]))
    local, fields = record("joints.mat", rng.bytes(40), 40, 0, method=method)
    place.write_bytes(by_hand([*_others("joints.mat"), ("joints.mat", local, fields, None)]))


def nested(place: Path, rng: np.random.Generator) -> None:
    choice = int(rng.integers(3))
    if choice == 0:
        place.write_bytes(zipped({"lspet.zip": whole()}))
    elif choice == 1:
        place.write_bytes(zipped({f"a/b/{name}": b"-" for name in names()}))
    else:
        place.write_bytes(zipped({f"{top}/joints.mat": b"-" for top in "abc"}))


def no_zip(place: Path, rng: np.random.Generator) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("joints.mat"))
    whole = (
        *(b"", b"\n", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), rng.bytes(5000), bytes(5000)),
        *(b"<!DOCTYPE html><title>Moved</title>" * 99, b"Not found", packed.getvalue()),
        *(b"7z\xbc\xaf\x27\x1c" + bytes(99), b"version https://git-lfs.github.com/spec/v1\n"),
    )
    place.write_bytes(whole[int(rng.integers(len(whole)))])


def folders(place: Path, rng: np.random.Generator) -> None:
    """Folders with LSPet's names, one of which is something else."""
    (place / "images").mkdir(parents=True)
    one = place.with_name("one")
    one.write_bytes(b"-")
    for name in names():
        os.link(one, place / name)
    odd = place / ("joints.mat", "images/im00003.jpg")[int(rng.integers(2))]
    odd.unlink()
    choice = int(rng.integers(8))
    if choice == 0:
        os.mkfifo(odd)
    elif choice == 1:
        odd.symlink_to("/dev/zero")
    elif choice == 2:
        odd.symlink_to(odd.name)
    elif choice == 3:
        odd.mkdir()
    elif choice == 4:
        with odd.open("wb") as file:
            file.truncate(2**40)  # nothing but a hole
    elif choice == 5:
        odd.symlink_to("../../nowhere")
    elif choice == 6:
        (place / "images/loop").symlink_to("..")


def other_places(place: Path, rng: np.random.Generator) -> None:
    """What is neither a file nor a folder, or is not there."""
    choice = int(rng.integers(5))
    if choice == 0:
        os.mkfifo(place)
    elif choice == 1:
        place.symlink_to("/dev/zero")
    elif choice == 2:
        place.symlink_to(place.name)
    elif choice == 3:
        place.mkdir()


def _others(*left_out: str) -> list[tuple[str, bytes, bytes, None]]:
    """All members but some, empty."""
    wanted = (name for name in names() if name not in left_out)
    return [(name, *record(name, b"", 0, 0, method=0), None) for name in wanted]


WAYS = (
    *(damaged, damaged, damaged, damaged_list, damaged_list, damaged_end, names_that_leave),
    *(names_that_leave, odd_names, odd_names, links_and_devices, doubled_names),
    *(member_that_is_large, member_that_claims_little, member_that_claims_much),
    *(many_that_are_large, many_over_one, encrypted, odd_methods, nested, no_zip, no_zip),
    *(folders, folders, other_places),
)
