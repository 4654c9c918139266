"""Bad input that the served model is given: requests that are none."""

import json
from pathlib import Path

import numpy as np
import requests

import served
from conftest import ROOT
from faults.bad import Trials, bodies, chosen, name, no_number, photographs
from faults.programs import LONGEST
from faults.table import Lost, require

UNSUPPORTED = 415  # HTTP's status of a content type that is not read
SOON = 90.0  # s within which a server answers


def of_bodies(folder: Path, count: int, rng: np.random.Generator) -> Trials:
    """Bad requests to a real server; a good one after each."""
    (folder / "store").mkdir()
    photograph = served.encoded(photographs.person())
    with served.store(folder / "store") as store, served.serving(store) as (address, _):
        for way in chosen(bodies.WAYS, count, rng):
            body, kind = way(photograph, rng)

            def trial(body: bytes = body, kind: str = kind) -> None:
                headers = {"Content-Type": kind} if kind else {}
                words = {"data": body, "headers": headers, "timeout": SOON}
                try:
                    answer = requests.post(f"{address}/invocations", **words)
                    good = served.ask(address, {"image": photograph}, timeout=SOON)
                except requests.RequestException as error:
                    raise Lost(f"no answer: {error}"[:300]) from None
                judged(answer, photograph, store)
                require(good.ok and good.json()["predictions"][0]["people"], "a good one failed")

            yield f"{name(way)}, {kind[:40]}, {body[:40]!r}", trial


def judged(answer: requests.Response, photograph: str, store: Path) -> None:
    """Raises Lost where an answer says too much, too little, or not in JSON."""
    status, text = answer.status_code, answer.text
    require(status == 200 or 400 <= status < 500, f"status {status}: {text[:300]}")
    for secret in ("Traceback", str(store), str(ROOT), "site-packages", photograph[:60]):
        require(secret not in text, f"status {status}, says {secret[:60]!r}: {text[:200]!r}")
    if status == UNSUPPORTED:
        return  # in MLflow's own words
    try:
        said = json.loads(text, parse_constant=no_number)
    except ValueError:
        raise Lost(f"status {status}, no JSON: {text[:200]!r}") from None
    if status != 200:
        require(len(text) <= LONGEST, f"status {status}, {len(text):,} characters: {text[:200]!r}")
        return
    for each in said["predictions"]:
        require(set(each) == {"error"} or "people" in each, f"neither nor: {str(each)[:200]}")
        error = each.get("error", "")
        require(len(error) <= LONGEST and error.isprintable(), f"error: {error[:200]!r}")
