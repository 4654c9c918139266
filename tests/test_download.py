"""The download against a real server on this machine that misbehaves, and against real archives."""

import hashlib
import io
import lzma
import os
import random
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from conftest import LSPET, ROOT
from pipeline.sources import lspet
from pipeline.sources.lspet import DESCRIPTION, MANIFEST, MIRRORS, fetch_lspet, manifest
from pipeline.sources.transfer import CHUNK, DownloadError

_noise = random.Random(0)
FILES = {f"images/im{index:05d}.jpg": _noise.randbytes(150_000) for index in range(1, 5)}
FILES["joints.mat"] = _noise.randbytes(5_000)
EXPECTED = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
OUTPUT = FILES | {"README.txt": DESCRIPTION.read_bytes()}
EXTRA = {"README.txt": b"another text", "image_resize.ipynb": b"{}", "images/notes.txt": b"-"}


def zipped(files: dict[str, bytes], top: str = "") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            # One fixed time: the archive's bytes must not depend on when they are made.
            archive.writestr(zipfile.ZipInfo(top + name, (2020, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()


GOOD = zipped(FILES | EXTRA)
CUT = 24 * CHUNK  # bytes of GOOD that arrive before a connection breaks


class Server(ThreadingHTTPServer):
    """Answers path P with routes[P](handler), and keeps the headers of every request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.routes, self.seen, self.sent = {}, [], []

    def add(self, path: str, *answers) -> str:
        """Give the answers one after the other, the last one for ever. Returns the address."""
        queue = list(answers)
        self.routes[path] = lambda handler: (queue.pop(0) if len(queue) > 1 else queue[0])(handler)
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.seen.append(dict(self.headers))
        self.server.sent.append(0)
        try:
            self.server.routes[self.path](self)
        except OSError:  # the client left
            pass

    def log_message(self, *_) -> None:
        pass


def serves(
    body=GOOD,
    *,
    etag='"one"',
    modified=None,
    ranges=True,
    length=True,
    cut=None,
    kind="application/zip",
):
    """An answer with `body`, of which only the first `cut` bytes arrive before the connection
    ends."""

    def answer(handler: Handler) -> None:
        wanted, condition = handler.headers.get("Range"), handler.headers.get("If-Range")
        start = 0
        if ranges and wanted and condition in (None, etag, modified):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        for name, value in {"ETag": etag, "Last-Modified": modified, "Content-Type": kind}.items():
            if value:
                handler.send_header(name, value)
        if length:
            handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        part = body[start:cut]
        handler.server.sent[-1] = len(part)  # before the client has it, and asks what was sent
        handler.wfile.write(part)

    return answer


def status(code: int):
    return lambda handler: handler.send_error(code)


def hangs(handler: Handler) -> None:
    time.sleep(3)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def fetch(tmp_path):
    """fetch(addresses...) into data/dataset."""

    def run(*mirrors: str, **options) -> None:
        options = {"timeout": 5.0, "pause": 0.01, "expected": EXPECTED} | options
        fetch_lspet(
            tmp_path / "data" / "dataset", partial=tmp_path / "partial", mirrors=mirrors, **options
        )

    return run


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def parts(tmp_path: Path) -> list[int]:
    """Sizes of the unfinished downloads, bytes."""
    return [path.stat().st_size for path in (tmp_path / "partial").glob("*.zip")]


def assert_whole(tmp_path: Path) -> None:
    """The data set is there, byte for byte, and nothing else is."""
    assert contents(tmp_path / "data" / "dataset") == OUTPUT
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["dataset"]
    assert [path.name for path in (tmp_path / "partial").iterdir()] == ["lock"]


def assert_refused(tmp_path: Path, fetch, address: str, *words: str) -> None:
    """It is refused for the reason said, with nothing left in the data folder."""
    with pytest.raises(DownloadError) as caught:
        fetch(address)
    message = str(caught.value)
    for word in (address, "LSPET_ARCHIVE", *words):
        assert word in message
    assert list((tmp_path / "data").iterdir()) == []


# What the server does


@pytest.mark.parametrize("top", ["", "lsp-8fabf31/"])
def test_good_archive_with_or_without_a_top_folder(tmp_path, server, fetch, top):
    fetch(server.add("/a.zip", serves(zipped(FILES | EXTRA, top))))
    assert_whole(tmp_path)
    assert len(server.seen) == 1


def test_html_page_in_place_of_the_archive(tmp_path, server, fetch):
    page = b"<!DOCTYPE html><html><body>This site has moved.</body></html>"
    address = server.add("/a.zip", serves(page, kind="text/html"))
    assert_refused(tmp_path, fetch, address, "expected a zip archive", "an HTML page of 61 bytes")
    assert parts(tmp_path) == []


def test_404_is_not_tried_again(tmp_path, server, fetch):
    assert_refused(tmp_path, fetch, server.add("/a.zip", status(404)), "404")
    assert len(server.seen) == 1


def test_500_is_tried_again(tmp_path, server, fetch):
    fetch(server.add("/a.zip", status(500), status(503), serves()))
    assert_whole(tmp_path)
    assert len(server.seen) == 3


def test_500_for_ever_ends(tmp_path, server, fetch):
    assert_refused(tmp_path, fetch, server.add("/a.zip", status(500)), "500", "3 attempts")
    assert len(server.seen) == 3


def test_hang_ends_in_time(tmp_path, server, fetch):
    address = server.add("/a.zip", hangs)
    start = time.monotonic()
    with pytest.raises(DownloadError, match="no answer in time"):
        fetch(address, timeout=0.2)
    assert time.monotonic() - start < 2.5


def test_nobody_listens(tmp_path, server, fetch):
    assert_refused(tmp_path, fetch, "http://127.0.0.1:9/a.zip", "refused")


# Broken off and continued


@pytest.mark.parametrize(
    "version", [{"etag": '"one"'}, {"etag": None, "modified": "Sat, 01 Feb 2020 00:00:00 GMT"}]
)
def test_broken_connection_is_continued(tmp_path, server, fetch, version):
    fetch(server.add("/a.zip", serves(cut=CUT, **version), serves(**version)))
    assert_whole(tmp_path)
    assert server.seen[1]["Range"] == f"bytes={CUT}-"
    assert server.seen[1]["If-Range"] in version.values()
    assert server.sent == [CUT, len(GOOD) - CUT]


def test_next_run_continues(tmp_path, server, fetch):
    cut = serves(cut=CUT)
    address = server.add("/a.zip", cut, status(500), status(500), status(500), serves())
    assert_refused(tmp_path, fetch, address, "500")
    assert parts(tmp_path) == [CUT]
    fetch(address)
    assert_whole(tmp_path)
    assert server.sent[-1] == len(GOOD) - CUT


def test_killed_process_leaves_its_part_and_nothing_else(tmp_path, server, fetch):
    def stalls(handler: Handler) -> None:
        serves(cut=CUT)(handler)
        time.sleep(10)

    address = server.add("/a.zip", stalls, serves())
    code = (
        "import sys; from pathlib import Path; from pipeline.sources.lspet import fetch_lspet;"
        "fetch_lspet(Path(sys.argv[1]), partial=Path(sys.argv[2]), mirrors=[sys.argv[3]],"
        "expected={})"
    )
    arguments = [str(tmp_path / "data" / "dataset"), str(tmp_path / "partial"), address]
    child = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + 20
    while not sum(parts(tmp_path)) and time.monotonic() < end:
        time.sleep(0.02)
    child.kill()
    child.wait()
    [have] = parts(tmp_path)
    assert 0 < have <= CUT
    assert not (tmp_path / "data" / "dataset").exists()
    fetch(address)
    assert_whole(tmp_path)
    assert server.seen[-1]["Range"] == f"bytes={have}-"


def test_changed_archive_is_not_glued_to_the_old_part(tmp_path, server, fetch):
    old = _noise.randbytes(len(GOOD))
    fetch(server.add("/a.zip", serves(old, etag='"old"', cut=CUT), serves(etag='"new"')))
    assert_whole(tmp_path)
    assert server.seen[1]["If-Range"] == '"old"'
    assert len(server.seen) == 2


def test_changed_archive_at_a_server_that_ignores_if_range(tmp_path, server, fetch):
    def ignores(handler: Handler) -> None:
        del handler.headers["If-Range"]
        serves(etag='"new"')(handler)

    old = _noise.randbytes(len(GOOD))
    fetch(server.add("/a.zip", serves(old, etag='"old"', cut=CUT), ignores))
    assert_whole(tmp_path)
    assert [seen.get("Range") for seen in server.seen] == [None, f"bytes={CUT}-", None]


@pytest.mark.parametrize("etag", [None, 'W/"one"'])
def test_unidentified_part_is_not_continued(tmp_path, server, fetch, etag):
    fetch(server.add("/a.zip", serves(etag=etag, cut=CUT), serves(etag=etag)))
    assert_whole(tmp_path)
    assert "Range" not in server.seen[1]


def test_server_without_ranges_starts_over(tmp_path, server, fetch):
    fetch(server.add("/a.zip", serves(ranges=False, cut=CUT), serves(ranges=False)))
    assert_whole(tmp_path)
    assert server.sent == [CUT, len(GOOD)]


def test_server_without_ranges_that_always_breaks_off_ends(tmp_path, server, fetch):
    address = server.add("/a.zip", serves(ranges=False, cut=CUT))
    assert_refused(tmp_path, fetch, address, "3 attempts")
    assert len(server.seen) <= 4


def test_connection_that_often_breaks_but_moves_on_gets_there(tmp_path, server, fetch):
    cuts = range(6 * CHUNK, len(GOOD), 6 * CHUNK)
    fetch(server.add("/a.zip", *(serves(cut=cut) for cut in cuts), serves()))
    assert_whole(tmp_path)
    assert sum(server.sent) == len(GOOD)


def test_416_starts_over(tmp_path, server, fetch):
    fetch(server.add("/a.zip", serves(cut=CUT), status(416), serves()))
    assert_whole(tmp_path)
    assert [seen.get("Range") for seen in server.seen] == [None, f"bytes={CUT}-", None]


def test_server_without_length(tmp_path, server, fetch):
    fetch(server.add("/a.zip", serves(length=False)))
    assert_whole(tmp_path)


def test_truncated_without_length_is_refused_and_dropped(tmp_path, server, fetch):
    address = server.add("/a.zip", serves(length=False, cut=CUT))
    assert_refused(tmp_path, fetch, address, "truncated or corrupt", f"{CUT:,} bytes")
    assert parts(tmp_path) == []


# What the archive holds


def flipped(name: str) -> bytes:
    """GOOD with one bit of one member's content turned over: its CRC no longer holds."""
    body = bytearray(GOOD)
    body[GOOD.index(FILES[name]) + 1000] ^= 1
    return bytes(body)


def linked() -> bytes:
    buffer = io.BytesIO(GOOD)
    with zipfile.ZipFile(buffer, "a") as archive:
        info = zipfile.ZipInfo("images/link.jpg")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "../../secret")
    return buffer.getvalue()


def test_a_pipe_or_a_device_among_the_files_of_a_folder_is_not_read(tmp_path, fetch):
    folder = tmp_path / "copy"
    for name, content in without(IMAGE).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    for make in (
        lambda: os.mkfifo(folder / IMAGE),
        lambda: (folder / IMAGE).symlink_to("/dev/zero"),
    ):
        make()
        with pytest.raises(DownloadError, match=f"1 are missing: {IMAGE}"):
            fetch(archive=str(folder))
        (folder / IMAGE).unlink()


def test_a_member_that_would_fill_the_disk_is_refused(tmp_path, fetch, monkeypatch):
    monkeypatch.setattr(lspet, "LARGEST", 100_000)
    (tmp_path / "large.zip").write_bytes(GOOD)
    with pytest.raises(DownloadError, match="has 150,000 bytes, expected at most 100,000"):
        fetch(archive=str(tmp_path / "large.zip"))
    assert not (tmp_path / "data" / "dataset").exists()


def test_members_that_would_fill_the_disk_together_are_refused(tmp_path, fetch, monkeypatch):
    monkeypatch.setattr(lspet, "MOST", 500_000)  # the five have 605,000
    (tmp_path / "large.zip").write_bytes(GOOD)
    with pytest.raises(DownloadError, match="read so far has .*, expected at most 500,000"):
        fetch(archive=str(tmp_path / "large.zip"))
    assert not (tmp_path / "data" / "dataset").exists()


def test_a_large_file_of_a_folder_is_refused_unread(tmp_path, fetch):
    for name, content in FILES.items():
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(content)
    with (tmp_path / "copy" / IMAGE).open("wb") as file:
        file.truncate(2**40)  # of which the disk holds nothing
    with pytest.raises(DownloadError, match=f"{IMAGE} has 1,099,511,627,776 bytes, expected at"):
        fetch(archive=str(tmp_path / "copy"))


@pytest.mark.parametrize("name", ["", "."])
def test_a_member_without_a_name_is_passed_over(tmp_path, fetch, name):
    buffer = io.BytesIO(GOOD)
    with zipfile.ZipFile(buffer, "a") as archive:
        info = zipfile.ZipInfo("placeholder")
        info.filename = name
        archive.writestr(info, b"-")
    (tmp_path / "odd.zip").write_bytes(buffer.getvalue())
    fetch(archive=str(tmp_path / "odd.zip"))
    assert_whole(tmp_path)


def test_a_pipe_or_a_device_in_place_of_the_archive_is_not_read(tmp_path, fetch):
    os.mkfifo(tmp_path / "pipe")
    for place in (str(tmp_path / "pipe"), "/dev/zero"):
        with pytest.raises(DownloadError, match=f"{place}: neither a file nor a folder"):
            fetch(archive=place)


@pytest.mark.parametrize(
    "name", ["images/im\x1b[2J.jpg", "images/im\nerror.jpg", "images/im" + "x" * 60_000 + ".jpg"]
)
def test_a_members_name_is_repeated_in_one_printable_line(tmp_path, fetch, name):
    (tmp_path / "odd.zip").write_bytes(zipped(FILES | {name: b"-"}))
    with pytest.raises(DownloadError, match="1 are not in the data set: images/im") as error:
        fetch(archive=str(tmp_path / "odd.zip"))
    assert str(error.value).isprintable() and len(str(error.value)) < 600


def without(name: str) -> dict[str, bytes]:
    return {key: value for key, value in FILES.items() if key != name}


IMAGE = "images/im00002.jpg"
WRONG = {
    "corrupt bytes": (flipped(IMAGE), "corrupt", IMAGE),
    "slip": (
        zipped(FILES | {"../../slipped.txt": b"-"}),
        "'../../slipped.txt' would leave the folder",
    ),
    "slip under the top": (
        zipped(FILES | {"../../slip.txt": b"-"}, "top/"),
        "would leave the folder",
    ),
    "absolute": (zipped(FILES | {"/slipped.txt": b"-"}), "'/slipped.txt' would leave the folder"),
    "backslash": (zipped(FILES | {"..\\slipped.txt": b"-"}), "would leave the folder"),
    "link": (linked(), "'images/link.jpg' is a link"),
    "missing image": (zipped(without(IMAGE)), "1 are missing", IMAGE),
    "missing joints": (zipped(without("joints.mat")), "joints.mat is missing"),
    "extra image": (
        zipped(FILES | {"images/im00009.jpg": b"-"}),
        "not in the data set",
        "im00009.jpg",
    ),
    "altered image": (zipped(FILES | {IMAGE: b"recompressed"}), "other than published", IMAGE),
    "wrong joints": (
        zipped(FILES | {"joints.mat": b"MATLAB"}),
        "other than published",
        "joints.mat",
    ),
    "empty": (zipped({}), "joints.mat is missing"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_contents_are_refused_and_the_next_mirror_is_taken(tmp_path, server, fetch, name):
    body, *words = WRONG[name]
    wrong, good = server.add("/wrong.zip", serves(body)), server.add("/good.zip", serves())
    assert_refused(tmp_path, fetch, wrong, *words)
    assert parts(tmp_path) == []
    assert not list(tmp_path.rglob("*slip*"))
    fetch(wrong, good)
    assert_whole(tmp_path)


def test_every_attempt_is_listed_when_all_fail(tmp_path, server, fetch):
    page = serves(b"<html></html>")
    gone, html, bad = (
        server.add("/gone.zip", status(410)),
        server.add("/html.zip", page),
        server.add("/bad.zip", serves(zipped(without(IMAGE)))),
    )
    with pytest.raises(DownloadError) as caught:
        fetch(gone, html, bad)
    lines = str(caught.value).splitlines()
    for address, word in ((gone, "410"), (html, "HTML"), (bad, "missing")):
        assert [line for line in lines if address in line and word in line]
    assert "LSPET_ARCHIVE" in lines[-1]


def test_existing_folder_is_kept_on_failure_and_replaced_on_success(tmp_path, server, fetch):
    old = tmp_path / "data" / "dataset" / "old.txt"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    leftover = tmp_path / "data" / ".dataset.part" / "new"  # of a run that was killed
    leftover.mkdir(parents=True)
    with pytest.raises(DownloadError):
        fetch(server.add("/gone.zip", status(404)))
    assert contents(tmp_path / "data") == {"dataset/old.txt": b"old"}
    fetch(server.add("/a.zip", serves()))
    assert_whole(tmp_path)


# A copy on this machine


def test_local_archive_and_folder_give_the_same_bytes(tmp_path, fetch):
    archive, folder = tmp_path / "copy.zip", tmp_path / "copies" / "lspet_dataset"
    archive.write_bytes(GOOD)
    zipfile.ZipFile(io.BytesIO(GOOD)).extractall(folder)
    for source in (archive, folder, folder.parent):
        fetch(archive=str(source))
        assert_whole(tmp_path)
    assert archive.read_bytes() == GOOD


def test_wrong_local_copy_does_not_fall_back_to_the_mirrors(tmp_path, server, fetch):
    good = server.add("/a.zip", serves())
    wrong = tmp_path / "wrong.zip"
    wrong.write_bytes(zipped(without(IMAGE)))
    for source, word in (
        (wrong, "missing"),
        (tmp_path / "nothing.zip", "no such file"),
        (DESCRIPTION, "zip archive"),
    ):
        with pytest.raises(DownloadError, match=word) as caught:
            fetch(good, archive=str(source))
        assert str(source) in str(caught.value)
    assert server.seen == []
    assert wrong.exists()
    assert list((tmp_path / "data").iterdir()) == []


def test_a_data_set_that_is_there_is_checked_and_taken_without_network(tmp_path, server, fetch):
    here = tmp_path / "lspet"
    for name, content in FILES.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(content)
    fetch(server.add("/gone.zip", status(404)), here=here)
    assert_whole(tmp_path)
    assert server.seen == [] and contents(here) == FILES


def test_what_is_there_but_is_not_the_data_set_is_left_and_the_mirrors_are_asked(
    tmp_path, server, fetch, capsys
):
    here = tmp_path / "lspet"
    here.mkdir()
    (here / "thesis.txt").write_text("all of it")
    fetch(server.add("/a.zip", serves()), here=here)
    assert_whole(tmp_path)
    assert contents(here) == {"thesis.txt": b"all of it"}
    assert (
        f"{here} is not taken, and left as it is: joints.mat is missing" in capsys.readouterr().err
    )


@pytest.mark.parametrize("inside", [".", ".dvc/tmp/exps/x"])
def test_relative_copy_counts_from_the_main_repository(tmp_path, fetch, monkeypatch, inside):
    here = tmp_path / inside
    here.mkdir(parents=True, exist_ok=True)
    for root in {tmp_path, here}:
        (root / "params.yaml").touch()
    (tmp_path / "copy.zip").write_bytes(GOOD)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(here)
    fetch(archive="copy.zip")
    assert_whole(tmp_path)


def test_stage_says_what_is_wrong_without_a_traceback(tmp_path):
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LSPET_ARCHIVE": "nothing.zip"}
    environment.pop("DVC_ROOT", None)
    command = [sys.executable, "-m", "stages.download"]
    result = subprocess.run(
        command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert f"{tmp_path.resolve() / 'nothing.zip'}: no such file or folder" in result.stderr
    assert "Traceback" not in result.stderr
    assert (tmp_path / ".dvc" / "tmp" / "download").is_dir()


def test_nothing_slow_is_imported():
    code = (
        "import sys, stages.download, pipeline.sources.lspet;"
        "print({'numpy', 'torch'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout == "set()\n"


# The real data set


def test_manifest_names_the_whole_data_set():
    sums = manifest()
    assert set(sums) == {"joints.mat", *(f"images/im{index:05d}.jpg" for index in range(1, 10_001))}
    assert sums["joints.mat"] == "cc66465117888d9f43aac78c15c4548e37df5022640a193f2002fd084cba13ef"
    assert len(set(sums.values())) == 10_001  # no two files are equal
    lines = lzma.decompress(MANIFEST.read_bytes()).decode().splitlines()
    assert f"{hashlib.sha256(DESCRIPTION.read_bytes()).hexdigest()}  README.txt" in lines
    assert len(MIRRORS) == 2 and all(url.startswith("https://") for url in MIRRORS)


def test_manifest_is_the_published_list():
    published = LSPET.parent / "SHA256SUMS"
    if not published.is_file():
        pytest.skip(f"no list of sums beside the real archive: {published}")
    lines = lzma.decompress(MANIFEST.read_bytes()).decode().splitlines()
    assert sorted(lines) == sorted(published.read_text().splitlines())


def test_real_data_set(tmp_path):
    if not LSPET.exists():
        pytest.skip(f"no real data set at {LSPET}: set LSPET_ARCHIVE to one")
    start = time.monotonic()
    fetch_lspet(tmp_path / "lspet", partial=tmp_path / "partial", archive=str(LSPET.resolve()))
    assert time.monotonic() - start < 60
    files = [path for path in (tmp_path / "lspet").rglob("*") if path.is_file()]
    assert len(files) == 10_002
    images = [path for path in files if path.suffix == ".jpg"]
    assert sum(path.stat().st_size for path in images) == 169_231_449
