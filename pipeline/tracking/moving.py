"""The repository's own store when it was moved with the repository: MLflow keeps absolute
addresses, and would make the old folder again."""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"  # of that store, in the root
ADDRESSES = (  # of artifacts, in MLflow's tables
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_log = logging.getLogger(__name__)


def follow(database: Path | None, root: Path) -> None:
    """Let a store's addresses below the `mlartifacts` of an old root be those of the present root,
    if it is that root's own store.

    Only where the old folder is gone and the new one is there: a copy, beside what it was copied
    from, keeps its addresses. To be called alone (`store.alone`). Raises sqlite3.Error.
    """
    new = root / ARTIFACTS
    if database != root / DATABASE or not database.is_file() or not new.is_dir():
        return
    with closing(sqlite3.connect(database)) as connection, connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if "experiments" not in tables:
            return
        places = connection.execute("SELECT artifact_location, name FROM experiments").fetchall()
        olds = {
            place.removesuffix(f"/{name}")
            for place, name in places
            if place and place.startswith("file:///") and place.endswith(f"/{ARTIFACTS}/{name}")
        }
        for old in olds - {new.as_uri()}:
            path = Path(unquote(old.removeprefix("file://")))
            if path.exists():
                continue
            for table, column in ADDRESSES:
                if table in tables:
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                        f" WHERE substr({column}, 1, ?) = ?",
                        (new.as_uri(), len(old) + 1, len(old) + 1, f"{old}/"),
                    )
            _log.warning("%s was moved to %s: the store's addresses follow", path, new)
