"""Joints as rows of a table: what joints.csv and a film's table say of a person."""

from collections.abc import Iterator
from typing import Any

from pipeline.photographs.people import Person

COLUMNS = ("person", "person_score", "joint", "x", "y", "score", "hidden", "outside")


def rows(number: int, person: Person) -> Iterator[tuple[Any, ...]]:
    """A row a joint, as of COLUMNS, of somebody who bears a number."""
    said = person.description()
    return ((number, said["score"], *joint.values()) for joint in said["joints"])
