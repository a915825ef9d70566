"""What became of a batch."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from impasto import __version__
from impasto.batch.painter import Outcome

FAILED, REPORT = "failed.csv", "report.json"
"""The files in the output folder: what could not be painted, and the report."""


@dataclass
class Report:
    """What became of a batch, in numbers of paintings."""

    input: str
    """The folder of the photos."""
    output: str
    styles: Mapping[str, Mapping[str, str]]
    """The styles that the output holds paintings in, by what these paintings' names end in, which
    is nothing where a run has a single style: ``source``, and ``sha256`` of a file.
    """
    recipe: Mapping[str, Any]
    """Method, controls and settings that were given."""
    total: int
    """How many there are, with those that were skipped."""
    skipped: int
    """How many were there already."""
    workers: str = "none"
    """What painted."""
    painted: int = 0
    seconds: float = 0.0
    stopped: bool = False
    """Whether it was stopped before the end."""
    failures: list[Outcome] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """How many could not be painted."""
        return sum(one.pictures for one in self.failures)

    @property
    def rate(self) -> float:
        """How many were painted in a second."""
        return self.painted / self.seconds if self.seconds else 0.0

    def add(self, outcome: Outcome, seconds: float) -> None:
        """Takes down what became of a painting.

        Args:
            outcome: what.
            seconds: since the start.
        """
        self.seconds = seconds
        if outcome.error:
            self.failures.append(outcome)
        else:
            self.painted += outcome.pictures

    def as_dict(self) -> dict[str, Any]:
        """The report as it is written."""
        values = asdict(self)
        del values["failures"]
        return {
            "impasto": __version__,
            **values,
            "failed": self.failed,
            "seconds": round(self.seconds, 2),
            "pictures_per_second": round(self.rate, 3),
        }

    def failures_csv(self) -> bytes:
        """What could not be painted, as a table in the order of the photos' names."""
        text = io.StringIO(newline="")
        rows = csv.writer(text)
        rows.writerow(("photo", "style", "error"))
        failures = sorted(self.failures, key=lambda one: (one.photo, one.style))
        rows.writerows((one.photo, one.style, one.error) for one in failures)
        return text.getvalue().encode(errors="surrogateescape")
