"""What a run is told: kept on disk, and sent in order, each thing once, whatever the store does."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from filelock import Timeout

from conftest import ROOT
from pipeline.tracking import outbox
from pipeline.tracking.outbox import Outbox, Refused


class Store:
    """Takes messages while it is `up`."""

    def __init__(self, up: bool = True) -> None:
        self.up, self.has, self.asked = up, [], 0

    def __call__(self, message) -> None:
        self.asked += 1
        if not self.up:
            raise ConnectionError("http://me:secret@store is away")
        if message["kind"] == "nonsense":
            raise Refused("nonsense: never")
        self.has.append(message["number"])


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(outbox, "PAUSE", 0.02)
    monkeypatch.setattr(outbox, "PAUSE_AT_THE_END", 0.02)


def test_what_is_said_is_sent_in_order_and_nothing_is_left(tmp_path):
    store = Store()
    box = Outbox(tmp_path / "box", store)
    for number in range(50):
        box.say("some", number=number)
    assert box.close() == 0
    assert store.has == list(range(50)) and not (tmp_path / "box").exists()


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts what is read as Linux does")
def test_a_message_costs_no_more_after_thousands(tmp_path):
    """Trainings of days have so many: all of them used to be read again for each.

    Bytes are counted, not seconds, which hang on what else the machine does.
    """
    taken = threading.Semaphore(0)
    box = Outbox(tmp_path / "box", lambda _: taken.release())
    row = {f"a/curve/{number}": 0.123456789 for number in range(50)}
    read, process = [], psutil.Process()
    for step in range(1500):
        if step % 100 == 0:
            read.append(process.io_counters().read_chars)
        box.say("points", rows=[(step, 0, row)])
        assert taken.acquire(timeout=10)
    assert box.close() == 0
    first, *_, last = np.diff(read)
    assert last < 2 * first
    assert last > 100 * len(json.dumps(row))  # each is read


def test_while_the_store_is_away_all_is_kept_and_then_sent_once(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    store = Store(up=False)
    box = Outbox(tmp_path / "box", store)
    for number in range(20):
        box.say("some", number=number)
    while store.asked < 3:
        time.sleep(0.01)
    assert store.has == [] and box.sent == 0
    store.up = True
    box.say("some", number=20)
    assert box.close() == 0 and store.has == list(range(21))
    assert len(caplog.records) == 1 and "secret" not in caplog.text  # once an outage


def test_what_the_store_refuses_holds_nothing_up(tmp_path, caplog):
    store = Store()
    box = Outbox(tmp_path / "box", store)
    for number, kind in enumerate(["some", "nonsense", "some"]):
        box.say(kind, number=number)
    assert box.close() == 0 and store.has == [0, 2] and "nonsense: never" in caplog.text


def test_a_store_that_stays_away_leaves_all_to_the_next_process(tmp_path):
    store, folder = Store(up=False), tmp_path / "box"
    box = Outbox(folder, store)
    for number in range(5):
        box.say("some", number=number)
    start = time.monotonic()
    assert box.close(patience=0.2) == 5 and time.monotonic() - start < 2
    store.up = True
    time.sleep(0.1)
    assert store.has == []  # whoever has ended sends no more
    again = Outbox(folder, store)
    assert again.has("some") and not again.has("end")
    assert again.close() == 0 and store.has == list(range(5))


def test_a_store_that_hangs_takes_no_time(tmp_path):
    released = threading.Event()
    box = Outbox(tmp_path / "box", lambda _: released.wait())
    start = time.monotonic()
    for number in range(1000):
        box.say("some", number=number)
    assert box.close(patience=0.1) == 1000 and time.monotonic() - start < 5
    released.set()


def test_one_process_at_a_time_uses_an_outbox(tmp_path):
    box = Outbox(tmp_path / "box", Store())
    with pytest.raises(Timeout):
        Outbox(tmp_path / "box", Store())
    box.close()


def test_files_have_a_place_of_their_own_and_one_that_cannot_be_made_costs_a_warning(
    tmp_path, caplog
):
    box = Outbox(tmp_path / "box", Store())
    one, other = (box.keep(lambda place, n=n: place.write_text(n), "a.txt") for n in "12")
    assert [(tmp_path / "box/files" / each).read_text() for each in (one, other)] == ["1", "2"]
    assert box.keep(lambda place: place.write_text(1), "b.txt") is None
    assert "b.txt: TypeError" in caplog.text
    box.close()


KILLED = """
import sys, time
from pathlib import Path
from pipeline.tracking.outbox import Outbox
box = Outbox(Path(sys.argv[1]), lambda _: time.sleep(3600))
for number in range(10**6):
    box.say("some", number=number)
    print(number, flush=True)
"""


def test_a_process_that_is_killed_leaves_whole_messages(tmp_path):
    folder = tmp_path / "box"
    command = [sys.executable, "-c", KILLED, str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout:
            if line == "30\n":
                process.send_signal(signal.SIGKILL)
                break
    with (folder / "messages.jsonl").open("a") as file:
        file.write(json.dumps({"kind": "some", "number": -1})[:-4])  # half a line
    store = Store()
    again = Outbox(folder, store)
    again.say("some", number="last")  # after the half line, not on it
    assert again.close() == 0
    *before, last = store.has
    assert before[:31] == list(range(31)) and before == list(range(len(before)))
    assert last == "last"
