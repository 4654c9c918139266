"""Boxes of people from a CSV file, and the photographs that they are given for."""

import csv
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

from pipeline.commands.gathering import File
from pipeline.errors import PipelineError, brief
from pipeline.photographs.people import Box, BoxError

COLUMNS = ("image", *Box._fields)
NAMED = 10  # rows, or photographs, of many that are said to be wrong


class Row(NamedTuple):
    """A person's box."""

    line: int  # of the file
    image: str  # whose it is said to be
    box: Box


class Given(NamedTuple):
    """Boxes by photograph, and the rows that name none."""

    boxes: dict[Path, list[Box]]
    unmatched: list[str]  # in words


def read(path: Path) -> list[Row]:
    """The rows of a file with the columns image, x, y, width and height, px, and maybe others.

    Raises PipelineError at the first row that says something else.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            table = csv.reader(lines, strict=True)
            header = next(table, [])
            rows = [(table.line_num, cells) for cells in table if cells]
    except (OSError, ValueError, csv.Error) as error:
        raise PipelineError(f"{path}: cannot be read as CSV: {brief(error)}") from None
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise PipelineError(
            f"{path}: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}"
        )
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise PipelineError(f"{path}: the column {', '.join(twice)} is there more than once")
    return [_row(path, line, header, cells) for line, cells in rows]


def _row(path: Path, line: int, header: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) != len(header):
        raise PipelineError(
            f"{path}, line {line}: {len(cells)} cells; expected {len(header)}, as in the first line"
        )
    image, *values = (cells[header.index(name)] for name in COLUMNS)
    if not image:
        raise PipelineError(f"{path}, line {line}: expected a photograph's name; found none")
    try:
        # Python reads 1_0 as ten.
        box = Box.of([float(value.replace("_", "none")) for value in values])
    except (ValueError, BoxError):
        raise PipelineError(
            f"{path}, line {line}: expected numbers, width and height above 0; found"
            f" {brief(', '.join(values))}"
        ) from None
    return Row(line, image, box)


def given(path: Path, rows: Sequence[Row], files: Sequence[File]) -> Given:
    """The boxes of the file at a path for each of these photographs, in the order of the rows.

    A row names a photograph as its results are named, by its path as asked for or from the root of
    the file system, or by its file's name alone where no other has it; `./`, and how an accent is
    written, make no difference. Raises PipelineError where a name is several photographs', or no
    row names any.
    """
    whole: dict[str, dict[Path, File]] = defaultdict(dict)
    alone: dict[str, dict[Path, File]] = defaultdict(dict)
    for file in files:
        for name in (str(file.name), str(file.path), os.path.abspath(file.path)):
            whole[_plain(name)][file.path] = file
        alone[_plain(file.path.name)][file.path] = file
    boxes: dict[Path, list[Box]] = {}
    unmatched = []
    for line, image, box in rows:
        named = whole.get(_plain(image)) or alone.get(_plain(image)) or {}
        if len(named) > 1:
            some = ", ".join(str(file.name) for file in list(named.values())[:NAMED])
            raise PipelineError(
                f"{path}, line {line}: {brief(image)} is the name of {len(named)} photographs;"
                f" write one of {some}{', ...' if len(named) > NAMED else ''}"
            )
        if not named:
            unmatched.append(
                f"{path}, line {line}: {brief(image)} is none of the {len(files)} photographs"
            )
        for owner in named:
            boxes.setdefault(owner, []).append(box)
    if not boxes:
        raise PipelineError(f"{path}: the column image names none of the {len(files)} photographs")
    if len(unmatched) > NAMED:
        unmatched[NAMED:] = [f"{path}: nor are {len(unmatched) - NAMED:,} more rows'"]
    return Given(boxes, unmatched)


def _plain(name: str) -> str:
    """A name as it is compared."""
    return normalize("NFC", os.path.normpath(name))
