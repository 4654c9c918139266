"""The cache: crops that map back to their photographs, targets where there is a place, clean failures."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch.testing import assert_close

from pipeline import cache, heatmaps
from pipeline.cache import CacheError
from pipeline.settings import Cache
from pipeline.split import difference_hash

CACHE = Cache(input_size=64, heatmap_size=16, sigma=1.0, box=1.25, margin=1.5)
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
    """A data set in LSPet's layout (or with LSP's joints.mat) of places (N, 14, 2) and flags (N, 14)."""
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
    hashes = cache.build(dataset, folder, CACHE, workers=1)
    return folder, hashes, cache.load(folder)


@pytest.fixture(scope="module")
def targets(built, tmp_path_factory):
    path = tmp_path_factory.mktemp("targets") / "heatmaps.npz"
    cache.save_heatmaps(path, built[2], CACHE)
    return cache.load_heatmaps(path)


@pytest.fixture
def copy(dataset, tmp_path):
    """A copy of the data set to damage."""
    return shutil.copytree(dataset, tmp_path / "copy")


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def test_person_box_is_the_scaled_extent_around_the_middle():
    points = np.full((2, 14, 2), np.nan)
    points[0, 3], points[0, 8], points[0, 9] = (10, 20), (30, 40), (20, 100)
    points[1, 0] = 5, 6
    centre, side = cache.person_box(points, 1.25)
    assert centre.tolist() == [[20, 60], [5, 6]] and side.tolist() == [100, 8]


def test_crop_affine_maps_the_edges_of_the_crop_to_those_of_the_box():
    affine = cache.crop_affine(np.array([[20.0, 60.0]]), np.array([100.0]), 50)
    edges = np.array([[[-0.5, -0.5], [49.5, 49.5], [24.5, 24.5], [0, 0]]])
    assert cache.transform(affine, edges)[0].tolist() == [[-30, 10], [70, 110], [20, 60], [-29, 11]]
    back = cache.transform(cache.invert(affine), cache.transform(affine, edges))
    np.testing.assert_allclose(back, edges, atol=1e-12)


@pytest.mark.parametrize(
    "size, margin, stored", [(64, 1.5, 96), (64, 1.0, 64), (96, 1.3, 124), (128, 1.5, 192)]
)
def test_stored_size_is_the_input_and_a_whole_margin_on_both_sides(size, margin, stored):
    assert cache.stored_size(CACHE.model_copy(update={"input_size": size, "margin": margin})) == stored


@pytest.mark.parametrize("margin", np.linspace(1, 2, 15))
def test_stored_size_has_the_parity_of_the_input(margin):
    for size in (64, 96, 100, 127):
        stored = cache.stored_size(CACHE.model_copy(update={"input_size": size, "margin": margin}))
        assert (stored - size) % 2 == 0 and abs(stored - size * margin) <= 1


def test_affines_map_crop_pixels_back_to_pixels_of_the_photograph(built, places):
    crops = built[2]
    back = cache.transform(crops.affines, crops.points.astype(np.float64))
    np.testing.assert_allclose(back, crops.originals, atol=1e-3)
    np.testing.assert_array_equal(crops.originals[crops.annotated], places[crops.annotated])


def test_a_bright_dot_at_a_joint_lands_at_the_joint_of_the_crop(built):
    crops = built[2]
    assert crops.images.shape == (COUNT, 96, 96, 3) and crops.images.dtype == np.uint8
    for i, joint in enumerate(BRIGHT):
        light = np.clip(crops.images[i].mean(axis=-1) - 70, 0, None)
        y, x = np.mgrid[:96, :96]
        middle = np.array([(light * x).sum(), (light * y).sum()]) / light.sum()
        assert np.abs(middle - crops.points[i, joint]).max() < 0.5


def test_joints_lie_within_the_input_in_the_middle_of_the_crop(built):
    points = cache.input_points(built[2], CACHE)
    np.testing.assert_array_equal(points, built[2].points - 16)
    low, high = np.nanmin(points, axis=1), np.nanmax(points, axis=1)
    np.testing.assert_allclose((low + high) / 2, 31.5, atol=1e-3)
    np.testing.assert_allclose((high - low).max(axis=1), 64 / 1.25, atol=1e-3)


def test_the_crop_is_black_beyond_the_photograph(built):
    crops = built[2]
    y, x = np.mgrid[:96, :96]
    grid = np.stack([x, y], axis=-1).reshape(1, -1, 2).astype(float)
    source = cache.transform(crops.affines[4:5], grid).reshape(96, 96, 2)
    reach = 1 + crops.affines[4, 0, 0]
    outside = (source < -reach).any(-1)
    inside = ((source > reach) & (source < np.array(SIZES[4]) - 1 - reach)).all(-1)
    assert outside.sum() > 500 and inside.sum() > 500
    assert (crops.images[4][outside] == 0).all() and (crops.images[4][inside] > 15).all()


def test_hashes_are_those_of_the_photographs(built, dataset):
    assert built[1].shape == (COUNT, 256)
    for i in range(COUNT):
        with Image.open(dataset / "images" / f"im{i + 1:05d}.jpg") as image:
            assert (built[1][i] == difference_hash(image)).all()


def test_bytes_do_not_depend_on_the_number_of_workers(built, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "CHUNK", 2)
    hashes = cache.build(dataset, tmp_path / "cache", CACHE, workers=3)
    assert (hashes == built[1]).all()
    names = {path.name for path in files(built[0])}
    assert names == {"crops.npy", "people.npz"} == {path.name for path in files(tmp_path / "cache")}
    for name in names:
        assert (built[0] / name).read_bytes() == (tmp_path / "cache" / name).read_bytes()


def test_not_annotated_joints_have_no_place_and_no_target(built, targets):
    crops = built[2]
    missing = [[0, 5], [0, 6], [1, 3], [5, 0]]
    assert np.argwhere(~crops.annotated).tolist() == missing
    assert (np.isnan(crops.points).all(-1) == ~crops.annotated).all()
    assert (np.isnan(crops.originals).all(-1) == ~crops.annotated).all()
    pose, occlusion = targets.expand(np.arange(COUNT))
    assert (pose.amax((-2, -1)) > 0.8).numpy().tolist() == crops.annotated.tolist()
    assert all((pose[i, j] == 0).all() for i, j in missing)
    assert (occlusion == 0).all()


def test_cached_targets_are_the_rendered_joints_to_half_precision(built, targets):
    assert targets.x.dtype == targets.y.dtype == np.float16
    assert targets.x.shape == targets.y.shape == (COUNT, 14, 16)
    some = np.array([4, 1])
    pose, _ = targets.expand(some)
    joints = cache.to_heatmap(cache.input_points(built[2], CACHE)[some], 4)
    assert_close(pose, heatmaps.render(joints, 16, 1.0), rtol=0, atol=1e-3)


def test_heatmap_pixels_cover_the_input_pixels_of_their_stride():
    assert cache.stride(CACHE) == 4
    assert cache.to_heatmap(np.array([-0.5, 1.5, 3.5, 63.5]), 4).tolist() == [-0.5, 0, 0.5, 15.5]
    points = torch.tensor([[3.0, 60.25]])
    assert_close(cache.to_input(cache.to_heatmap(points, 4), 4), points)
    assert cache.to_input(0, 4) == 1.5


def test_occluded_joints_of_lsp_keep_their_place_and_get_an_occlusion_target(places, tmp_path):
    flags = np.zeros((COUNT, 14))
    flags[tuple(np.transpose(HIDDEN))] = 1
    write(tmp_path / "lsp", places, flags, lsp=True)
    cache.build(tmp_path / "lsp", tmp_path / "cache", CACHE, workers=1)
    crops = cache.load(tmp_path / "cache")
    assert crops.annotated.all() and np.argwhere(crops.occluded).tolist() == [list(each) for each in HIDDEN]
    cache.save_heatmaps(tmp_path / "heatmaps.npz", crops, CACHE)
    pose, occlusion = cache.load_heatmaps(tmp_path / "heatmaps.npz").expand(np.arange(COUNT))
    assert (pose.amax((-2, -1)) > 0.8).all()
    assert torch.nonzero(occlusion.amax((-2, -1))).tolist() == [list(each) for each in HIDDEN]
    for i, joint in HIDDEN:
        assert_close(occlusion[i, joint], pose[i, joint])


def test_all_unreadable_photographs_are_listed_and_nothing_is_left(copy, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "CHUNK", 2)
    images = copy / "images"
    (images / "im00001.jpg").write_bytes(b"")
    (images / "im00004.jpg").write_bytes(b"<html>not here</html>")
    whole = (images / "im00006.jpg").read_bytes()
    (images / "im00006.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CacheError) as error:
        cache.build(copy, tmp_path / "cache", CACHE, workers=2)
    first, *lines = str(error.value).splitlines()
    assert first == "3 unreadable photographs:"
    assert [line.split(": ")[0] for line in lines] == [str(images / f"im0000{n}.jpg") for n in (1, 4, 6)]
    assert files(tmp_path / "cache") == []


def test_another_number_of_photographs_than_annotations_is_refused(copy, tmp_path):
    (copy / "images" / "im00002.jpg").unlink()
    with pytest.raises(CacheError, match="5 photographs in images/, but joints.mat annotates 6"):
        cache.build(copy, tmp_path / "cache", CACHE, workers=1)
    assert files(tmp_path / "cache") == []


def test_photographs_without_an_annotated_joint_are_named(places, tmp_path):
    flags = np.ones((COUNT, 14))
    flags[[1, 4]] = 0
    write(tmp_path / "set", places, flags)
    with pytest.raises(CacheError, match="no joint is annotated in im00002.jpg, im00005.jpg"):
        cache.build(tmp_path / "set", tmp_path / "cache", CACHE, workers=1)
    assert files(tmp_path / "cache") == []


def test_loaded_crops_are_read_from_disk_when_they_are_used(built):
    crops = built[2]
    assert isinstance(crops.images, np.memmap) and not crops.images.flags.writeable
    assert crops.points.dtype == np.float32 and crops.affines.dtype == np.float64
