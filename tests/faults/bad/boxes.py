"""Tables of boxes that are wrong: each way gives a file's bytes, of rows that are right."""

import numpy as np

from faults.bad import damage

HEADER = "image,x,y,width,height"
VALUES = (
    *("", " ", "nan", "inf", "-inf", "1e400", "1e308", "-1e308", "1_0", "0x10", "１２", "TRUE"),
    *("none", "0", "-5", "1e-300", "1,5", "5px", "'5", "=1+1", "1e5", "x" * 200, "\x1b[31m5"),
)
NAMES = (
    *("", " ", "NA", "a.JPG", "../a.jpg", "/etc/passwd", "..", ".", "a.jpg ", "b\x1b[2J.jpg"),
    *("a.jpg\x00", "x" * 5000, "none.jpg", "é.jpg", "a\nb.jpg", "=1+1", "a.jpg/", "./a.jpg"),
)


def text(rows: list[str]) -> bytes:
    return "\n".join([HEADER, *rows]).encode() + b"\n"


def other_value(rows: list[str], rng: np.random.Generator) -> bytes:
    """One number by another, or by none."""
    which, column = int(rng.integers(len(rows))), int(rng.integers(1, 5))
    cells = rows[which].split(",")
    cells[column] = VALUES[int(rng.integers(len(VALUES)))]
    return text([*rows[:which], ",".join(cells), *rows[which + 1 :]])


def other_name(rows: list[str], rng: np.random.Generator) -> bytes:
    which = int(rng.integers(len(rows)))
    name = NAMES[int(rng.integers(len(NAMES)))]
    quoted = f'"{name}"' if "\n" in name else name
    changed = quoted + "," + rows[which].partition(",")[2]
    return text([*rows[:which], changed, *rows[which + 1 :]])


def other_header(rows: list[str], rng: np.random.Generator) -> bytes:
    headers = (
        *("", "image,x,y", "image,x,x,y,width,height", "Image,X,Y,Width,Height", "a,b,c,d,e"),
        *("image;x;y;width;height", "image\tx\ty\twidth\theight", "x,y,width,height,image"),
        *(" image, x, y, width, height", "image,x,y,width,height,", '"image,x,y,width,height'),
        *("\x1b[2J", "image,x,y,width,height," + "more," * 5000, "x" * 200_000),
    )
    return (
        headers[int(rng.integers(len(headers)))].encode() + b"\n" + text(rows).partition(b"\n")[2]
    )


def other_cells(rows: list[str], rng: np.random.Generator) -> bytes:
    """One too few or too many, or quotes that do not end."""
    which, choice = int(rng.integers(len(rows))), int(rng.integers(4))
    changed = (
        rows[which] + ",5",
        rows[which].rpartition(",")[0],
        '"' + rows[which],
        rows[which].replace(",", '"x",', 1),
    )[choice]
    return text([*rows[:which], changed, *rows[which + 1 :]])


def other_writing(rows: list[str], rng: np.random.Generator) -> bytes:
    """The same in another encoding, or with other ends of lines."""
    plain = text(rows)
    whole = (
        *(plain.decode().encode("utf-16"), b"\xef\xbb\xbf" + plain, plain.replace(b"\n", b"\r\n")),
        *(plain.replace(b"\n", b"\r"), plain.replace(b"a.jpg", b"caf\xe9.jpg"), plain + b"\n\n\n"),
        *(plain.replace(b",", b";"), plain.replace(b",", b"\t"), plain.replace(b",", b", ")),
    )
    return whole[int(rng.integers(len(whole)))]


def no_table(rows: list[str], rng: np.random.Generator) -> bytes:
    whole = (
        *(b"", b"\n\n\n", HEADER.encode(), rng.bytes(3000), bytes(500), b"PK\x03\x04" + bytes(99)),
        *(b'{"boxes": []}', b"<html></html>", b'"' * 10_001, b'"' + b"x" * 200_000),
    )
    return whole[int(rng.integers(len(whole)))]


def damaged(rows: list[str], rng: np.random.Generator) -> bytes:
    return damage.damaged(text(rows), rng)


def many_rows(rows: list[str], rng: np.random.Generator) -> bytes:
    """The same box some hundred times, or many that belong to none."""
    return text(rows * 300 if rng.random() < 0.5 else rows + ["none.jpg,1,2,3,4"] * 3000)


WAYS = (
    *(other_value, other_value, other_value, other_name, other_name, other_header, other_cells),
    *(other_writing, no_table, damaged, damaged, many_rows),
)
