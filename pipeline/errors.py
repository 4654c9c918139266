"""The failure that all others are kinds of, and how it repeats what it is about."""

from reprlib import Repr

MOST = 200  # characters that are repeated

_repr = Repr()
_repr.maxlevel, _repr.maxdict = 3, 10
_repr.maxstring, _repr.maxlong, _repr.maxother = MOST, 100, 100


class PipelineError(Exception):
    """A failure whose reason we know: one clear message, no traceback."""


def brief(text: object) -> str:
    """What a file, or a library, says, for a sentence: on one line, printable, not too long."""
    line = " ".join(str(text).split())
    shorter = line if len(line) <= MOST else f"{line[:MOST]}..."
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in shorter)


def shown(value: object) -> str:
    """A value as Python writes it, likewise."""
    try:
        return brief(_repr.repr(value))
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of many digits"
