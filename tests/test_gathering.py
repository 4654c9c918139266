"""What `predict` is asked to look at: files by kind and content, and the boxes of a table."""

import os
from collections import Counter
from pathlib import Path
from unicodedata import normalize

import pytest
from PIL import Image

from pipeline.commands import boxes
from pipeline.commands.gathering import File, gathered, of_other_kinds
from pipeline.errors import PipelineError
from pipeline.photographs.people import Box
from pipeline.reading import read

HEADER = "image,x,y,width,height\n"


def picture(path: Path, kind: str = "JPEG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 24), "teal").save(path, format=kind)
    return path


def names(folder: Path) -> list[str]:
    return [str(file.name) for file in gathered([folder]).files]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((f"a.{suffix}", "JPEG") for suffix in ("jpg", "JPEG", "jfif", "jpe", "bak", "mpo")),
        *(("no_suffix", kind) for kind in ("JPEG", "PNG", "WEBP")),
        ("a.avif", "AVIF"),
        ("a.heic", "HEIF"),
        ("telephone", "HEIF"),
    ],
)
def test_a_photograph_under_any_name_is_looked_at(tmp_path, name, kind):
    file = picture(tmp_path / "in" / name, kind)
    assert names(tmp_path / "in") == [name]
    pixels = read(file)
    assert pixels.shape == (24, 32, 3) and abs(pixels.astype(int) - (0, 128, 128)).max() < 20


def test_what_is_left_out_is_counted_by_its_kind(tmp_path):
    picture(tmp_path / "b.jpg")
    picture(tmp_path / "b.jpg.overlay.jpg")  # an earlier call's
    picture(tmp_path / ".hidden/c.jpg")
    (tmp_path / "film.mp4.overlay.mp4").touch()
    for name in ("notes.txt", "more.TXT", "page.html", "LICENCE", ".DS_Store"):
        (tmp_path / name).write_text("no photograph")
    found = gathered([tmp_path])
    assert [file.name for file in found.files] == [Path("b.jpg")]
    assert found.left_out == Counter({".txt": 2, ".html": 1, "": 1})
    said = of_other_kinds(found.left_out)
    assert said.startswith("left out, neither photographs nor films: ")
    assert "2 .txt" in said and "1 .html" in said and "1 without suffix" in said
    (tmp_path / "b.jpg").unlink()
    with pytest.raises(PipelineError, match="no photographs or films in this folder; left out"):
        gathered([tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(PipelineError, match="in this folder; nothing else either"):
        gathered([tmp_path / "empty"])


def test_a_linked_folder_is_walked_once_and_a_circle_of_links_ends(tmp_path):
    picture(tmp_path / "photos/here.jpg")
    picture(tmp_path / "elsewhere/there.jpg")
    (tmp_path / "photos/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos/round").symlink_to(tmp_path / "photos")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "photos")
    assert names(tmp_path / "photos") == ["here.jpg", "more/there.jpg"]


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "boxes.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a.jpg,1,2,3,4,5\n", r"line 2: 6 cells; expected 5"),
        ("a.jpg,1,2,3\n", r"line 2: 4 cells; expected 5"),
        ("a.jpg,1_0,2,3,4\n", r"line 2: expected numbers.*found 1_0, 2, 3, 4"),
        ("a.jpg,True,2,3,4\n", r"line 2: expected numbers"),
        ("a.jpg,1e400,2,3,4\n", r"line 2: expected numbers"),
        (",1,2,3,4\n", r"line 2: expected a photograph's name; found none"),
    ],
)
def test_a_row_that_says_something_else_is_refused_by_its_line(tmp_path, rows, said):
    with pytest.raises(PipelineError, match=said):
        boxes.read(table(tmp_path, HEADER + rows))


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    path = table(tmp_path, "image,x,x,y,width,height\na,1,1,2,3,4\n")
    with pytest.raises(PipelineError, match="the column x is there more than once"):
        boxes.read(path)


def test_rows_are_read_as_they_are_written(tmp_path):
    path = table(
        tmp_path, "\ufeffwidth,note,image,x,y,height\r\n3,,NA,1,2,4\r\n\r\n3,b,1,1,2,4\r\n"
    )
    expected = [boxes.Row(2, "NA", Box(1, 2, 3, 4)), boxes.Row(4, "1", Box(1, 2, 3, 4))]
    assert boxes.read(path) == expected


def of(tmp_path: Path, rows: str, files: list[File]) -> boxes.Given:
    path = table(tmp_path, HEADER + rows)
    return boxes.given(path, boxes.read(path), files)


def test_a_row_names_a_photograph_in_any_way_that_is_one_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("one", "two"):
        picture(Path("in") / folder / "a.jpg")
    alone = picture(Path("in") / "one" / normalize("NFD", "café.jpg"))
    files = gathered([Path("in")]).files
    rows = [
        "one/a.jpg,1,1,9,9",  # as its results are named
        "in/two/a.jpg,2,1,9,9",  # as it was asked for
        f"{os.path.abspath('in/two/a.jpg')},3,1,9,9",
        "./one/a.jpg,4,1,9,9",
        normalize("NFC", "café.jpg") + ",5,1,9,9",  # by its name alone, composed
    ]
    given = of(tmp_path, "\n".join(rows), files)
    assert {path: [box.x for box in of_one] for path, of_one in given.boxes.items()} == {
        Path("in/one/a.jpg"): [1, 4],
        Path("in/two/a.jpg"): [2, 3],
        alone: [5],
    }
    assert given.unmatched == []


def test_a_name_of_several_photographs_is_refused(tmp_path):
    files = [File(tmp_path / each / "a.jpg", Path(each) / "a.jpg") for each in ("one", "two")]
    with pytest.raises(
        PipelineError, match="line 2: a.jpg is the name of 2 photographs; write one of one/a.jpg, t"
    ):
        of(tmp_path, "a.jpg,1,1,9,9\n", files)


def test_a_row_that_names_none_is_said_by_its_line(tmp_path):
    files = [File(tmp_path / name, Path(name)) for name in ("a.jpg", "other.jpg")]
    given = of(tmp_path, "a.jpg,1,1,9,9\nothre.jpg,1,1,9,9\n", files)
    assert list(given.boxes) == [tmp_path / "a.jpg"]
    assert given.unmatched == [
        f"{tmp_path / 'boxes.csv'}, line 3: othre.jpg is none of the 2 photographs"
    ]
    with pytest.raises(PipelineError, match="the column image names none of the 2 photographs"):
        of(tmp_path, "=1+1,1,1,9,9\n../../a.jpg,1,1,9,9\n", files)
