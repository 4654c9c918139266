"""Crops and targets at rest: crops that map back to their photographs, targets where there is a
place, clean failures."""

import shutil
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import loadmat, savemat
from torch.testing import assert_close

from conftest import GEOMETRY
from pipeline.data import storage, targets
from pipeline.data.crops import crop
from pipeline.data.split import difference_hash
from pipeline.data.storage import DataError
from pipeline.geometry import transform
from pipeline.mosaics.album import Album
from pipeline.networks import heatmaps
from pipeline.reading import read

SIZES = [(200, 150), (60, 90), (400, 300), (128, 128), (90, 60), (240, 320)]  # width, height
COUNT = len(SIZES)
BRIGHT = [7, 8, 9, 10, 11, 12]  # the joint of each photograph that shines
HIDDEN = [(0, 2), (3, 12)]  # photograph and joint, occluded in LSP's layout


def dotted(size, place, radius):
    """A dark photograph with one bright, smooth dot."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    light = np.clip(radius + 0.5 - np.hypot(x - place[0], y - place[1]), 0, 1)
    return Image.fromarray((30 + 225 * light).astype(np.uint8))


def write(folder, places, flags, lsp=False):
    """A data set in LSPet's layout (or with LSP's joints.mat) of places (N, 14, 2) and flags (N,
    14)."""
    (folder / "images").mkdir(parents=True)
    for i, size in enumerate(SIZES):
        radius = max(1.5, 0.03 * np.ptp(places[i], axis=0).max())
        image = dotted(size, places[i, BRIGHT[i]], radius)
        image = image if i == 3 else image.convert("RGB")  # one photograph is grey
        image.save(folder / "images" / f"im{i + 1:05d}.jpg", quality=100, subsampling=0)
    joints = np.concatenate([places, flags[..., None]], axis=-1)  # (N, 14, 3)
    savemat(folder / "joints.mat", {"joints": joints.transpose((2, 1, 0) if lsp else (1, 2, 0))})


@pytest.fixture(scope="module")
def places():
    rng = np.random.default_rng(0)
    places = rng.uniform(0.25, 0.75, (COUNT, 14, 2)) * np.array(SIZES)[:, None]
    places[4] = places[4] * 0.5  # the person in the corner: the crop reaches beyond the photograph
    return places


@pytest.fixture(scope="module")
def dataset(places, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lspet") / "set"
    stored, flags = places.copy(), np.ones((COUNT, 14))
    for photograph, joint, x, y in [(0, 5, 0, -25), (0, 6, -33, 0), (5, 0, -40, 0), (1, 3, 30, 40)]:
        stored[photograph, joint], flags[photograph, joint] = (x, y), 0
    write(folder, stored, flags)
    return folder


@pytest.fixture(scope="module")
def built(dataset, tmp_path_factory):
    """The folder, the hashes and the crops."""
    folder = tmp_path_factory.mktemp("cache") / "cache"
    hashes = storage.build(dataset, folder, GEOMETRY, workers=1)
    return folder, hashes, storage.load(folder, GEOMETRY)


@pytest.fixture(scope="module")
def cached(built, tmp_path_factory):
    """The targets of the crops."""
    path = tmp_path_factory.mktemp("targets") / "heatmaps.npz"
    targets.save(path, targets.targets_of(built[2]))
    return targets.load(path)


@pytest.fixture
def copy(dataset, tmp_path):
    """A copy of the data set to damage."""
    return shutil.copytree(dataset, tmp_path / "copy")


def expanded(cached, indices=slice(None)):
    """The pose heatmaps (B, 14, h, h) of the cached targets."""
    factors = (torch.from_numpy(each[indices]).float() for each in (cached.x, cached.y))
    return heatmaps.expand(*factors)


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def test_affines_map_crop_pixels_back_to_pixels_of_the_photograph(built, places):
    crops = built[2]
    back = transform(crops.affines, crops.points.astype(np.float64))
    np.testing.assert_allclose(back, crops.originals, atol=1e-3)
    np.testing.assert_array_equal(crops.originals[crops.annotated], places[crops.annotated])


def test_a_bright_dot_at_a_joint_lands_at_the_joint_of_the_crop(built):
    crops = built[2]
    assert crops.images.shape == (COUNT, 96, 96, 3) and crops.images[0].dtype == np.uint8
    for i, joint in enumerate(BRIGHT):
        light = np.clip(crops.images[i].mean(axis=-1) - 70, 0, None)
        y, x = np.mgrid[:96, :96]
        middle = np.array([(light * x).sum(), (light * y).sum()]) / light.sum()
        assert np.abs(middle - crops.points[i, joint]).max() < 0.5


def test_joints_lie_within_the_input_in_the_middle_of_the_crop(built):
    points = built[2].input_points
    np.testing.assert_array_equal(points, built[2].points - 16)
    low, high = np.nanmin(points, axis=1), np.nanmax(points, axis=1)
    # Up to half a pixel of the photograph, where the box is moved and widened to whole ones.
    half = 0.5 / built[2].affines[:, 0, 0]
    assert (np.abs((low + high) / 2 - 31.5) <= half[:, None] + 1e-3).all()
    assert (np.abs((high - low).max(axis=1) - 64 / 1.25) <= half + 1e-3).all()


def test_the_crop_is_black_beyond_the_photograph(built):
    crops = built[2]
    y, x = np.mgrid[:96, :96]
    grid = np.stack([x, y], axis=-1).reshape(1, -1, 2).astype(float)
    source = transform(crops.affines[4:5], grid).reshape(96, 96, 2)
    reach = 1 + crops.affines[4, 0, 0]
    outside = (source < -reach).any(-1)
    inside = ((source > reach) & (source < np.array(SIZES[4]) - 1 - reach)).all(-1)
    assert outside.sum() > 500 and inside.sum() > 500
    assert (crops.images[4][outside] == 0).all() and (crops.images[4][inside] > 15).all()


def test_hashes_are_those_of_the_photographs(built, dataset):
    assert built[1].shape == (COUNT, 256)
    for i in range(COUNT):
        with Image.open(dataset / "images" / f"im{i + 1:05d}.jpg") as image:
            assert (built[1][i] == difference_hash(np.asarray(image.convert("RGB")))).all()


def test_bytes_do_not_depend_on_the_number_of_workers(built, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "CHUNK", 2)
    hashes = storage.build(dataset, tmp_path / "cache", GEOMETRY, workers=3)
    assert (hashes == built[1]).all()
    names = {path.name for path in files(built[0])}
    assert names == {"00000.npy", "SHA256SUMS", "people.npz"}
    assert names == {path.name for path in files(tmp_path / "cache")}
    for name in names:
        assert (built[0] / name).read_bytes() == (tmp_path / "cache" / name).read_bytes()


def test_not_annotated_joints_have_no_place_and_no_target(built, cached):
    crops = built[2]
    missing = [[0, 5], [0, 6], [1, 3], [5, 0]]
    assert np.argwhere(~crops.annotated).tolist() == missing
    assert (np.isnan(crops.points).all(-1) == ~crops.annotated).all()
    assert (np.isnan(crops.originals).all(-1) == ~crops.annotated).all()
    pose = expanded(cached)
    assert (pose.amax((-2, -1)) > 0.77).numpy().tolist() == crops.annotated.tolist()
    assert all((pose[i, j] == 0).all() for i, j in missing)
    assert not crops.occluded.any()


def test_cached_targets_are_the_rendered_joints_to_half_precision(built, cached):
    assert cached.x.dtype == cached.y.dtype == np.float16
    assert cached.x.shape == cached.y.shape == (COUNT, 14, 16)
    indices = np.array([4, 1])
    pose = expanded(cached, indices)
    joints = GEOMETRY.input_to_heatmap(built[2].input_points[indices])
    assert_close(pose, heatmaps.render(torch.from_numpy(joints), 16, 1.0), rtol=0, atol=1e-3)


def test_occluded_joints_of_lsp_keep_their_place_and_get_an_occlusion_target(places, tmp_path):
    flags = np.zeros((COUNT, 14))
    flags[tuple(np.transpose(HIDDEN))] = 1
    write(tmp_path / "lsp", places, flags, lsp=True)
    storage.build(tmp_path / "lsp", tmp_path / "cache", GEOMETRY, workers=1)
    crops = storage.load(tmp_path / "cache", GEOMETRY)
    assert crops.annotated.all() and np.argwhere(crops.occluded).tolist() == [
        list(each) for each in HIDDEN
    ]
    targets.save(tmp_path / "heatmaps.npz", targets.targets_of(crops))
    cached = targets.load(tmp_path / "heatmaps.npz")
    assert (expanded(cached).amax((-2, -1)) > 0.77).all()


def test_expanded_factors_are_the_rendered_heatmaps_and_empty_where_there_is_no_place():
    points = np.random.default_rng(0).uniform(0, 16, (3, 14, 2)).astype(np.float32)
    points[1, 4] = np.nan
    x, y = targets.factors(points, 16, 1.3)
    assert x.shape == y.shape == (3, 14, 16) and x.dtype == np.float32
    assert (x[1, 4] == 0).all() and (y[1, 4] == 0).all()
    maps = heatmaps.expand(torch.from_numpy(x), torch.from_numpy(y))
    assert_close(maps, heatmaps.render(torch.from_numpy(points), 16, 1.3), rtol=0, atol=1e-4)


def test_factors_in_half_precision_are_a_thirtieth_of_the_map_and_as_good():
    points = np.random.default_rng(1).uniform(0, 63, (14, 2)).astype(np.float32)
    x, y = (factor.astype(np.float16) for factor in targets.factors(points, 64, 1.5))
    dense = heatmaps.render(torch.from_numpy(points), 64, 1.5)
    maps = heatmaps.expand(*(torch.from_numpy(each).float() for each in (x, y)))
    assert (maps - dense).abs().max() < 1e-3
    stored = x.nbytes + y.nbytes
    assert stored == 14 * 2 * 64 * 2
    assert dense.half().numel() * 2 / stored == 32


def test_a_crop_is_exact_where_the_box_has_its_size():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    assert (crop(image, np.array([5, 7]), 30, 30) == image[7:37, 5:35]).all()
    beyond = crop(image, np.array([-10, -10]), 30, 30)
    assert (beyond[10:, 10:] == image[:20, :20]).all()
    assert (beyond[:10] == 0).all() and (beyond[:, :10] == 0).all()
    assert (crop(image, np.array([60, 7]), 30, 30) == 0).all()  # all of it beyond


@pytest.mark.parametrize("scale", [2, 4])
def test_a_shrunk_crop_shows_the_mean_of_the_pixels(scale):
    """Twice as fine, bilinear is that mean by itself; finer, it would leave pixels out."""
    image = np.random.default_rng(0).integers(0, 256, (16 * scale, 16 * scale, 3), dtype=np.uint8)
    mean = image.reshape(16, scale, 16, scale, 3).mean(axis=(1, 3))
    assert np.abs(crop(image, np.array([0, 0]), 16 * scale, 16) - mean).max() <= 1


def test_all_unreadable_photographs_are_listed_and_nothing_is_left(copy, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "CHUNK", 2)
    images = copy / "images"
    (images / "im00001.jpg").write_bytes(b"")
    (images / "im00004.jpg").write_bytes(b"<html>not here</html>")
    whole = (images / "im00006.jpg").read_bytes()
    (images / "im00006.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError) as error:
        storage.build(copy, tmp_path / "cache", GEOMETRY, workers=2)
    first, *lines = str(error.value).splitlines()
    assert first == f"{copy}: 3 photographs cannot be used:"
    assert [line.split(": ")[0] for line in lines] == [
        str(images / f"im0000{n}.jpg") for n in (1, 4, 6)
    ]
    assert files(tmp_path / "cache") == []


def test_people_none_of_whose_joints_lies_in_their_photograph_are_listed(copy, tmp_path):
    joints = loadmat(copy / "joints.mat")["joints"].astype(float)
    joints[:, :2, [1, 4]] += 5000
    savemat(copy / "joints.mat", {"joints": joints})
    with pytest.raises(DataError) as error:
        storage.build(copy, tmp_path / "cache", GEOMETRY, workers=1)
    first, *lines = str(error.value).splitlines()
    assert first == f"{copy}: 2 photographs cannot be used:" and "im00002.jpg: of " in lines[0]
    assert lines[1].endswith("no joint lies in it") and files(tmp_path / "cache") == []


def test_a_crop_around_a_long_photograph_takes_memory_of_the_order_of_the_photograph():
    long = np.zeros((60, 30_000, 3), dtype=np.uint8)
    long[:, 20_000:] = 200
    tracemalloc.start()  # OpenCV's arrays are NumPy's, which are counted
    cut = crop(long, np.array([0, -14_970]), 30_000, 300)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**26  # the square with its borders would have 2.7e9 bytes
    row = cut.astype(int).max(axis=0)[:, 0]
    assert (row[205:] > 50).all() and (row[:195] == 0).all()  # two thirds of the way
    assert set(np.flatnonzero(cut.any(axis=(1, 2)))) <= {149, 150, 151}


def test_another_number_of_photographs_than_annotations_is_refused(copy, tmp_path):
    (copy / "images" / "im00002.jpg").unlink()
    with pytest.raises(DataError, match="5 photographs in images/, but joints.mat annotates 6"):
        storage.build(copy, tmp_path / "cache", GEOMETRY, workers=1)
    assert files(tmp_path / "cache") == []


def test_photographs_without_an_annotated_joint_are_named(places, tmp_path):
    flags = np.ones((COUNT, 14))
    flags[[1, 4]] = 0
    write(tmp_path / "set", places, flags)
    with pytest.raises(DataError, match="no joint is annotated in im00002.jpg, im00005.jpg$"):
        storage.build(tmp_path / "set", tmp_path / "cache", GEOMETRY, workers=1)
    assert files(tmp_path / "cache") == []


def test_of_many_photographs_without_an_annotated_joint_ten_are_named(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(1, 15):
        (tmp_path / f"images/im{number:05d}.jpg").touch()
    savemat(tmp_path / "joints.mat", {"joints": np.zeros((14, 3, 14))})
    with pytest.raises(DataError, match="im00001.jpg, .*, im00010.jpg and 4 more$"):
        storage.build(tmp_path, tmp_path / "cache", GEOMETRY, workers=1)


def test_photographs_of_a_data_set_are_taken_as_they_are_stored(copy, built, tmp_path):
    """The annotations are of the stored pixels, whatever a camera's orientation is said to be."""
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise is asked for
    for path in (copy / "images").iterdir():
        content = path.read_bytes()
        said = exif.tobytes()
        marker = b"\xff\xe1" + (len(said) + 2).to_bytes(2, "big") + said
        path.write_bytes(content[:2] + marker + content[2:])
        with Image.open(path) as image:
            assert image.getexif()[0x0112] == 6
    storage.build(copy, tmp_path / "cache", GEOMETRY, workers=1)
    for name in ("00000.npy", "SHA256SUMS", "people.npz"):
        assert (tmp_path / "cache" / name).read_bytes() == (built[0] / name).read_bytes()
    everybody = np.arange(COUNT)
    sizes = [image.shape[1::-1] for image in Album.read(copy, everybody).images]
    assert sizes == SIZES
    assert read(copy / "images/im00001.jpg").shape[1::-1] == SIZES[0][::-1]  # which `predict` turns


