"""Whether DVC keeps what runs in this repository, which it copies for `dvc exp run --temp` and for
its queue; DVC 3.67 itself loses an experiment without a word, or fails with one that helps nobody.

    python3.11 -m pipeline.repository

says so before anything is installed, and each stage before it works.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.paths import main_root

# In a path: what DVC takes for its own signs, in addresses of files and in formats of messages.
NOT_COPIED, NOT_RECORDED = re.compile(r"[^ -~]|[#?%{}]"), re.compile(r"[{}]")


class RepositoryError(PipelineError):
    """DVC would lose what runs in this repository."""


def check_copied(root: Path) -> None:
    """Raises RepositoryError where no experiment can be run in a temporary copy of a repository."""
    if found := NOT_COPIED.search(str(root)):
        raise RepositoryError(
            f"{root}: DVC cannot copy a repository whose path has {found[0]!r}: move it to a path"
            " of ASCII characters without # ? % { }"
        )
    if _git(root, "rev-parse", "--is-shallow-repository") == "true":
        raise RepositoryError(
            f"{root}: a shallow clone, from which DVC loses every experiment that runs in a copy"
            " of it (--temp, the queue): run `git fetch --unshallow` first"
        )
    config = root / ".git" / "config"
    if config.is_file() and not config.read_bytes().isascii():
        raise RepositoryError(
            f"{config}: DVC copies this file only where it is ASCII: move what is not, such as a"
            " name, to your own configuration by `git config --global`"
        )


def check_kept() -> None:
    """Raises RepositoryError in a stage whose results DVC would lose."""
    root = main_root()
    if Path.cwd().is_relative_to(root / ".dvc" / "tmp" / "exps"):
        check_copied(root)
    elif "DVC_STAGE" in os.environ and NOT_RECORDED.search(str(root)):
        raise RepositoryError(
            f"{root}: DVC cannot record a stage in a folder whose path has a brace: move it to one"
            " without"
        )


def _git(folder: Path, *words: str) -> str:
    """What a git command prints, or nothing where there is no git or no repository."""
    try:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


if __name__ == "__main__":
    try:
        check_copied(main_root())
    except RepositoryError as error:
        sys.exit(f"error: {error}")
