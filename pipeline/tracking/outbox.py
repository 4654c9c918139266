"""What a run is told, kept on disk until the store has it, and sent in order by a thread.

An outbox is a folder: `messages.jsonl`, a line each; `sent`, how many of them the store has;
`files`, copies of what it is to keep; `about.json`, whose they are; `lock`, held by the process
that speaks. What is left when that has ended, or was killed, is sent by the next
(`pipeline.tracking.resend`).
"""

import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock

from pipeline.files import written_whole
from pipeline.tracking.store import public

PAUSE, PAUSE_AT_THE_END = 15.0, 2.0  # s between two attempts, while the store takes nothing
PATIENCE = 60.0  # s that the end of a run waits for the store
_log = logging.getLogger(__name__)
Message = Mapping[str, Any]  # its "kind", and that kind's values; JSON


class Refused(Exception):
    """The store is there, and will never take this message."""


class Outbox:
    """Messages of one run. `say` and `keep` cost a line, or a copy, on disk and never fail."""

    def __init__(self, folder: Path, deliver: Callable[[Message], None]) -> None:
        """deliver: gives the store a message; raises Refused, or whatever else while it cannot.

        Raises filelock.Timeout where another process speaks here.
        """
        self.folder, self._deliver = folder, deliver
        (folder / "files").mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / "lock")
        self._lock.acquire(timeout=0)
        self._messages, self._count = folder / "messages.jsonl", folder / "sent"
        self._messages.touch()
        text = self._messages.read_text()
        whole = text.rfind("\n") + 1  # a process that was killed may have left half a line
        os.truncate(self._messages, len(text[:whole].encode()))
        self._more, self._closing, self._given_up = (threading.Event() for _ in range(3))
        self._thread = threading.Thread(target=self._send, name="tracking", daemon=True)
        self._thread.start()

    def say(self, kind: str, **values: Any) -> None:
        """Keep a message, to be sent after those before it."""
        try:
            with self._messages.open("a") as file:
                file.write(json.dumps({"kind": kind} | values) + "\n")
        except (OSError, TypeError, ValueError) as error:
            _log.warning("not tracked: %s: %s", type(error).__name__, public(error))
        self._more.set()

    def keep(self, make: Callable[[Path], object], name: str) -> str | None:
        """A place of one's own for a file of that name, which `make` writes; None where it fails.

        Returned is the path below `files`, for a message that names the file.
        """
        try:
            number = len(list((self.folder / "files").iterdir()))
            place = self.folder / "files" / str(number) / name
            place.parent.mkdir()
            make(place)
        except Exception as error:  # noqa: BLE001  a figure, a disk that is full
            _log.warning("not tracked: %s: %s: %s", name, type(error).__name__, public(error))
            return None
        return f"{number}/{name}"

    def close(self, patience: float = PATIENCE) -> int:
        """Wait until all is sent, or for so many seconds; how many messages are left.

        Where none is, the folder goes.
        """
        self._closing.set()
        self._more.set()
        self._thread.join(patience)
        self._given_up.set()
        left = len(self._all()) - self.sent
        self._lock.release()
        if not left:
            shutil.rmtree(self.folder, ignore_errors=True)
        return left

    def forget(self) -> None:
        """Send nothing; the folder goes."""
        self._given_up.set()
        self._more.set()
        self._thread.join()
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def has(self, kind: str) -> bool:
        """Whether a message of that kind was said, sent or not."""
        return any(message["kind"] == kind for message in self._all())

    @property
    def sent(self) -> int:
        """How many messages the store has, or has refused."""
        return int(self._count.read_text()) if self._count.exists() else 0

    def _all(self) -> list[Message]:
        lines = self._messages.read_text().split("\n")[:-1]  # the last may be half written
        return [json.loads(line) for line in lines]

    def _send(self) -> None:
        """The thread: what there is, in order, each line read once; what fails again, a pause
        later."""
        with self._messages.open("rb") as lines:
            for _ in range(self.sent):
                lines.readline()
            self._follow(lines)

    def _follow(self, lines: BinaryIO) -> None:
        failing = False
        while not self._given_up.is_set():
            self._more.wait()
            self._more.clear()
            closing = self._closing.is_set()
            place = lines.tell()
            try:
                while (line := lines.readline()).endswith(b"\n"):  # the last may be half written
                    self._send_one(json.loads(line))
                    place = lines.tell()
                failing = False
                if closing:
                    return
            except Exception as error:  # noqa: BLE001  MLflow, SQLAlchemy, requests: each its own
                if not failing:
                    said = f"{type(error).__name__}: {public(error)}"
                    _log.warning("the tracking store takes nothing now, it is kept: %s", said)
                failing = True
                self._given_up.wait(PAUSE_AT_THE_END if closing else PAUSE)
                self._more.set()
            finally:
                lines.seek(place)  # before what is not sent

    def _send_one(self, message: Message) -> None:
        if self._given_up.is_set():
            return
        try:
            self._deliver(message)
        except Refused as error:
            _log.warning("not tracked: %s", public(error))
        with written_whole(self._count) as beside:
            beside.write_text(str(self.sent + 1))
