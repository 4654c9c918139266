"""What a tracking store lacks because it was away: sent now, each thing once.

    python -m pipeline track --resend
    python -m pipeline track --to https://mlflow.example.org

A run keeps on disk what the store does not take; what is still there when it has ended, or was
killed, is sent by the next training, or by this. Where the repository was moved, its own store
learns its new address.

`--to` copies what this project's store holds into the server of a team, each run, model and version
once, however often it is said.
"""

import argparse
import sqlite3

from pipeline.paths import main_root
from pipeline.tracking.copying import copy_to
from pipeline.tracking.moving import follow
from pipeline.tracking.recording import resend
from pipeline.tracking.run import outboxes
from pipeline.tracking.store import TrackingError, alone, database_of, public, tracking_uri


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command is told."""
    parser.add_argument("--resend", action="store_true", help="send it; else it is only counted")
    parser.add_argument(
        "--to", metavar="URI", help="send it, then copy runs and models to the MLflow server there"
    )


def run(options: argparse.Namespace) -> int:
    """Send what waits; exit status 1 where something stays. Raises TrackingError."""
    uri = tracking_uri()
    try:
        with alone(uri):
            follow(database_of(uri), main_root())
    except sqlite3.Error as error:
        raise TrackingError(public(f"cannot track at {uri}: {error}")) from None
    if options.to:
        said, left = copy_to(options.to)
        print("\n".join(said))
        return 1 if left else 0
    waiting = sorted(path.name for path in outboxes().glob("*"))
    if not waiting:
        print("nothing waits")
        return 0
    if not options.resend:
        print("\n".join([*waiting, "`python -m pipeline track --resend` sends what waits"]))
        return 0
    said = resend()
    print("\n".join(said))
    return 0 if all(line.endswith(": sent") for line in said) else 1
