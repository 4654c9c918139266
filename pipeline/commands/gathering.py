"""The photographs and films that `predict` is asked for: files, and what lies in folders."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import PipelineError
from pipeline.film.reading import FILMS
from pipeline.reading import SUFFIXES, is_photograph

OVERLAYS = (".overlay.jpg", ".overlay.mp4")  # the ends of what an earlier call wrote


class File(NamedTuple):
    """A photograph, or a film, to look at."""

    path: Path
    name: Path  # of its results, below the folder for them

    @property
    def is_film(self) -> bool:
        """Whether its name is a film's."""
        return self.path.suffix.lower() in FILMS


class Gathered(NamedTuple):
    """What lies at some paths."""

    files: list[File]
    left_out: Counter[str]  # how many files of folders are of another kind, by suffix


def gathered(paths: Sequence[Path]) -> Gathered:
    """The files at paths, those of a folder and the folders below in the order of their names.

    In a folder, what is no photograph or film is left out, by the content where the suffix does not
    tell; hidden files, and overlays of an earlier call, are not counted. Raises PipelineError for a
    folder with nothing to look at, and where two files would have the same results.
    """
    found: dict[Path, File] = {}
    left_out: Counter[str] = Counter()
    for path in paths:
        asked = [File(path, Path(path.name))]
        if path.is_dir():
            asked = []
            for file in below(path):
                if file.name.endswith(OVERLAYS):
                    continue
                if is_wanted(file):
                    asked.append(File(file, file.relative_to(path)))
                else:
                    left_out[file.suffix.lower()] += 1
            if not asked:
                raise PipelineError(
                    f"{path}: no photographs or films in this folder; {of_other_kinds(left_out)}"
                )
        for each in asked:
            if found.setdefault(each.name, each).path != each.path:
                raise PipelineError(
                    f"{found[each.name].path} and {each.path} would have the same results,"
                    f" {each.name}: ask for one"
                )
    return Gathered(list(found.values()), left_out)


def below(folder: Path) -> list[Path]:
    """All files in a folder and in those below, linked ones too, but for hidden ones; each folder
    once, so that a link to one above is not followed round and round."""

    def walk() -> Iterator[Path]:
        seen: set[Path] = set()
        for root, folders, names in os.walk(folder, followlinks=True):
            where = Path(root)
            if where.resolve() in seen:
                folders.clear()
                continue
            seen.add(where.resolve())
            folders[:] = sorted(each for each in folders if not each.startswith("."))
            yield from (where / name for name in names if not name.startswith("."))

    return sorted(walk())


def is_wanted(file: Path) -> bool:
    """Is it a photograph or a film, by its suffix, or by its content where that says nothing?"""
    return file.suffix.lower() in SUFFIXES | FILMS or is_photograph(file)


def of_other_kinds(left_out: Counter[str]) -> str:
    """What was left out, in words."""
    kinds = ", ".join(f"{count} {kind or 'without suffix'}" for kind, count in left_out.items())
    if not kinds:
        return "nothing else either"
    return f"left out, neither photographs nor films: {kinds}"