def test_loaded_crops_are_read_from_disk_when_they_are_used_and_never_written(built):
    folder, _, crops = built
    assert isinstance(crops.images[0], np.memmap)
    mine = storage.load(folder, GEOMETRY)
    mine.images[0][:] = 77
    assert (mine.images[0] == 77).all() and (
        storage.load(folder, GEOMETRY).images[0] == crops.images[0]
    ).all()
    assert crops.points.dtype == np.float32 and crops.affines.dtype == np.float64


def test_crops_of_another_geometry_are_refused_in_one_sentence(built):
    other = replace(GEOMETRY, input_size=32, heatmap_size=8)
    with pytest.raises(DataError, match=r"holds crops of 96 px; expected 48 px[^\n]*$"):
        storage.load(built[0], other)


def test_inputs_are_the_middle_of_the_crops_as_bytes(built):
    images = built[2].inputs(np.array([3, 1]))
    assert images.shape == (2, 64, 64, 3) and images.dtype == np.uint8
    assert (images[0] == built[2].images[3][16:80, 16:80]).all()


def test_what_is_found_in_an_input_is_placed_in_the_photograph(built):
    crops, indices = built[2], np.array([5, 2])
    scores = np.ones((2, 14), dtype=np.float32)
    predictions = crops.predictions(indices, crops.input_points[indices], scores, scores)
    np.testing.assert_allclose(predictions.points, crops.originals[indices], atol=1e-3)
    assert predictions.points.dtype == np.float64
