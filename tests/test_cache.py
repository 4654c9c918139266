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
    cache.save_heatmaps(path, cache.target_heatmaps(built[2], CACHE))
    return cache.load_heatmaps(path)


@pytest.fixture
def copy(dataset, tmp_path):
    """A copy of the data set to damage."""
    return shutil.copytree(dataset, tmp_path / "copy")


def expanded(targets, some=slice(None)):
    """The pose heatmaps (B, 14, h, h) of the cached targets."""
    return heatmaps.expand(*(torch.from_numpy(each[some]).float() for each in (targets.x, targets.y)))


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def test_person_box_is_the_scaled_extent_around_the_middle():
    points = np.full((2, 14, 2), np.nan)
    points[0, 3], points[0, 8], points[0, 9] = (10, 20), (30, 40), (20, 100)
    points[1, 0] = 5, 6
    centre, side = cache.person_box(points, 1.25)
    assert centre.tolist() == [[20, 60], [5, 6]] and side.tolist() == [100, 8]


def test_the_pixel_box_is_the_person_box_with_its_margin_at_whole_pixels():
    points = np.full((1, 14, 2), np.nan)
    points[0, 3], points[0, 8] = (10.2, 20), (30, 60.2)
    # Extent 40.2, times 1.25 of the box, times 96 / 64 of the margin: 75.4 around (20.1, 40.1).
    corner, side = cache.pixel_box(points, CACHE)
    assert side.tolist() == [75] and corner.tolist() == [[-17, 3]]  # pixels -17 to 57, their middle 20


def test_crop_affine_maps_the_edges_of_the_crop_to_those_of_the_box():
    affine = cache.crop_affine(np.array([[-30, 10]]), np.array([100]), 50)
    edges = np.array([[[-0.5, -0.5], [49.5, 49.5], [24.5, 24.5], [0, 0]]])
    # The box covers pixels -30 to 69, so its edges lie half a pixel beyond their centres.
    expected = [[-30.5, 9.5], [69.5, 109.5], [19.5, 59.5], [-29.5, 10.5]]
    assert cache.transform(affine, edges)[0].tolist() == expected
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
    # Up to half a pixel of the photograph, where the box is moved and widened to whole ones.
    half = 0.5 / built[2].affines[:, 0, 0]
    assert (np.abs((low + high) / 2 - 31.5) <= half[:, None] + 1e-3).all()
    assert (np.abs((high - low).max(axis=1) - 64 / 1.25) <= half + 1e-3).all()


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
            assert (built[1][i] == difference_hash(np.asarray(image.convert("RGB")))).all()


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
    pose = expanded(targets)
    assert (pose.amax((-2, -1)) > 0.77).numpy().tolist() == crops.annotated.tolist()
    assert all((pose[i, j] == 0).all() for i, j in missing)
    assert not crops.occluded.any()


def test_cached_targets_are_the_rendered_joints_to_half_precision(built, targets):
    assert targets.x.dtype == targets.y.dtype == np.float16
    assert targets.x.shape == targets.y.shape == (COUNT, 14, 16)
    some = np.array([4, 1])
    pose = expanded(targets, some)
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
    cache.save_heatmaps(tmp_path / "heatmaps.npz", cache.target_heatmaps(crops, CACHE))
    assert (expanded(cache.load_heatmaps(tmp_path / "heatmaps.npz")).amax((-2, -1)) > 0.77).all()


def test_expanded_factors_are_the_rendered_heatmaps_and_empty_where_there_is_no_place():
    points = np.random.default_rng(0).uniform(0, 16, (3, 14, 2)).astype(np.float32)
    points[1, 4] = np.nan
    x, y = cache.factors(points, 16, 1.3)
    assert x.shape == y.shape == (3, 14, 16) and x.dtype == np.float32
    assert (x[1, 4] == 0).all() and (y[1, 4] == 0).all()
    maps = heatmaps.expand(torch.from_numpy(x), torch.from_numpy(y))
    assert_close(maps, heatmaps.render(points, 16, 1.3), rtol=0, atol=1e-4)


def test_factors_in_half_precision_are_a_thirtieth_of_the_map_and_as_good():
    points = np.random.default_rng(1).uniform(0, 63, (14, 2)).astype(np.float32)
    x, y = (factor.astype(np.float16) for factor in cache.factors(points, 64, 1.5))
    dense = heatmaps.render(points, 64, 1.5)
    maps = heatmaps.expand(*(torch.from_numpy(each).float() for each in (x, y)))
    assert (maps - dense).abs().max() < 1e-3
    stored = x.nbytes + y.nbytes
    assert stored == 14 * 2 * 64 * 2
    assert dense.half().numel() * 2 / stored == 32


def test_a_crop_is_exact_where_the_box_has_its_size():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    assert (cache.crop(image, np.array([5, 7]), 30, 30) == image[7:37, 5:35]).all()
    beyond = cache.crop(image, np.array([-10, -10]), 30, 30)
    assert (beyond[10:, 10:] == image[:20, :20]).all()
    assert (beyond[:10] == 0).all() and (beyond[:, :10] == 0).all()
    assert (cache.crop(image, np.array([60, 7]), 30, 30) == 0).all()  # all of it beyond


@pytest.mark.parametrize("scale", [2, 4])
def test_a_shrunk_crop_shows_the_mean_of_the_pixels(scale):
    """Twice as fine, bilinear is that mean by itself; finer, it would leave pixels out."""
    image = np.random.default_rng(0).integers(0, 256, (16 * scale, 16 * scale, 3), dtype=np.uint8)
    mean = image.reshape(16, scale, 16, scale, 3).mean(axis=(1, 3))
    assert np.abs(cache.crop(image, np.array([0, 0]), 16 * scale, 16) - mean).max() <= 1


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


def test_loaded_crops_are_read_from_disk_when_they_are_used_and_never_written(built):
    folder, _, crops = built
    assert isinstance(crops.images, np.memmap)
    mine = cache.load(folder)
    mine.images[0] = 77
    assert (mine.images[0] == 77).all() and (cache.load(folder).images[0] == crops.images[0]).all()
    assert crops.points.dtype == np.float32 and crops.affines.dtype == np.float64
