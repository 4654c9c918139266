"""A user's own photographs: each published layout brings the same people, all mistakes are listed,
and what is made of them is a data set in LSPet's layout."""

import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

import layouts
from conftest import GEOMETRY, ROOT
from layouts import Someone
from pipeline import presets
from pipeline.__main__ import main
from pipeline.annotations import image_paths, load_annotations, load_known
from pipeline.commands.coco import document
from pipeline.data import storage
from pipeline.mosaics.album import Album
from pipeline.own.dataset import Own, check, turned_places, write
from pipeline.own.people import OwnError
from pipeline.skeleton import HEAD_TOP, JOINTS, NECK
from test_coco import person

HEAD = [NECK, HEAD_TOP]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Six drawn people: of the second two joints are not annotated, the last two share a
    photograph; and the folder of their photographs."""
    folder = tmp_path_factory.mktemp("shown")
    people = layouts.drawn(folder, 6)
    annotated = people[1].annotated.copy()
    annotated[[0, 5]] = False
    people[1] = people[1]._replace(annotated=annotated)
    people[5] = people[5]._replace(photograph=people[4].photograph, points=people[4].points + 3)
    return folder, people


def sizes(folder):
    return {path.name: Image.open(path).size for path in (folder / "images").iterdir()}


def own(folder, *annotations, **changes) -> Own:
    return replace(Own(folder, annotations, "upright", published=False), **changes)


def truth(people: list[Someone], but=()):
    """What shall arrive: points (N, 14, 2), NaN where not annotated, and occluded (N, 14)."""
    points = np.stack([p.points for p in people])
    known = np.stack([p.annotated for p in people])
    known[:, list(but)] = False
    occluded = np.stack([p.occluded for p in people]) & known
    return np.where(known[..., None], points, np.nan), occluded


def arrived(tmp_path, which: Own):
    """The annotations of the data set that is made."""
    write(which, tmp_path / "dataset")
    return load_annotations(tmp_path / "dataset" / "joints.mat")


def same(found, people, but=()):
    points, occluded = truth(people, but)
    np.testing.assert_allclose(found.points, points, atol=1e-9)
    np.testing.assert_array_equal(found.occluded, occluded)


def test_coco_brings_all_but_neck_and_head(tmp_path, shown):
    folder, people = shown
    folder = layouts.copy_of(folder, tmp_path / "coco")
    layouts.in_coco(folder, people, sizes(folder))
    same(arrived(tmp_path, own(folder, "annotations.json")), people, but=HEAD)


def test_mpii_brings_everything_and_the_films(tmp_path, shown):
    folder, people = shown
    folder = layouts.copy_of(folder, tmp_path / "mpii")
    layouts.in_mpii(folder, people, films=[7, 8, 7, 9, 10])
    found = check(own(folder, "mpii.mat"))
    assert found.left_out.total() == 1  # the test photograph's, whose joints are not published
    assert [p.group for p in found.people] == [
        "mpii.mat film 7", "mpii.mat film 8", "mpii.mat film 7", "mpii.mat film 9",
        "mpii.mat film 10", "mpii.mat film 10",
    ]  # fmt: skip
    # Of the head MPII does not say whether it is hidden.
    people = [p._replace(occluded=p.occluded & ~np.isin(np.arange(14), HEAD)) for p in people]
    same(arrived(tmp_path, own(folder, "mpii.mat")), people)


def test_the_hourglass_jsons_bring_everything(tmp_path, shown):
    folder, people = shown
    folder = layouts.copy_of(folder, tmp_path / "json")
    layouts.in_hourglass(folder, people)
    layouts.in_baselines(folder, people)
    same(arrived(tmp_path, own(folder, "mpii_annotations.json")), people)
    seen = [p._replace(occluded=np.zeros(14, bool)) for p in people]  # which that form does not say
    same(arrived(tmp_path, own(folder, "train.json")), seen)


def test_lspet_and_lsp_bring_everything(tmp_path, shown):
    folder, people = shown
    alone = people[:5]
    in_lspet = layouts.copy_of(folder, tmp_path / "lspet")
    (in_lspet / "images" / "figure-5.jpg").unlink()
    in_lsp = layouts.copy_of(in_lspet, tmp_path / "lsp")
    layouts.in_lspet(in_lspet, alone)
    seen = [p._replace(occluded=np.zeros(14, bool)) for p in alone]
    same(arrived(tmp_path, own(in_lspet, "joints.mat")), seen)
    whole = [p._replace(annotated=np.ones(14, bool)) for p in alone]
    layouts.in_lsp(in_lsp, whole)
    same(arrived(tmp_path, own(in_lsp, "joints.mat")), whole)


def test_several_sets_lie_in_one_folder(tmp_path, shown):
    folder, people = shown
    lspet = layouts.copy_of(folder, tmp_path / "own/lspet")
    layouts.in_lspet(lspet, people[:4])
    coco = layouts.copy_of(folder, tmp_path / "own/coco")
    layouts.in_coco(coco, people, sizes(folder))
    which = own(tmp_path / "own", "lspet/joints.mat", "coco/annotations.json")
    names = [p.photograph.relative_to(tmp_path / "own").as_posix() for p in check(which).people]
    assert len(names) == 10
    assert names[3:5] == ["lspet/images/im00004.jpg", "coco/images/figure-0.jpg"]
    (lspet / "images/im00004.jpg").unlink()
    said = "annotates 4 people, but there are 3 photographs im*.jpg in"
    with pytest.raises(OwnError, match=re.escape(said)):
        check(which)


def test_what_predict_writes_for_coco_is_read_with_neck_and_head(tmp_path, shown):
    folder, _ = shown
    folder = layouts.copy_of(folder, tmp_path / "predicted")
    width, height = sizes(folder)["figure-0.jpg"]
    somebody = person(hidden=(1,), outside=(0,), size=(width, height))
    written = document([(str(folder / "images/figure-0.jpg"), (width, height), [somebody])])
    (folder / "people.json").write_text(json.dumps(written))
    [found] = check(own(folder, "people.json")).people
    assert found.annotated.tolist() == [False, *[True] * 13]
    np.testing.assert_allclose(found.points[1:], somebody.points[1:], atol=0.01)
    assert np.flatnonzero(found.occluded).tolist() == [1]


# The data set that is made


def test_people_of_one_photograph_are_rows_of_one_file(tmp_path, shown):
    folder, people = shown
    folder = layouts.copy_of(folder, tmp_path / "coco")
    layouts.in_coco(folder, people, sizes(folder))
    write(own(folder, "annotations.json"), tmp_path / "dataset")
    files = image_paths(tmp_path / "dataset")
    assert [file.name for file in files] == [f"im{k:05d}.jpg" for k in range(1, 7)]
    # Every photograph keeps its bytes, and takes room once.
    for file, each in zip(files, people, strict=True):
        assert file.read_bytes() == (folder / "images" / each.photograph).read_bytes()
    assert [file.stat().st_nlink for file in files] == [1, 1, 1, 1, 2, 2]
    known = load_known(tmp_path / "dataset", [file.name for file in files])
    assert list(known.photographs) == [f"images/{p.photograph}" for p in people]
    hashes = storage.build(tmp_path / "dataset", tmp_path / "crops", GEOMETRY)
    crops = storage.load(tmp_path / "crops", GEOMETRY)
    assert len(crops) == 6 and (hashes[4] == hashes[5]).all()
    assert not crops.annotated[:, HEAD].any()
    album = Album.read(tmp_path / "dataset", np.array([0, 5]))
    assert len(album.everybody(0)) == 1
    np.testing.assert_allclose(album.everybody(1)[1, :NECK], people[4].points[:NECK])


def test_a_data_set_replaces_another_only_when_it_is_whole(tmp_path, shown):
    folder, people = shown
    folder = layouts.copy_of(folder, tmp_path / "coco")
    layouts.in_coco(folder, people[:2], sizes(folder))
    target = tmp_path / "dataset"
    write(own(folder, "annotations.json"), target)
    before = (target / "joints.mat").read_bytes()
    (folder / "images" / "figure-1.jpg").write_bytes(b"no photograph")
    with pytest.raises(OwnError, match="figure-1.jpg"):
        write(own(folder, "annotations.json"), target)
    assert (target / "joints.mat").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def turned_by(folder, name, orientation):
    """Store a photograph as a camera does that was held another way: EXIF turns it back."""
    path = folder / "images" / name
    image = Image.open(path).convert("RGB")
    backwards = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90,
                 8: Image.Transpose.ROTATE_270}[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.transpose(backwards).save(path, exif=exif, quality=98, subsampling=0)
    return np.asarray(image)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_photographs_are_turned_as_exif_says(tmp_path, shown, orientation):
    folder, people = shown
    folder = layouts.copy_of(folder, tmp_path / "coco")
    upright = turned_by(folder, "figure-0.jpg", orientation)
    size = {"figure-0.jpg": upright.shape[1::-1]}
    layouts.in_coco(folder, people[:1], size)
    same(arrived(tmp_path, own(folder, "annotations.json")), people[:1], but=HEAD)
    made = np.asarray(Image.open(image_paths(tmp_path / "dataset")[0]))
    assert made.shape == upright.shape
    assert np.abs(made.astype(int) - upright).mean() < 3

    # Whoever annotated the pixels as they are stored says so, and the joints are turned along.
    height, width = upright.shape[:2]
    stored = (height, width) if orientation >= 6 else (width, height)
    x, y = people[0].points.T
    at = {3: (width - 1 - x, height - 1 - y), 6: (y, width - 1 - x), 8: (height - 1 - y, x)}
    moved = people[0]._replace(points=np.column_stack(at[orientation]))
    layouts.in_coco(folder, [moved], {"figure-0.jpg": stored})
    turned = own(folder, "annotations.json", orientation="stored")
    same(arrived(tmp_path, turned), people[:1], but=HEAD)
    if orientation >= 6:
        with pytest.raises(OwnError, match="set data.orientation to stored"):
            check(own(folder, "annotations.json"))


def test_a_corner_stays_a_corner():
    """Of a stored photograph of 5 x 3 px: its first pixel, upright, by hand."""
    first = np.array([[0.0, 0.0]])
    assert turned_places(first, (5, 3), 3).tolist() == [[4, 2]]
    assert turned_places(first, (5, 3), 6).tolist() == [[2, 0]]
    assert turned_places(first, (5, 3), 8).tolist() == [[0, 4]]
    with pytest.raises(ValueError, match="mirrors"):
        turned_places(first, (5, 3), 5)


def test_other_kinds_of_photographs_become_jpeg(tmp_path, shown):
    folder, people = shown
    folder = layouts.copy_of(folder, tmp_path / "coco")
    image = Image.open(folder / "images/figure-2.jpg").convert("RGB")
    image.save(folder / "images/figure-2.png")
    somebody = people[2]._replace(photograph="figure-2.png")
    layouts.in_coco(folder, [somebody], sizes(folder))
    same(arrived(tmp_path, own(folder, "annotations.json")), [somebody], but=HEAD)
    made = Image.open(image_paths(tmp_path / "dataset")[0])
    assert made.format == "JPEG"
    assert np.abs(np.asarray(made).astype(int) - np.asarray(image)).mean() < 2


# Groups, and parts that are published


def test_groups_come_from_a_table_or_the_annotations(tmp_path, shown):
    folder, people = shown
    folder = layouts.copy_of(folder, tmp_path / "coco")
    written = layouts.in_coco(folder, people, sizes(folder))
    written["images"][0]["group"] = "a film"
    (folder / "annotations.json").write_text(json.dumps(written))
    (folder / "groups.csv").write_text("image,group\nfigure-1.jpg,hall\nimages/figure-4.jpg,hall\n")
    groups = [p.group for p in check(own(folder, "annotations.json")).people]
    assert groups == ["annotations.json a film", "hall", "", "", "hall", "hall"]
    (folder / "groups.csv").write_text("image,group\nfigure-1.jpg,hall\nfigure-9.jpg,hall\n")
    with pytest.raises(OwnError, match=r"groups.csv, line 3: figure-9.jpg is no photograph"):
        check(own(folder, "annotations.json"))


def test_published_test_parts_are_kept(tmp_path, shown):
    folder, people = shown
    folder = layouts.copy_of(folder, tmp_path / "json")
    layouts.in_hourglass(folder, people, validation=[False, True, False, False, True, True])
    which = own(folder, "mpii_annotations.json", published=True)
    write(which, tmp_path / "dataset")
    names = [path.name for path in image_paths(tmp_path / "dataset")]
    assert list(load_known(tmp_path / "dataset", names).test) == [
        False, True, False, False, True, True,
    ]  # fmt: skip
    layouts.in_hourglass(folder, people)
    with pytest.raises(OwnError, match="no file of annotations has a published test part"):
        check(which)


def named(data: dict, root) -> Own:
    published = data["parts"] == "published"
    return Own(root / data["folder"], data["annotations"], data["orientation"], published)


def test_the_protocol_of_the_paper_on_lsp_runs_where_the_data_lie(tmp_path, shown):
    """Of LSP, whole, the second thousand is tested on; LSPet and MPII train."""
    folder, people = shown
    sets = tmp_path / "sets"
    (sets / "lsp/images").mkdir(parents=True)
    for number in range(1, 2001):
        os.link(folder / "images/figure-0.jpg", sets / f"lsp/images/im{number:04d}.jpg")
    joints = np.column_stack([people[0].points, people[0].occluded]).T
    savemat(sets / "lsp/joints.mat", {"joints": np.repeat(joints[..., None], 2000, axis=2)})
    layouts.in_lspet(layouts.copy_of(folder, sets / "lspet"), people[:4])
    (sets / "lspet/images/figure-4.jpg").unlink()
    (sets / "lspet/images/figure-5.jpg").unlink()
    mpii = layouts.copy_of(folder, sets / "mpii")
    layouts.in_mpii(mpii, people)
    (mpii / "mpii.mat").rename(mpii / "mpii_human_pose_v1_u12_1.mat")
    write(named(presets.read("paper-lsp")["data"], tmp_path), tmp_path / "dataset")
    names = [path.name for path in image_paths(tmp_path / "dataset")]
    test = load_known(tmp_path / "dataset", names).test
    assert np.flatnonzero(test).tolist() == list(range(1000, 2000)) and len(test) == 2010


def test_the_protocol_on_mpii_runs_where_the_data_lie(tmp_path, shown):
    folder, people = shown
    mpii = layouts.copy_of(folder, tmp_path / "sets/mpii")
    layouts.in_hourglass(mpii, people, validation=[False, True, False, False, True, True])
    found = check(named(presets.read("paper-mpii")["data"], tmp_path)).people
    assert [p.test for p in found] == [False, True, False, False, True, True]
    assert all(p.annotated[HEAD].all() for p in found)  # what PCKh is measured in


# Everything that is wrong, in one list


def wrong(which: Own) -> list[str]:
    with pytest.raises(OwnError) as error:
        check(which)
    return str(error.value).splitlines()


def test_all_mistakes_of_a_coco_file_are_listed(tmp_path, shown):
    folder, people = shown
    folder = layouts.copy_of(folder, tmp_path / "coco")
    written = layouts.in_coco(folder, people, sizes(folder))
    one, two, three, four, _, six = written["annotations"]
    one["keypoints"] = one["keypoints"][:-3]
    two["keypoints"][15:18] = [10, 20, 7]
    three["image_id"] = 4
    four["keypoints"][15:18] = [1e6, 20, 2]
    written["images"][4]["file_name"] = "gone.jpg"
    six["keypoints"] = "none"
    (folder / "annotations.json").write_text(json.dumps(written))
    first, *lines = wrong(own(folder, "annotations.json"))
    path = folder / "annotations.json"
    assert first == f"{folder} cannot be used, 6 mistakes:"
    assert lines[0] == (
        f"{path}, annotations[0]: 48 numbers in keypoints, expected 51: x, y and visibility of 17"
        " points"
    )
    assert lines[1:5] == [
        f"{path}, annotations[1]: a visibility in keypoints is none of 0, 1 and 2",
        f"{path}, annotations[2]: its image_id 4 is no image's",
        f"{path}, annotations[3]: left_shoulder lies at (1e+06, 20), expected px of the photograph",
        f"{path}, annotations[4]: gone.jpg is no photograph below {folder}",
    ]
    assert lines[5].startswith(f"{path}, annotations[5]: could not convert")


def test_photographs_and_places_that_do_not_fit_are_listed(tmp_path, shown):
    folder, people = shown
    folder = layouts.copy_of(folder, tmp_path / "coco")
    said = sizes(folder) | {"figure-0.jpg": (640, 480)}
    away = people[2]._replace(points=people[2].points + 5000)
    layouts.in_coco(folder, [people[0], people[1], away, people[3]], said)
    (folder / "images/figure-1.jpg").write_bytes(
        (folder / "images/figure-1.jpg").read_bytes()[:900]
    )
    width, height = Image.open(folder / "images/figure-0.jpg").size
    lines = wrong(own(folder, "annotations.json"))[1:]
    assert len(lines) == 3
    assert lines[0].startswith(f"{folder / 'images/figure-1.jpg'}: cannot be read")
    assert lines[1] == (
        f"{folder / 'annotations.json'}, annotations[0]: figure-0.jpg: annotated as of 640 x 480"
        f" px, but it has {width} x {height} upright"
    )
    assert lines[2].endswith("px, no joint lies in it")


def test_mistakes_of_mpii_are_listed(tmp_path, shown):
    folder, people = shown
    folder = layouts.copy_of(folder, tmp_path / "mpii")
    layouts.in_mpii(folder, people)
    release = loadmat(folder / "mpii.mat")["RELEASE"]
    points = release["annolist"][0, 0]["annorect"][0, 1][0, 0]["annopoints"]["point"][0, 0]
    points["id"][0, 3] = 16
    release["annolist"][0, 0]["image"][0, 2]["name"][0, 0] = "elsewhere.jpg"
    savemat(folder / "mpii.mat", {"RELEASE": release})
    path = folder / "mpii.mat"
    assert wrong(own(folder, "mpii.mat"))[1:] == [
        f"{path}, annolist(2).annorect(1): a point's id is 16, expected 0 to 15",
        f"{path}, annolist(3).annorect(1): elsewhere.jpg is no photograph below {folder}",
    ]


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("a.json", b"{", "a.json: not JSON"),
        ("a.json", b"[]", "a.json: expected LSPet's or LSP's joints.mat"),
        ("a.json", b'{"images": [], "annotations": []}', "nobody is annotated in a.json"),
        ("a.json", b'{"images": 3, "annotations": []}', "a.json, images: expected a list, found 3"),
        (
            "a.json",
            b'[{"joint_self": 1, "image": ""}]',
            "[0]: joint_self holds no numbers, expected",
        ),
        ("a.json", b'[{"joints_vis": [1]}, 3]', "a.json, [0]: 'joints' is missing"),
        ("a.mat", b"MATLAB", "a.mat: not a MATLAB file"),
        ("a.csv", b"", "a.csv: expected a file of annotations that ends in .json or .mat"),
        ("b.json", None, "b.json: no such file of annotations"),
    ],
)
def test_files_of_no_layout_are_refused(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    line = wrong(own(tmp_path, name))[1]
    assert said in line


def test_a_photograph_of_two_folders_is_that_beside(tmp_path, shown):
    folder, people = shown
    layouts.copy_of(folder, tmp_path / "own/here")
    there = layouts.copy_of(folder, tmp_path / "own/there")
    layouts.in_coco(there, people, sizes(folder))
    found = check(own(tmp_path / "own", "there/annotations.json"))
    assert {p.photograph.parent for p in found.people} == {there / "images"}
    (there / "annotations.json").rename(tmp_path / "own/annotations.json")
    lines = wrong(own(tmp_path / "own", "annotations.json"))[1:]
    assert lines[0].endswith(f"figure-0.jpg is the name of 2 photographs below {tmp_path / 'own'}")
    assert len(lines) == 6


def test_a_name_does_not_lead_out_of_the_folder(tmp_path, shown):
    folder, people = shown
    layouts.copy_of(folder, tmp_path / "private")
    (tmp_path / "own").mkdir()
    outside = [people[0]._replace(photograph="../private/images/figure-0.jpg")]
    layouts.in_coco(tmp_path / "own", outside, {outside[0].photograph: (200, 200)})
    [line] = wrong(own(tmp_path / "own", "annotations.json"))[1:]
    assert "../private/images/figure-0.jpg is no photograph below" in line


# python -m pipeline check


def test_check_says_what_is_there_and_draws_ten(tmp_path, capsys):
    picture = tmp_path / "check.png"
    assert main(["check", str(ROOT / "examples/own"), "--picture", str(picture)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("13 people in 12 photographs\n")
    assert "PCK can be measured of 13 people, who have left shoulder and right hip" in said
    assert "PCKh cannot be measured: nobody has both neck and head top" in said
    assert "-S 'data.annotations=[annotations.json]'" in said
    drawn = np.asarray(Image.open(picture).convert("RGB"))
    assert drawn.shape[1] > 800 and drawn.std() > 20


def test_check_lists_mistakes_and_fails(tmp_path, shown, capsys):
    folder, people = shown
    folder = layouts.copy_of(folder, tmp_path / "coco")
    layouts.in_coco(folder, people, sizes(folder))
    (folder / "images/figure-0.jpg").unlink()
    picture = tmp_path / "check.png"
    assert main(["check", str(folder), "--picture", str(picture)]) == 1
    said = capsys.readouterr().err
    assert "annotations[0]: figure-0.jpg is no photograph" in said and not picture.exists()
    (folder / "joints.mat").write_bytes(b"")
    assert main(["check", str(folder)]) == 1
    assert "there are annotations.json, joints.mat; name it with --annotations" in (
        capsys.readouterr().err
    )


def test_every_joint_has_its_name_in_the_layouts():
    assert {name for name in layouts.COCO if name in JOINTS} == set(JOINTS) - {"neck", "head_top"}
    assert set(JOINTS) < set(layouts.MPII)
