"""Four trainings at once from two clones, while the team's database and its S3 server are
killed in turn; then everything is counted from a third clone."""

from pathlib import Path

import team_home
from faults.table import Table, require
from teamwork import Team, counted, restarts, told

NAMES = {"ada": ["ada-1", "ada-2"], "grace": ["grace-1", "grace-2"]}
KILLS = 6
LONGER = ("-S", "train.steps=400")  # so that they go on under all of it


def run(table: Table, folder: Path) -> None:
    """One home, one row; skipped with a reason where it cannot be set up."""
    kind = f"PostgreSQL and S3 killed {KILLS} times under 4 trainings"
    if reason := team_home.missing():
        print(f"home: {reason}")
        return

    def attempt() -> None:
        folder.mkdir(parents=True)
        with team_home.home() as home:
            team = Team(folder, home)
            team.train(NAMES, *LONGER, disturb=restarts(team, KILLS))
            counts = counted(team, [name for names in NAMES.values() for name in names])
            require(not (places := told(team)), f"a secret in {', '.join(places)}")
            table.notes[kind] = "nothing: " + ", ".join(f"{n} {what}" for what, n in counts.items())

    table.attempt(kind, attempt)
