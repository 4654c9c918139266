"""Requests to the served model that are none: each way gives a body and its content type."""

import base64
import json
import struct

import numpy as np

from faults.bad import damage, photographs

JSON = "application/json"
BOXES = (
    *([], [[]], [1, 2, 3, 4], [[1, 2]], [[1, 2, 3, 4, 5]], [[1, 2, 0, 4]], [[1, 2, -3, 4]], "x", 5),
    *([["1", "2", "3", "4"]], [[True] * 4], [[None] * 4], [[float("nan")] * 4], {}, [{"x": 1}]),
    *([[float("inf"), 0, 1, 1]], [[1e308] * 4], [[10**400, 0, 1, 1]], [[0, 0, 1e9, 5]], [None]),
    *([[0, 0, 1e-300, 1e-300]], [[[1, 2, 3, 4]]], [[1, 2, 3, 4]] * 2000, [[0, 0, 240, 320]]),
)
IMAGES = (
    *(None, 5, True, [], {}, [1, 2], "", " ", "no base64!", "größe", "A", "AA=A", "\ud800", "\x00"),
    *("/etc/passwd", "http://127.0.0.1:1/a.jpg", "file:///etc/passwd", "data:image/png;base64,"),
)


def request(*photographs: object) -> bytes:
    return json.dumps({"inputs": photographs}).encode()


def other_boxes(photograph: str, rng: np.random.Generator) -> tuple[bytes, str]:
    boxes = BOXES[int(rng.integers(len(BOXES)))]
    return request({"image": photograph, "boxes": boxes}), JSON


def other_images(photograph: str, rng: np.random.Generator) -> tuple[bytes, str]:
    image = IMAGES[int(rng.integers(len(IMAGES)))]
    return request({"image": image}, {"image": photograph}), JSON


def other_photographs(photograph: str, rng: np.random.Generator) -> tuple[bytes, str]:
    """In base64, but damaged, extreme or none."""
    way = photographs.WAYS[int(rng.integers(len(photographs.WAYS)))]
    image = base64.b64encode(way(rng)[1]).decode()
    return request({"image": image}, {"image": photograph}), JSON


def other_keys(photograph: str, rng: np.random.Generator) -> tuple[bytes, str]:
    whole = (
        request(),
        request(5),
        request([]),
        request(None),
        request(photograph),
        request({}),
        request({"image": photograph, "other": 1}),
        request({"image": photograph, "box": [1, 2, 3, 4]}),
        request({"boxes": [[1, 2, 3, 4]]}),
        request({"IMAGE": photograph}),
        request(*[{"image": "AA"}] * 500),
        json.dumps({"inputs": {"image": photograph}}).encode(),
        json.dumps({"inputs": photograph}).encode(),
        json.dumps({"inputs": None}).encode(),
        json.dumps({"instances": [{"image": photograph}]}).encode(),
        json.dumps({"inputs": [{"image": photograph}], "params": {"a": 1}}).encode(),
        json.dumps({"dataframe_split": {"columns": ["image"], "data": [[photograph]]}}).encode(),
        json.dumps({"dataframe_records": [{"image": photograph}]}).encode(),
        json.dumps({"image": photograph}).encode(),
        json.dumps([{"image": photograph}]).encode(),
        b'{"inputs": [], "inputs": [{"image": "AA"}]}',
        b'{"inputs": [{"image": "AA", "image": 5}]}',
    )
    return whole[int(rng.integers(len(whole)))], JSON


def no_json(photograph: str, rng: np.random.Generator) -> tuple[bytes, str]:
    right = request({"image": photograph})
    whole = (
        *(b"", b"{}", b"[]", b"null", b"5", b'"text"', b"text", b"\x00" * 40, rng.bytes(300)),
        *(b"[" * 100_000, b'{"inputs": ' + b"[" * 5000 + b"]" * 5000 + b"}", b'{"a":' * 3000),
        *(b"\xef\xbb\xbf" + right, right.decode().encode("utf-16"), right + b"}", right[:-5]),
        *(right.replace(b"image", b"im\xe9ge"), b'{"inputs": [{"image": "\\ud800"}]}', b"NaN"),
        *(b'{"inputs": 1' + b"0" * 10_000 + b"}", b"<xml/>", b"inputs=5&image=7"),
        *(request({"image": "A" * 40_000_008}), b'{"inputs": "' + b"x" * 5_000_000 + b'"}'),
    )
    return whole[int(rng.integers(len(whole)))], JSON


def other_types(photograph: str, rng: np.random.Generator) -> tuple[bytes, str]:
    """Of the content, said or not."""
    whole = (
        *((b'a,b\n"', "text/csv"), (b"PAR1" + bytes(40), "application/vnd.apache.parquet")),
        *((b"image\nAA\n", "text/csv"), (b"--b\r\n\r\n--b--", "multipart/form-data; boundary=b")),
        *((b"a=1", "application/x-www-form-urlencoded"), (b"<a/>", "text/xml"), (b"", "")),
        *((request({"image": photograph}), "text/plain"), (b"\xff\xd8\xff", "image/jpeg")),
        *((request({"image": photograph}), "application/json; charset=utf-16"), (b"{}", "x" * 900)),
        *((request({"image": photograph}), "application/json; format=pandas-split"),),
        *((struct.pack("<Q", 2**60), "application/octet-stream"),),
    )
    return whole[int(rng.integers(len(whole)))]


def damaged(photograph: str, rng: np.random.Generator) -> tuple[bytes, str]:
    return damage.damaged(request({"image": photograph, "boxes": [[1, 2, 30, 40]]}), rng), JSON


WAYS = (
    *(other_boxes, other_boxes, other_images, other_photographs, other_photographs, other_keys),
    *(no_json, other_types, damaged, damaged),
)
