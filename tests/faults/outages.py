"""A tracking store that is away: refused, hanging, failing, locked, full; at any time of a run."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from contextlib import closing as closing_after
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tqdm import tqdm

import servers
from disks import small_disk
from faults.clone import STEPS, Clone, Reference, runs
from faults.table import Table, require

AT_ONCE = 3  # most of the time is waiting
TIMES = ("before", "during", "at the end", "in evaluate")


class Store:
    """A real MLflow server that can be taken away, and comes back at the same address."""

    def __init__(self, folder: Path, artifacts: Path | None = None) -> None:
        folder.mkdir()
        self.folder, self.port = folder, servers.free_port()
        self.artifacts = artifacts or folder / "kept"
        self._up = ExitStack()
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> Path:
        return self.folder / "mlflow.db"

    def start(self) -> None:
        places = ("--backend-store-uri", f"sqlite:///{self.database}")
        words = (
            "server",
            "--workers",
            "1",
            *places,
            "--artifacts-destination",
            f"{self.artifacts}",
        )
        _, self.process = self._up.enter_context(
            servers.running(
                *words,
                folder=self.folder,
                log=self.folder / "log",
                ready="/health",
                port=self.port,
            )
        )

    def stop(self) -> None:
        """Returns when another may listen at its address."""
        self._up.close()
        waited = time.monotonic() + 30
        while time.monotonic() < waited:
            with suppress(OSError), socket.create_server(("127.0.0.1", self.port)):
                return
            time.sleep(0.1)


@contextmanager
def refused(store: Store) -> Iterator[None]:
    """Nobody listens."""
    store.stop()
    yield
    store.start()


@contextmanager
def hanging(store: Store) -> Iterator[None]:
    """Connections are taken, and nothing is answered."""
    os.killpg(store.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(store.process.pid, signal.SIGCONT)


@contextmanager
def answering_500(store: Store) -> Iterator[None]:
    """Another server at that address fails at everything."""

    class Failing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(500)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            pass

    store.stop()
    server = ThreadingHTTPServer(("127.0.0.1", store.port), Failing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield
    server.shutdown()
    server.server_close()
    store.start()


@contextmanager
def closing(store: Store) -> Iterator[None]:
    """Every connection is closed as soon as it is there."""
    store.stop()
    done = threading.Event()
    listening = socket.create_server(("127.0.0.1", store.port))
    listening.settimeout(0.1)

    def close_all() -> None:
        while not done.is_set():
            try:
                listening.accept()[0].close()
            except TimeoutError:
                continue

    thread = threading.Thread(target=close_all, daemon=True)
    thread.start()
    yield
    done.set()
    thread.join()
    listening.close()
    store.start()


@contextmanager
def locked(store: Store) -> Iterator[None]:
    """Its database is held by somebody else."""
    holder = sqlite3.connect(store.database, timeout=60, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        holder.rollback()
        holder.close()


@contextmanager
def full(store: Store) -> Iterator[None]:
    """Its disk of artifacts is full."""
    hog = store.artifacts / "hog"
    with hog.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(2**16))
    yield
    hog.unlink()


@contextmanager
def of_an_old_schema(store: Store) -> Iterator[None]:
    """Its database is of another version of MLflow: columns have other names."""
    columns = {"metrics": "step", "latest_metrics": "step", "tags": "value", "params": "value"}

    def rename(before: str, after: str) -> None:
        with closing_after(sqlite3.connect(store.database)) as database:
            for table, column in columns.items():
                words = f"ALTER TABLE {table} RENAME COLUMN {column}{before} TO {column}{after}"
                database.execute(words)

    rename("", "_of_old")
    yield
    rename("_of_old", "")


OUTAGES: tuple[Callable, ...] = (
    *(refused, hanging, answering_500, closing, locked, full, of_an_old_schema),
)


def run(table: Table, reference: Reference, share: float) -> None:
    """Each outage at each time, once; a share of them, in turn."""
    every = [(outage, when) for when in TIMES for outage in OUTAGES]
    chosen = every[:: max(round(1 / share), 1)]

    def one(number: int) -> None:
        outage, when = chosen[number]
        kind = f"store {outage.__name__.replace('_', ' ')}"
        table.attempt(kind, partial(away, reference, number, outage, when))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = pool.map(one, range(len(chosen)))
        list(tqdm(done, "outages", len(chosen), unit=" outages"))


def away(reference: Reference, number: int, outage: Callable, when: str) -> None:
    """Train and evaluate with a store that fails at a time; it must hold all in the end."""
    with ExitStack() as stack:
        clone = stack.enter_context(reference.clone(f"outage-{number}", done=True))
        for path in ("checkpoints", "mlflow.db", "mlartifacts", "models/generator.safetensors"):
            place = clone.folder / path
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        folder, artifacts = reference.folder.with_name(f"store-{number}"), None
        if outage is full:
            artifacts = stack.enter_context(
                small_disk(folder.with_name(f"kept-{number}"), 64 * 1024)
            )
        store = Store(folder, artifacts)
        stack.callback(store.stop)
        clone.tracking = store.address
        train = ("dvc", "repro", "--single-item", "--force", "train")
        evaluate = ("dvc", "repro", "--single-item", "--force", "evaluate")
        if when == "before":
            with outage(store):
                clone.run(*train)
        elif when == "in evaluate":
            clone.run(*train)
            with outage(store):
                clone.run(*evaluate)
        else:
            process = clone.start(*train)
            wait_until(process, clone, STEPS // 4 if when == "during" else STEPS)
            with outage(store):
                if when == "at the end":
                    process.wait()
                else:
                    time.sleep(20)
            require(process.wait() == 0, f"the training failed: {clone.said[-300:]}")
        clone.run("python", "-m", "pipeline", "track", "--resend")
        if when != "in evaluate":
            clone.run(*evaluate)
            clone.run("python", "-m", "pipeline", "track", "--resend")
        check(clone, reference)
        require("Traceback" not in clone.said, f"a traceback: {clone.said[-300:]}")


def wait_until(process: subprocess.Popen, clone: Clone, step: int) -> None:
    """Until the training's curve has a step, or the training ends."""
    curve = clone.folder / "metrics/learning_curve.csv"
    curve.unlink(missing_ok=True)
    while process.poll() is None:
        if curve.exists() and curve.read_text().strip():
            last = curve.read_text().strip().splitlines()[-1].partition(",")[0]
            if last.isdigit() and int(last) >= step:
                return
        time.sleep(0.05)


def check(clone: Clone, reference: Reference) -> None:
    """The store must hold the generator's training whole, once: points, files, the model."""
    again = reference.check_runs(clone)
    require(not again, f"{again} runs more than trainings")
    run, client = runs(clone)["generator"][0], clone.client()
    there = {item.path for item in client.list_artifacts(run.info.run_id)}
    for name in ("params.yaml", "pictures", "report.html"):
        require(name in there, f"{name} is missing among the artifacts")
    require(run.outputs and run.outputs.model_outputs, "the model is missing")
    left = list((clone.folder / ".dvc/tmp/tracking").glob("*"))
    require(not left, f"waits still: {[path.name for path in left]}")
