"""What was tried, what survived, and what was lost, as a table."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tqdm import tqdm


class Lost(AssertionError):
    """Something was lost, left over, or said wrongly; the message says what."""


@dataclass
class Table:
    """A row a kind of fault."""

    tried: Counter[str] = field(default_factory=Counter)
    lost: dict[str, list[str]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)  # such as the time that an outage cost

    def attempt(self, kind: str, trial: Callable[[], object], times: int = 1) -> None:
        """Count a trial, which stands for some faults of a kind, and what it lost if it fails."""
        self.tried[kind] += times
        try:
            trial()
        except Exception as error:  # noqa: BLE001  whatever is not as it should be
            self.lost.setdefault(kind, []).append(
                f"{error}" if isinstance(error, Lost) else repr(error)
            )
            tqdm.write(f"LOST, {kind}: {error}")

    def count(self, kind: str, times: int) -> None:
        """Count what docs/reliability.md does not promise to prevent, and what loses nothing."""
        self.tried[kind] += times

    @property
    def losses(self) -> int:
        """How many trials lost something."""
        return sum(map(len, self.lost.values()))

    def markdown(self) -> str:
        """The table, as it is in docs/reliability.md."""
        lines = ["| fault | tried | survived | lost |", "|---|---|---|---|"]
        for kind, tried in self.tried.items():
            lost = self.lost.get(kind, [])
            said = "; ".join(dict.fromkeys(lost)) or self.notes.get(kind, "nothing")
            said = said.replace("\n", " ").replace("|", "\\|")
            lines.append(f"| {kind} | {tried} | {tried - len(lost)} | {said[:300]} |")
        total = sum(self.tried.values())
        lines.append(f"| **all** | **{total}** | **{total - self.losses}** | |")
        return "\n".join(lines)


def require(holds: object, lost: str) -> None:
    """Raise Lost where something does not hold."""
    if not holds:
        raise Lost(lost)
