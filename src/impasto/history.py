"""History: the losses of a run, as a table and as a plot."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from impasto import files
from impasto.errors import OutputError
from impasto.methods import Progress


class History:
    """Collects the losses of each step, if it is given as ``on_step``."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        """For each step its number, ``step``, and its losses by name."""

    def __call__(self, progress: Progress) -> None:
        """Adds a row for one step of a painting."""
        self.add(progress.step, progress.losses)

    def add(self, step: int, losses: Mapping[str, float]) -> None:
        """Adds a row: the number of a step, and its losses by name."""
        self.rows.append({"step": step, **losses})

    def _names(self) -> list[str]:
        """The columns: ``step``, and the losses that any row has."""
        return list(dict.fromkeys(["step", *(name for row in self.rows for name in row)]))

    def write_csv(self, path: Path) -> None:
        """Writes the losses as CSV, one line for each step.

        Args:
            path: the file.

        Raises:
            OutputError: the file cannot be written.
        """
        text = io.StringIO()
        table = csv.DictWriter(text, self._names(), lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        files.replace(path, text.getvalue().encode())

    def write_plot(self, path: Path) -> None:
        """Draws the losses against the steps, on a logarithmic scale.

        Args:
            path: the file, whose extension decides the format: .png, .svg or .pdf.

        Raises:
            OutputError: the file cannot be written, or there is no such format.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.subplots()
        for name in self._names()[1:]:
            steps, values = zip(
                *((r["step"], r[name]) for r in self.rows if name in r), strict=True
            )
            if any(value > 0 for value in values):
                width = 2 if name == "total" else 1
                axes.plot(steps, values, label=name, linewidth=width)
        axes.set(xlabel="iteration", ylabel="weighted loss", yscale="log")
        axes.grid(visible=True, which="both", alpha=0.2)
        if axes.lines:
            axes.legend()
        drawn = io.BytesIO()
        figure.savefig(drawn, format=plot_format(path))
        files.replace(path, drawn.getvalue())


def plot_format(path: Path) -> str:
    """Returns the format of a plot by its file's extension: ``png``, ``svg`` or ``pdf``.

    Raises:
        OutputError: the extension is another one.
    """
    kind = path.suffix.lower().lstrip(".")
    if kind not in ("png", "svg", "pdf"):
        raise OutputError(f"{path}: cannot draw '{path.suffix}' plots; use .png, .svg or .pdf")
    return kind
