"""Reports: scores of many painted pictures as CSV, as JSON and as an HTML page."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from html import escape
from pathlib import Path
from statistics import fmean, median
from typing import Any

from impasto import files, images
from impasto.metrics import Scores
from impasto.pairs import Pair

MEASURES = {
    "score": "(1 + content) × (1 + style)²: both distances in one number, 1 at best. "
    "Meant for comparing methods over many pictures; on single pictures people often disagree.",
    "content": "Distance to the photo, 0 to 2: LPIPS with equal channel weights on VGG-19, "
    "mean over the last layer of each block (Zhang et al. 2018).",
    "structure": "Distance to the photo, 0 to 4: how far the parts that look alike differ, by "
    "DINOv2's keys (Tumanyan et al. 2022). Recolouring hardly counts.",
    "style": "Distance to the painting, 0 at best: Gram matrices, relative to the painting's, "
    "mean over relu1_1 to relu5_1 of VGG-19 (Gatys et al. 2016).",
    "frechet": "Distance to the painting, 0 at best: Fréchet distance of the means and covariances "
    "of the same layers, relative to the painting's.",
    "total_variation": "Mean squared difference of neighbouring pixels of the result. High is "
    "rough or noisy, low is smooth; which of them is right depends on the painting.",
}
"""Name and meaning of each measure, in the order of all tables."""
_THUMBNAIL = 360


@dataclass(frozen=True)
class Result:
    """The scores of one painted picture, with the files that it belongs to."""

    pair: Pair
    """The files: painted picture, photo and painting."""
    scores: Scores
    """The scores of the painted picture."""

    def values(self) -> dict[str, float]:
        """Returns the scores by the names of `MEASURES`."""
        values = {**asdict(self.scores), "score": self.scores.score}
        return {name: values[name] for name in MEASURES}

    def row(self) -> dict[str, Any]:
        """Returns the file names and the scores, by column."""
        return {**{name: str(path) for name, path in asdict(self.pair).items()}, **self.values()}


class Report:
    """The results of painted pictures, the worst first, with their means and medians.

    Args:
        results: one or more results.
    """

    def __init__(self, results: Sequence[Result]) -> None:
        self.results = sorted(results, key=lambda result: -result.scores.score)
        columns = {name: [result.values()[name] for result in results] for name in MEASURES}
        self.mean = {name: fmean(values) for name, values in columns.items()}
        self.median = {name: median(values) for name, values in columns.items()}

    def write_csv(self, path: Path) -> None:
        """Writes the scores as CSV, one line for each picture.

        Args:
            path: the file.

        Raises:
            OutputError: the file cannot be written.
        """
        text = io.StringIO()
        table = csv.DictWriter(text, list(self.results[0].row()), lineterminator="\n")
        table.writeheader()
        table.writerows(result.row() for result in self.results)
        files.replace(path, _encoded(text.getvalue()))

    def write_json(self, path: Path) -> None:
        """Writes ``mean``, ``median`` and ``pairs``, a list of the pictures with scores, as JSON.

        Args:
            path: the file.

        Raises:
            OutputError: the file cannot be written.
        """
        pairs = [result.row() for result in self.results]
        content = {"mean": self.mean, "median": self.median, "pairs": pairs}
        files.replace(path, json.dumps(content, indent=2).encode())

    def write_html(self, path: Path) -> None:
        """Writes an HTML page with scores and pictures, which are embedded, scaled down.

        Args:
            path: the file.

        Raises:
            OutputError: the file cannot be written.
        """
        thumbnail = cache(_thumbnail)  # paintings come many times

        def figure(caption: str, file: Path) -> str:
            name = escape(file.name)
            return (
                f'<figure><img src="{thumbnail(file)}" alt="{caption}: {name}">'
                f"<figcaption>{caption}<br><b>{name}</b></figcaption></figure>"
            )

        rows = []
        for result in self.results:
            pair = result.pair
            figures = (("photo", pair.photo), ("painting", pair.painting), ("result", pair.painted))
            numbers = "".join(
                f"<div><dt>{_label(name)}</dt><dd>{value:.3f}</dd></div>"
                for name, value in result.values().items()
            )
            pictures = "".join(figure(*each) for each in figures)
            rows.append(f'<article><div class="three">{pictures}</div><dl>{numbers}</dl></article>')
        lines = (("mean", self.mean), ("median", self.median))
        page = _PAGE.format(
            style=_STYLE,
            count=len(rows),
            head="".join(f"<th>{_label(name)}</th>" for name in MEASURES),
            summary="".join(
                f"<tr><th>{word}</th>{''.join(f'<td>{v:.3f}</td>' for v in values.values())}</tr>"
                for word, values in lines
            ),
            rows="\n".join(rows),
            meanings="".join(
                f"<dt>{_label(name)}</dt><dd>{text}</dd>" for name, text in MEASURES.items()
            ),
        )
        files.replace(path, _encoded(page))


def _encoded(text: str) -> bytes:
    """Encodes a text as UTF-8; what file names hold that is none becomes question marks."""
    return text.encode(errors="replace")


def _label(name: str) -> str:
    return name.replace("_", " ").replace("frechet", "Fréchet")


def _thumbnail(path: Path) -> str:
    """A picture as a small JPEG in a data URI."""
    picture = images.read(path)
    height, width = picture.size
    scale = min(1, _THUMBNAIL / max(height, width))
    sides = [max(1, round(side * scale)) for side in (height, width)]
    opaque = images.Picture(images.resize(picture.pixels, *sides))
    encoded = io.BytesIO()
    images.to_pil(opaque).save(encoded, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}"


_STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --soft: #6668; --card: #f5f4f2 }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --paper: #181818; --card: #242424 } }
body { margin: 0 auto; max-width: 68rem; padding: 1rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.5 system-ui, sans-serif }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid var(--soft) }
tr > :first-child { text-align: left }
article { margin: 1rem 0; padding: .8rem; border-radius: .5rem; background: var(--card) }
.three { display: grid; grid-template-columns: repeat(3, 1fr); gap: .6rem; align-items: start }
figure { margin: 0 } img { width: 100%; border-radius: .3rem; display: block }
figcaption { font-size: .8rem; overflow-wrap: anywhere }
article dl { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; margin: .6rem 0 0 }
article dt, article dd { display: inline; margin: 0 } article dt { margin-right: .4rem }
article dd { font-weight: 600; font-variant-numeric: tabular-nums }
footer dt { font-weight: 600 } footer dd { margin: 0 0 .6rem }
"""
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>impasto: {count} painted pictures</title><style>{style}</style></head>
<body>
<h1>Painted pictures: {count}, the worst first</h1>
<div class="wide"><table>
<thead><tr><th></th>{head}</tr></thead><tbody>{summary}</tbody>
</table></div>
{rows}
<footer><h2>What the numbers mean</h2><p>Lower is better, except for total variation.</p>
<dl>{meanings}</dl></footer>
</body>
</html>
"""
