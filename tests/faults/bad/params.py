"""Ways to write params.yaml wrongly."""

import datetime
import math
import re
from itertools import pairwise

import numpy as np
import yaml

WRONG = (
    *(None, "text", "1", "1e-3", True, -1, 0, 1e308, 2**64, -0.5, 0.5),
    *(math.nan, math.inf, -math.inf, [], {}, [[]], {"a": 1}, [1, 2, 3]),
    *(datetime.date(2020, 2, 29), "x" * 5000, ["x" * 5000], "\x1b[31mred", "two\nlines", "../.."),
)
NOWHERE = (None, [], {}, [[]], {"a": 1})  # what no key takes


def replaced(text: str, rng: np.random.Generator) -> tuple[bytes, bool]:
    """One value by another."""
    values, (group, key) = yaml.safe_load(text), _place(text, rng)
    value = WRONG[int(rng.integers(len(WRONG)))]
    values[group][key] = value
    nowhere = value in NOWHERE or (isinstance(value, float) and not math.isfinite(value))
    return yaml.safe_dump(values, sort_keys=False).encode(), nowhere


def within_a_list(text: str, rng: np.random.Generator) -> tuple[bytes, bool]:
    """One value of a list by another."""
    values = yaml.safe_load(text)
    lists = [(g, k) for g, keys in values.items() for k in keys if isinstance(keys[k], list)]
    group, key = lists[int(rng.integers(len(lists)))]
    value = WRONG[int(rng.integers(len(WRONG)))]
    values[group][key][0] = value
    return yaml.safe_dump(values, sort_keys=False).encode(), value in NOWHERE


def missing(text: str, rng: np.random.Generator) -> tuple[bytes, bool]:
    """A key, or a whole group."""
    values, (group, key) = yaml.safe_load(text), _place(text, rng)
    if rng.random() < 0.2:
        del values[group]
    else:
        del values[group][key]
    return yaml.safe_dump(values).encode(), True


def unknown(text: str, rng: np.random.Generator) -> tuple[bytes, bool]:
    """A key, a group, or keys that are no words."""
    values, (group, key) = yaml.safe_load(text), _place(text, rng)
    odd = ("aplha", "x" * 5000, 5, None, 1.5, True, datetime.date(2020, 2, 29), "a\nb", "é\x1b[2J")
    name = odd[int(rng.integers(len(odd)))]
    (values if rng.random() < 0.3 else values[group])[name] = values[group][key]
    return yaml.safe_dump(values, sort_keys=False).encode(), True


def doubled(text: str, rng: np.random.Generator) -> tuple[bytes, bool]:
    """A key, or a whole group."""
    group, key = _place(text, rng)
    if rng.random() < 0.2:
        return (text + f"\n{group}:\n  {key}: 1\n").encode(), True
    return re.sub(rf"(?m)^(  {key}: .*\n)", r"\1\1", text, count=1).encode(), True


def flipped_byte(text: str, rng: np.random.Generator) -> tuple[bytes, bool]:
    """One byte by any other: it may lie in a comment."""
    content = bytearray(text.encode())
    content[int(rng.integers(len(content)))] = int(rng.integers(256))
    return bytes(content), False


def cut(text: str, rng: np.random.Generator) -> tuple[bytes, bool]:
    """The end is missing."""
    last = text.rindex("part:")  # the last key
    return text.encode()[: int(rng.integers(last))], True


def other_text(text: str, rng: np.random.Generator) -> tuple[bytes, bool]:
    """Something else altogether, or the same in another writing."""
    deep = 3000
    whole = (  # (content, whether nothing but a refusal is right)
        (b"", True),
        (b"# nothing\n", True),
        (b"- 1\n- 2\n", True),
        (b"5", True),
        (b"text", True),
        (b"{}", True),
        (b"\x00" * 40, True),
        (rng.bytes(400), True),
        (b"[" * deep, True),
        (b"{a: " * deep, True),
        (b"data: " + b"[" * deep + b"]" * deep, True),
        (text.replace("\n  ", "\n\t").encode(), True),
        (text.encode("utf-16"), True),
        (text.encode() + b"# \xff\xfe caf\xe9\n", True),
        (b"\xef\xbb\xbf" + text.encode(), False),
        (text.replace("\n", "\r\n").encode(), False),
        (text.encode() + b"---\na: 1\n", True),
        (text.encode() + b"...\n", False),
        (b"<<<<<<< HEAD\n" + text.encode() + b"=======\n>>>>>>> other\n", True),
        (text.replace("data:", "data: &it", 1).encode() + b"more: *it\n", True),
        (text.replace("data:", "data: !!python/object:os.system", 1).encode(), True),
        (text.replace("seed: 0", "seed: !!binary aGk=", 1).encode(), True),
        (b"a: &a [x,x,x,x,x,x,x,x,x]\n" + _laughs() + b"data: *i\n", True),
        (text.replace("seed: 0", "seed: 1" + "0" * 5000, 1).encode(), True),
        (text.replace("seed: 0", "seed: 0x1" + "0" * 5000, 1).encode(), True),
        (text.replace("[32, 64]", str(["x"] * 5000), 1).encode(), True),
        (b'data: "' + b"x" * 100_000 + b'"', True),
    )
    return whole[int(rng.integers(len(whole)))]


def _laughs() -> bytes:
    """Lists of lists: nine to the power of nine values in a few lines."""
    names = "abcdefghi"
    rows = (f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in pairwise(names))
    return "".join(rows).encode()


def _place(text: str, rng: np.random.Generator) -> tuple[str, str]:
    values = yaml.safe_load(text)
    places = [(group, key) for group, keys in values.items() for key in keys]
    return places[int(rng.integers(len(places)))]


# Ten in the turn, as often as they are interesting.
WAYS = (
    *(replaced, replaced, replaced, within_a_list, missing),
    *(unknown, doubled, flipped_byte, cut, other_text),
)
