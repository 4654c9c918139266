"""Crops in shards: one sequence of them, the same whatever their size, and none is made twice or
taken for whole when it is not."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat

from conftest import CPU, GEOMETRY, ROOT
from pipeline.data import shards, shelf, storage, targets
from pipeline.data.shards import Shards
from pipeline.data.shelf import Shelf
from pipeline.data.storage import DataError
from pipeline.figures import drawn_people
from pipeline.training import batches
from pipeline.training.batches import Photographs, training_batch
from test_training import tiny

COUNT = 20
CROP = 3 * 96**2  # bytes


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn") / "set"
    drawn_people.write(folder, COUNT, 0, workers=1)
    return folder


@pytest.fixture
def copy(dataset, tmp_path):
    return shutil.copytree(dataset, tmp_path / "copy")


@pytest.fixture
def seven(monkeypatch):
    """Seven people a shard: three shards of twenty."""
    monkeypatch.setattr(shards, "LARGEST", 8 * CROP - 1)


@pytest.fixture
def decoded(monkeypatch):
    """The numbers of the photographs that are decoded."""
    numbers, cut = [], storage.Source.cut
    monkeypatch.setattr(
        storage.Source, "cut", lambda self, number: numbers.append(number) or cut(self, number)
    )
    return numbers


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Reading


def test_files_are_one_sequence():
    whole = np.random.default_rng(0).integers(0, 256, (11, 2, 2, 3), dtype=np.uint8)
    parts = Shards([whole[:4], whole[4:8], whole[8:]])
    assert len(parts) == 11 and parts.shape == (11, 2, 2, 3)
    assert all((parts[i] == whole[i]).all() for i in range(11))
    for beyond in (11, -12):
        with pytest.raises(IndexError):
            parts[beyond]


def test_a_shard_has_as_many_people_as_fit():
    assert shards.people_a_shard(336) == 792  # of 338,688 bytes, in 2^28
    assert shards.people_a_shard(10**5) == 1


def photographs(folder, geometry):
    crops = storage.load(folder, geometry)
    targets.save(folder / "heatmaps.npz", targets.targets_of(crops))
    everybody = np.arange(COUNT)
    return Photographs(
        crops, targets.load(folder / "heatmaps.npz"), everybody[3:], everybody[:3], CPU
    )


@pytest.mark.parametrize("room", [0, 5, 100])  # crops that lie on the device
@pytest.mark.parametrize("changes", [{"augment__cut": 0.9}, {"augment__enabled": False}])
def test_batches_are_the_same_whatever_the_shards_and_what_the_device_holds(
    dataset, tmp_path, monkeypatch, changes, room
):
    config = tiny(train__batch=7, **changes)
    geometry, found = config.cache.geometry, []
    for people in (7, 1000):
        size = 3 * geometry.stored_size**2
        monkeypatch.setattr(shards, "LARGEST", people * size)
        hashes = storage.build(dataset, tmp_path / f"{people}", geometry, workers=1)
        seen = photographs(tmp_path / f"{people}", geometry)
        held = room * size if people == 7 else 0
        monkeypatch.setattr(batches, "room", lambda _, held=held: held)
        monkeypatch.setattr(batches, "AT_ONCE", 2)
        found.append([hashes, *(training_batch(step, seen, config) for step in range(4))])
    assert len(list((tmp_path / "7").glob("*[0-9].npy"))) == 3
    assert len(list((tmp_path / "1000").glob("*[0-9].npy"))) == 1
    assert (found[0][0] == found[1][0]).all()
    for one, other in zip(found[0][1:], found[1][1:], strict=True):
        for name, rows in one._asdict().items():
            assert torch.equal(rows.nan_to_num(-1), getattr(other, name).nan_to_num(-1)), name


@pytest.mark.usefixtures("seven")
def test_the_sums_are_those_that_sha256sum_checks(dataset, tmp_path):
    storage.build(dataset, tmp_path / "cache", GEOMETRY)
    lines = (tmp_path / "cache" / storage.SUMS).read_text().splitlines()
    assert lines == [
        f"{hashlib.sha256((tmp_path / f'cache/0000{n}.npy').read_bytes()).hexdigest()}  0000{n}.npy"
        for n in range(3)
    ]
    if shutil.which("sha256sum"):
        command = ["sha256sum", "--check", storage.SUMS]
        subprocess.run(command, cwd=tmp_path / "cache", check=True, capture_output=True)


def no_list(folder):
    (folder / storage.SUMS).unlink()  # as in the one file of before


def no_shard(folder):
    (folder / "00001.npy").unlink()


def half_a_shard(folder):
    os.truncate(folder / "00001.npy", 3000)


def a_list_of_nothing(folder):
    (folder / storage.SUMS).write_text("\n")


@pytest.mark.parametrize("damage", [no_list, no_shard, half_a_shard, a_list_of_nothing])
def test_a_folder_without_all_shards_is_refused_in_one_sentence(dataset, tmp_path, damage, seven):
    storage.build(dataset, tmp_path / "cache", GEOMETRY)
    damage(tmp_path / "cache")
    with pytest.raises(DataError, match=r"cache holds no crops as the cache stage [^\n]*$"):
        storage.load(tmp_path / "cache", GEOMETRY)


# What was made before

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def kept(dataset, tmp_path, seven):
    """A shelf with the three shards, and what was built."""
    place = Shelf(tmp_path / "shelf")
    hashes = storage.build(dataset, tmp_path / "before", GEOMETRY, shelf=place)
    return place, hashes, contents(tmp_path / "before")


def test_nothing_is_made_again_and_the_bytes_are_the_same(kept, dataset, tmp_path, decoded):
    place, hashes, before = kept
    shutil.rmtree(tmp_path / "before")  # as DVC does
    again = storage.build(dataset, tmp_path / "after", GEOMETRY, shelf=place)
    assert not decoded and (again == hashes).all() and contents(tmp_path / "after") == before
    linked = os.stat(tmp_path / "after/00000.npy").st_nlink
    assert linked == 2  # no room is taken twice
    assert contents(tmp_path / "after") == {
        **before, **contents_without_shelf(dataset, tmp_path / "plain")
    }  # fmt: skip


def contents_without_shelf(dataset, folder):
    storage.build(dataset, folder, GEOMETRY)
    return contents(folder)


def of_a_photograph(copy):
    path = copy / "images/im00010.jpg"
    path.write_bytes((copy / "images/im00011.jpg").read_bytes())
    return GEOMETRY


def of_an_annotation(copy):
    joints = loadmat(copy / "joints.mat")["joints"]
    joints[0, 0, 9] += 0.25
    savemat(copy / "joints.mat", {"joints": joints})
    return GEOMETRY


def of_nothing_that_decides_pixels(copy):
    path = copy / "images/im00010.jpg"
    os.utime(path, (0, 0))
    return replace(GEOMETRY, sigma=3.0, heatmap_size=32)


def of_the_boxes(copy):
    return replace(GEOMETRY, box_scale=1.3)


def of_the_size(copy):
    return replace(GEOMETRY, input_size=60, crop_scale=1.6)  # 96 px likewise


SECOND, ALL = list(range(7, 14)), list(range(COUNT))


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (of_a_photograph, SECOND),
        (of_an_annotation, SECOND),
        (of_nothing_that_decides_pixels, []),
        (of_the_boxes, ALL),
        (of_the_size, ALL),
    ],
)
def test_a_shard_is_made_again_where_what_it_is_made_of_has_changed(
    kept, copy, tmp_path, decoded, change, again
):
    geometry = change(copy)
    hashes = storage.build(copy, tmp_path / "after", geometry, workers=1, shelf=kept[0])
    assert sorted(decoded) == again
    plain = storage.build(copy, tmp_path / "plain", geometry, workers=1)
    assert (hashes == plain).all() and contents(tmp_path / "after") == contents(tmp_path / "plain")


def test_a_shard_of_other_code_or_libraries_is_made_again(
    kept, dataset, tmp_path, decoded, monkeypatch
):
    monkeypatch.setattr(storage, "code", lambda: "other")
    storage.build(dataset, tmp_path / "after", GEOMETRY, shelf=kept[0])
    assert sorted(decoded) == ALL
    # The same bytes are there once.
    assert len(list(kept[0].folder.glob("*.npy"))) == 3
    assert len(list(kept[0].folder.glob("*.npz"))) == 6
    assert shelf.code() == shelf.code() and len(shelf.code()) == 64


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-1000])


def of_zeros(path):
    """What a machine that lost its power may leave of a file: its size, and no content."""
    path.write_bytes(bytes(path.stat().st_size))


def one_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def gone(path):
    path.unlink()


def of_another(path):
    """Whole, but of other photographs."""
    other = next(each for each in path.parent.glob(f"*{path.suffix}") if each != path)
    path.unlink()
    shutil.copy(other, path)


@pytest.mark.parametrize("damage", [cut_short, of_zeros, one_bit, gone, of_another])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_what_is_not_whole_is_made_again(kept, dataset, tmp_path, decoded, damage, suffix):
    place, hashes, before = kept
    shutil.rmtree(tmp_path / "before")
    damage(min(place.folder.glob(f"*{suffix}")))
    for name, expected in (("after", 1), ("once more", 0)):
        decoded.clear()
        again = storage.build(dataset, tmp_path / name, GEOMETRY, workers=1, shelf=place)
        assert len(decoded) in (6, 7) if expected else not decoded
        assert (again == hashes).all() and contents(tmp_path / name) == before


SLOW = """
import sys, time
from pathlib import Path
from conftest import GEOMETRY
from pipeline.data import shards, shelf, storage
shards.LARGEST, cut = int(sys.argv[1]), storage.Source.cut
storage.Source.cut = lambda self, number: time.sleep(0.1) or cut(self, number)
dataset, folder, place = map(Path, sys.argv[2:])
storage.build(dataset, folder, GEOMETRY, workers=1, shelf=shelf.Shelf(place))
"""


def test_of_a_run_that_is_killed_the_whole_shards_are_taken(dataset, tmp_path, decoded, seven):
    folder, place = tmp_path / "cache", tmp_path / "shelf"
    words = [SLOW, str(shards.LARGEST), str(dataset), str(folder), str(place)]
    code = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    running = subprocess.Popen(
        [sys.executable, "-c", *words], env=os.environ | {"PYTHONPATH": code}
    )
    while len(list(place.glob("[!.]*.npz"))) < 2:
        assert running.poll() is None
        time.sleep(0.01)
    running.kill()
    running.wait()
    assert not folder.exists() and (tmp_path / ".cache.part").exists()

    storage.build(dataset, folder, GEOMETRY, shelf=Shelf(place))
    assert sorted(decoded) == list(range(14, 20))
    assert contents(folder) == contents_without_shelf(dataset, tmp_path / "plain")
    assert not list(tmp_path.glob(".*"))


def test_photographs_that_cannot_be_read_are_listed_and_their_shard_is_not_kept(
    copy, tmp_path, seven
):
    for number in (2, 16):
        (copy / f"images/im{number:05d}.jpg").write_bytes(b"")
    place = Shelf(tmp_path / "shelf")
    for _ in range(2):
        with pytest.raises(DataError) as error:
            storage.build(copy, tmp_path / "cache", GEOMETRY, shelf=place)
        assert "2 photographs cannot be used" in str(error.value)
        assert str(error.value).count(".jpg: ") == 2
    assert len(list(place.folder.glob("*.npz"))) == 1 and not (tmp_path / "cache").exists()


def test_a_shard_that_nobody_else_has_goes_when_it_is_no_longer_used(kept, dataset, tmp_path):
    place, _, _ = kept
    other = replace(GEOMETRY, box_scale=1.3)
    storage.build(dataset, tmp_path / "other", other, shelf=place)
    assert len(list(place.folder.glob("*.npy"))) == 6  # those of before are still an output
    shutil.rmtree(tmp_path / "before")
    storage.build(dataset, tmp_path / "other", other, shelf=place)
    assert len(list(place.folder.glob("*.npy"))) == len(list(place.folder.glob("*.npz"))) == 3


def test_where_there_are_no_hard_links_a_shard_is_copied(
    dataset, tmp_path, seven, decoded, monkeypatch
):
    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(os, "link", refused)
    place = Shelf(tmp_path / "shelf")
    storage.build(dataset, tmp_path / "before", GEOMETRY, shelf=place)
    decoded.clear()
    storage.build(dataset, tmp_path / "after", GEOMETRY, shelf=place)
    assert not decoded and contents(tmp_path / "before") == contents(tmp_path / "after")
