"""What a sentence repeats of what it is about: one line of it, printable, and not too much."""

from pipeline.errors import MOST, brief, shown


def test_what_a_file_says_is_one_printable_line():
    assert brief("several\n  words\tof it ") == "several words of it"
    assert (
        brief("red \x1b[31m, back\x00, größe, \u202e") == r"red \x1b[31m, back\x00, größe, \u202e"
    )
    assert brief("x" * MOST) == "x" * MOST
    assert brief("x" * (MOST + 1)) == "x" * MOST + "..."


def test_a_value_is_as_python_writes_it_unless_it_is_large():
    assert [shown(each) for each in (None, "0.1", -1.5, [1, 2], {"a": [True]})] == [
        "None", "'0.1'", "-1.5", "[1, 2]", "{'a': [True]}",
    ]  # fmt: skip
    assert shown(10**5000) == "a number of many digits"
    assert shown(list(range(9))) == "[0, 1, 2, 3, 4, 5, ...]"
    laughs = ["x"] * 9
    for _ in range(8):
        laughs = [laughs] * 9  # nine to the power of nine
    assert len(shown(laughs)) <= MOST + 3 and len(shown("x" * 5000)) <= MOST + 3
