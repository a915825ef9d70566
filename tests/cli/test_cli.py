"""The command line, with real files and the real encoder on small pictures."""

import json
import math
import resource
import signal
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from impasto import images
from impasto.cli.paint import parse_style
from impasto.errors import ControlError
from impasto.recipes import names, read_named
from impasto.weights import table
from tests.helpers.cli import command, run_apart, run_on_terminal
from tests.helpers.files import bomb
from tests.helpers.pictures import painting_array, photo_array


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


FAST = ["--encoder", "vgg16", "--iterations", "2"]


def test_a_trained_style_is_a_name(run, folder):
    code, out, err = run("stylize", "photo.png", "starry-night", "-o", "out.png", "--device", "cpu")
    assert (code, err) == (0, "")
    assert out.startswith("out.png: 64x48")
    recipe = images.read_recipe(folder / "out.png")
    assert recipe["method"] == "fast"
    assert recipe["sha256"] == {"fast.starry-night": table()["fast.starry-night"].sha256}
    assert recipe["styles"] == [{"source": "starry-night", "weight": 1.0, "mask": None}]
    again = ["stylize", "photo.png", "starry-night", "-o", "again.png", "--recipe", "out.png"]
    assert run(*again)[0] == 0
    np.testing.assert_array_equal(pixels("again.png"), pixels("out.png"))
    both = ["--style", "starry-night:2", "--style", "great-wave", "--strength", "0.8"]
    assert run("stylize", "photo.png", *both, "-o", "both.png")[0] == 0
    assert not np.array_equal(pixels("both.png"), pixels("out.png"))


def test_styles_are_listed(run):
    code, out, _ = run("styles")
    assert code == 0
    lines = out.splitlines()
    assert len(lines) >= 8
    assert all(line.endswith(("trained  public domain", "picture  CC0")) for line in lines)
    (line,) = (line for line in lines if line.startswith("great-wave"))
    assert "Katsushika Hokusai, The Great Wave off Kanagawa (1831)" in line


@pytest.mark.slow
def test_a_sheet_of_all_styles(run, folder):
    code, out, _ = run("styles", "--sheet", "photo.png", "-o", "sheet.png")
    assert code == 0
    assert "sheet.png: photo.png in each trained style" in out
    assert pixels("sheet.png").shape[1] == 4 * (64 + 12) + 12


def test_bad_calls_of_styles(refused, folder):
    (folder / "dot.png").write_bytes(b"")
    assert "a sheet needs both" in refused("styles", "--sheet", "photo.png")
    assert "a sheet needs both" in refused("styles", "-o", "sheet.png")
    assert "no such file" in refused("styles", "--sheet", "no.png", "-o", "sheet.png")
    assert "dot.png: " in refused("styles", "--sheet", "dot.png", "-o", "sheet.png")
    assert "is also an input" in refused("styles", "--sheet", "photo.png", "-o", "photo.png")
    assert "cannot write '.gif'" in refused("styles", "--sheet", "photo.png", "-o", "a.gif")
    assert "did you mean starry-night" in refused(
        "stylize", "photo.png", "stary-night", "-o", "out.png"
    )


def test_a_look_is_saved_and_paints_other_photos(run, folder):
    Image.fromarray(photo_array(40, 60)).save("second.png")
    network = ["--method", "adain.small", "--strength", "0.7", "--precision", "float32"]
    saving = ["-o", "out.png", "--save-look", "mine.look"]
    assert run("stylize", "photo.png", "painting.png", *network, *saving)[0] == 0
    assert run("stylize", "photo.png", "mine.look", "-o", "again.png")[0] == 0
    np.testing.assert_array_equal(pixels("again.png"), pixels("out.png"))
    recipe = images.read_recipe(folder / "again.png")
    assert (recipe["strength"], recipe["weights"]) == (0.7, "adain.small")
    assert recipe["styles"][0]["source"] == "mine.look"
    both = ["photo.png", "second.png", "--style", "mine.look", "-o", "folder", "--strength", "0.2"]
    assert run("stylize", *both)[0] == 0
    assert pixels("folder/second.png").shape == (40, 60, 3)
    faint = np.abs(pixels("folder/photo.png").astype(int) - photo_array()).mean()
    assert faint < 0.6 * np.abs(pixels("out.png").astype(int) - photo_array()).mean()


def test_bad_calls_with_looks(run, refused, folder):
    Image.fromarray(np.full((48, 64), 200, np.uint8)).save("mask.png")
    base = ["stylize", "photo.png", "starry-night", "-o", "out.png"]
    assert "kept in .look files" in refused(*base, "--save-look", "mine.png")
    assert "there is no folder" in refused(*base, "--save-look", "nowhere/mine.look")
    masked = ["stylize", "photo.png", "--style", "starry-night:1:mask.png", "-o", "out.png"]
    assert "save one without masks" in refused(*masked, "--save-look", "mine.look")
    several = ["stylize", "photo.png", "painting.png", "--style", "starry-night", "-o", "folder"]
    assert "give a single CONTENT" in refused(*several, "--save-look", "mine.look")
    assert not (folder / "mine.look").exists()
    assert run(*base, "--save-look", "mine.look")[0] == 0
    using = ["stylize", "photo.png", "-o", "out.png"]
    own = "has its own method and styles: leave out"
    assert f"{own} --method" in refused(*using, "--style", "mine.look", "--method", "gatys")
    assert f"{own} other styles" in refused(*using, "--style", "mine.look:2")
    two = ["--style", "mine.look", "--style", "udnie"]
    assert f"{own} other styles" in refused(*using, *two)
    assert "none.look: no such look" in refused(*using, "--style", "none.look")
    assert "is also an input" in refused(
        *base[:2], "mine.look", "-o", "o.png", "--save-look", "mine.look"
    )


@pytest.mark.slow
def test_a_texture_comes_again_from_its_recipe(run, folder):
    for method in (["--method", "adain.small"], ["--encoder", "vgg16", "--iterations", "2"]):
        assert run("texture", "painting.png", *method, "--size", "48x32", "-o", "a.png")[0] == 0
        assert run("texture", "painting.png", "--recipe", "a.png", "-o", "b.png")[0] == 0
        np.testing.assert_array_equal(pixels("a.png"), pixels("b.png"))
        assert (
            run("texture", "painting.png", "--recipe", "a.png", "--size", "32x40", "-o", "b.png")[0]
            == 0
        )
        assert pixels("b.png").shape == (40, 32, 3)


def test_a_picture_by_a_look_comes_again_from_its_recipe(run, folder):
    assert run("stylize", "photo.png", "udnie", "-o", "a.png", "--save-look", "u.look")[0] == 0
    assert run("stylize", "photo.png", "u.look", "-o", "b.png")[0] == 0
    assert run("stylize", "photo.png", "u.look", "-o", "c.png", "--recipe", "b.png")[0] == 0
    np.testing.assert_array_equal(pixels("c.png"), pixels("a.png"))


def test_a_recipe_of_other_weights_is_told(run, folder):
    base = ["stylize", "photo.png", "starry-night"]
    assert run(*base, "-o", "out.png")[0] == 0
    recipe = images.read_recipe(folder / "out.png")
    recipe["sha256"]["fast.starry-night"] = "0" * 64
    images.write(folder / "old.png", images.read("out.png"), recipe)
    code, _, err = run(*base, "-o", "again.png", "--recipe", "old.png")
    assert code == 0
    assert "painted with other weights of fast.starry-night than the recipe's picture" in err
    assert run(*base, "-o", "again.png", "--recipe", "out.png")[2] == ""


def test_help_is_light():
    code = "import sys, impasto.cli; print('torch' in sys.modules, 'PIL' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["False", "False"]
    assert "stylize" in run_apart("--help").stdout


def test_no_arguments_show_the_help(run):
    code, _, err = run()
    assert code == 2
    assert err.startswith("Usage: impasto")
    assert "texture" in err


def test_every_flag_has_its_help(run):
    code, out, _ = run("stylize", "--help")
    assert code == 0
    for flag in ("--strength", "--preserve-color", "--style-layers", "--no-coarse-to-fine"):
        assert flag in out
    assert "[default: lbfgs]" in out


def test_stylize_writes_a_picture_with_its_recipe(run, folder):
    code, out, err = run("stylize", "photo.png", "painting.png", "-o", "out.png", *FAST)
    assert (code, out.startswith("out.png: 64x48")) == (0, True)
    assert "step 2 of 2" in err
    with Image.open("out.png") as image:
        assert image.size == (64, 48)
    recipe = images.read_recipe(folder / "out.png")
    assert recipe["encoder"] == "vgg16"
    assert recipe["styles"] == [{"source": "painting.png", "weight": 1.0, "mask": None}]
    assert len(recipe["sha256"]["vgg16.imagenet"]) == 64


@pytest.mark.slow
def test_the_network_paints_by_itself(run, folder, monkeypatch):
    monkeypatch.setattr("impasto.cli.progress.PATIENCE_S", math.inf)
    for name, *flags in (("a", "--tile", "64"), ("b", "--method", "adain.base"), ("c",)):
        code, _, err = run("stylize", "photo.png", "painting.png", "-o", f"{name}.png", *flags)
        assert (code, err) == (0, "")
    assert np.array_equal(pixels("a.png"), pixels("b.png"))
    recipe = images.read_recipe(folder / "c.png")
    assert (recipe["method"], recipe["weights"]) == ("adain", "adain.base")
    assert len(recipe["sha256"]["adain.base"]) == 64
    run("stylize", "photo.png", "painting.png", "-o", "d.png", "--recipe", "c.png")
    assert np.array_equal(pixels("d.png"), pixels("c.png"))


@pytest.mark.slow
def test_matchings_differ(run):
    painted = []
    for name in ("adain", "wct", "coral", "histogram"):
        run("stylize", "photo.png", "painting.png", "-o", "out.png", "--matching", name)
        painted.append(pixels("out.png").astype(int))
    for one, other in pairwise(painted):
        assert np.abs(one - other).mean() > 0.5


@pytest.mark.slow
def test_refining_tells_of_its_steps_and_is_a_recipe(run, folder):
    fast = ("--refine", "2", "--encoder", "vgg16", "--history", "losses.csv")
    code, _, err = run("stylize", "photo.png", "painting.png", "-o", "a.png", *fast)
    assert (code, "step 2 of 2" in err) == (0, True)
    assert len((folder / "losses.csv").read_text().splitlines()) == 3
    run("stylize", "photo.png", "painting.png", "-o", "b.png", "--recipe", "a.png")
    assert np.array_equal(pixels("a.png"), pixels("b.png"))


def test_a_painted_picture_is_a_recipe(run, folder):
    run("stylize", "photo.png", "painting.png", "-o", "a.png", *FAST, "--tv-weight", "3")
    run("stylize", "photo.png", "painting.png", "-o", "b.png", "--recipe", "a.png")
    assert np.array_equal(pixels("a.png"), pixels("b.png"))
    assert images.read_recipe(folder / "b.png") == images.read_recipe(folder / "a.png")


def test_flags_override_the_recipe(run, folder):
    (folder / "mine.yaml").write_text(
        "iterations: 5\nencoder: vgg16\nstrength: 0.5\ncontent_weight: 1e-3\n"
    )
    call = ["stylize", "photo.png", "painting.png", "-o", "o.png", "--recipe", "mine.yaml"]
    run(*call, "--iterations", "1", "--no-coarse-to-fine")
    recipe = images.read_recipe(folder / "o.png")
    assert (recipe["iterations"], recipe["strength"]) == (1, 0.5)
    assert recipe["content_weight"] == 1e-3
    assert recipe["coarse_to_fine"] is False


@pytest.mark.parametrize("name", names())
@pytest.mark.slow
def test_every_shipped_recipe_runs(run, folder, name):
    options = ["--recipe", name, "--iterations", "1"]
    code, _, err = run("stylize", "photo.png", "painting.png", "-o", "out.jpg", *options)
    assert code == 0, err
    assert images.read_recipe(folder / "out.jpg")["iterations"] == 1
    assert "about" in read_named(name)


def test_lists(run):
    assert "gatys" in run("methods")[1]
    assert "adam-1000" in run("recipes")[1]
    assert "vgg19.imagenet" in run("weights", "list")[1]
    assert run("weights", "verify")[1].count(" ok") == len(table())
    assert "vgg16.imagenet.safetensors" in run("weights", "fetch", "vgg16.imagenet")[1]


def test_several_styles_with_weights_and_masks(run, folder):
    mask = np.zeros((48, 64), np.uint8)
    mask[:, :32] = 255
    Image.fromarray(mask).save("left.png")
    Image.fromarray(painting_array()[..., ::-1]).save("blue.png")
    styles = ["--style", "painting.png:2:left.png", "--style", "blue.png::left.png"]
    code, _, err = run("stylize", "photo.png", *styles, "-o", "out.png", *FAST)
    assert code == 0, err
    painted, photo = pixels("out.png"), photo_array()
    np.testing.assert_array_equal(painted[:, 34:], photo[:, 34:])
    assert (painted[:, :30] != photo[:, :30]).any()


def test_several_photos_go_into_a_folder(run, folder):
    Image.fromarray(photo_array(40, 40)).save("second.png")
    (folder / "broken.png").write_text("no picture")
    photos = ["photo.png", "broken.png", "second.png"]
    code, out, err = run("stylize", *photos, "painting.png", "-o", "painted", *FAST, "--json")
    assert code == 2
    assert "broken.png: not a picture" in err
    rows = json.loads(out)
    assert ["error" in row for row in rows] == [False, True, False]
    assert {path.name for path in (folder / "painted").iterdir()} == {"photo.png", "second.png"}
    assert rows[2]["width"] == 40
    assert rows[2]["content"] == "second.png"
    assert rows[2]["losses"]["total"] > 0


def test_texture(run):
    code, out, err = run("texture", "painting.png", "-o", "t.png", "--size", "48x32", *FAST)
    assert code == 0, err
    assert out.startswith("t.png: 48x32")


@pytest.mark.slow
def test_snapshots_history_and_plot(run, folder):
    options = ["--snapshot-every", "2", "--history", "l.csv", "--plot", "l.png"]
    call = ["stylize", "photo.png", "painting.png", "-o", "out.png", "--size", "32"]
    code, _, err = run(*call, "--encoder", "vgg16", "--iterations", "5", *options)
    assert code == 0, err
    assert {path.name for path in folder.glob("out-*")} == {"out-00002.png", "out-00004.png"}
    assert (folder / "l.csv").read_text().startswith("step,content,style,tv,total\n1,")
    assert pixels("l.png").shape[1] > 300
    assert pixels("out-00002.png").shape == (24, 32, 3)


CALL = ["stylize", "photo.png", "painting.png", "-o", "out.png"]
BAD = {
    "missing file": (
        ["stylize", "nowhere.jpg", "painting.png", "-o", "o.png"],
        "nowhere.jpg: no such",
    ),
    "missing style": (
        ["stylize", "photo.png", "nowhere.jpg", "-o", "o.png"],
        "nowhere.jpg: no such",
    ),
    "directory": (["stylize", ".", "painting.png", "-o", "o.png"], "is a folder"),
    "no style": (["stylize", "photo.png", "-o", "o.png"], "no style is given"),
    "no output": (["stylize", "photo.png", "painting.png"], "'-o'"),
    "text as jpg": (
        ["stylize", "text.jpg", "painting.png", "-o", "o.png"],
        "text.jpg: not a picture",
    ),
    "truncated": (["stylize", "cut.jpg", "painting.png", "-o", "o.png"], "cut.jpg: cannot be read"),
    "one pixel": (
        ["stylize", "dot.png", "painting.png", "-o", "o.png"],
        "dot.png: 1x1 is too small",
    ),
    "bomb": (
        ["stylize", "bomb.png", "painting.png", "-o", "o.png"],
        "bomb.png: cannot be read, perhaps damaged or cut off",
    ),
    "mask size": (
        [*CALL[:2], "--style", "painting.png:1:painting.png", "-o", "o.png"],
        "photo's size",
    ),
    "black mask": ([*CALL[:2], "--style", "painting.png:1:black.png", "-o", "o.png"], "all black"),
    "no mask": ([*CALL[:2], "--style", "painting.png:1:no.png", "-o", "o.png"], "no.png: no such"),
    "negative weight": ([*CALL[:2], "--style", "painting.png:-1", "-o", "o.png"], "weight is -1"),
    "weight word": (
        [*CALL[:2], "--style", "painting.png:big", "-o", "o.png"],
        "'big' is no weight",
    ),
    "zero weights": ([*CALL[:2], "--style", "painting.png:0", "-o", "o.png"], "sum to zero"),
    "nan strength": ([*CALL, "--strength", "nan"], "strength is nan"),
    "word as strength": ([*CALL, "--strength", "much"], "'much'"),
    "unknown layer": ([*CALL, "--style-layers", "relu9_9"], "unknown layer 'relu9_9'"),
    "unknown method": ([*CALL, "--method", "magic"], "unknown method 'magic'"),
    "unknown recipe": ([*CALL, "--recipe", "magic"], "unknown recipe 'magic'"),
    "missing recipe": ([*CALL, "--recipe", "no.yaml"], "no.yaml: cannot be read"),
    "recipe of words": ([*CALL, "--recipe", "words.yaml"], "words.yaml: write lines"),
    "recipe not yaml": ([*CALL, "--recipe", "bad.yaml"], "bad.yaml: not YAML"),
    "recipe unknown key": ([*CALL, "--recipe", "key.yaml"], "unknown setting 'strenght'"),
    "recipe wrong type": ([*CALL, "--recipe", "type.yaml"], "iterations"),
    "photo as recipe": ([*CALL, "--recipe", "photo.png"], "photo.png: holds no recipe"),
    "output type": (["stylize", "photo.png", "painting.png", "-o", "o.xyz"], "cannot write '.xyz'"),
    "output folder": (["stylize", "photo.png", "painting.png", "-o", "no/o.png"], "no folder no"),
    "output is input": (
        ["stylize", "photo.png", "painting.png", "-o", "photo.png"],
        "also an input",
    ),
    "history is input": ([*CALL, "--history", "photo.png"], "photo.png: is also an input"),
    "history is output": ([*CALL, "--history", "out.png"], "out.png: is also an input or another"),
    "plot is style": ([*CALL, "--plot", "painting.png"], "painting.png: is also an input"),
    "texture of nothing": (["texture", "painting.png", "-o", "t.png", "--size", "0x0"], "0x0"),
    "texture too large": (
        ["texture", "painting.png", "-o", "t.png", "--size", "99999x99999"],
        "GiB of memory",
    ),
    "plot type": ([*CALL, "--plot", "plot.txt"], "cannot draw '.txt'"),
    "history folder": ([*CALL, "--history", "no/l.csv"], "no folder no"),
    "cuda": ([*CALL, "--device", "cuda"], "device 'cuda' is not on this machine"),
    "device word": ([*CALL, "--device", "abacus"], "device 'abacus'"),
    "encoder file": (
        [*CALL, "--encoder-weights", "text.jpg"],
        "text.jpg: not a readable weights",
    ),
    "start file": ([*CALL, "--init", "no.png"], "no.png: no such file"),
    "texture size": (
        ["texture", "painting.png", "-o", "t.png", "--size", "big"],
        "write WIDTHxHEIGHT",
    ),
    "texture nothing": (["texture", "-o", "t.png"], "no style is given"),
    "snapshots": ([*CALL, "--snapshot-every", "0"], "snapshot_every is 0"),
    "weights name": (["weights", "fetch", "vgg11"], "unknown weights 'vgg11'"),
    "refine": ([*CALL, "--refine", "a lot"], "write a number of steps (50) or seconds (30s)"),
    "refine gatys": ([*CALL, "--method", "gatys", "--refine", "5"], "gatys has iterations"),
    "tile": ([*CALL, "--tile", "9"], "tile is 9: use auto, or at least 64"),
    "no losses": ([*CALL, "--plot", "plot.png"], "add --method gatys, or --refine"),
    "network name": ([*CALL, "--method", "adain.huge"], "unknown weights 'adain.huge'"),
    "network file": (
        [*CALL, "--weights", "no.safetensors"],
        "no.safetensors: no such weights file",
    ),
    "settings of two": ([*CALL, "--matching", "wct", "--iterations", "5"], "unknown setting"),
    "no command": (["paint"], "No such command 'paint'"),
}


@pytest.fixture
def bad_files(folder):
    (folder / "text.jpg").write_text("once upon a time")
    Image.fromarray(photo_array(200, 200)).save("whole.jpg")
    (folder / "cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:900])
    Image.new("RGB", (1, 1)).save("dot.png")
    (folder / "bomb.png").write_bytes(bomb())
    Image.new("L", (64, 48)).save("black.png")
    (folder / "words.yaml").write_text("just words")
    (folder / "bad.yaml").write_text("a: [1\nb")
    (folder / "key.yaml").write_text("strenght: 1")
    (folder / "type.yaml").write_text("iterations: many")


@pytest.mark.usefixtures("bad_files")
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(refused, case):
    arguments, message = BAD[case]
    assert message in refused(*arguments)


@pytest.mark.slow
def test_a_full_disk_is_one_line(folder):
    """A limit on the size of files is the full disk that needs no mount."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        # PyTorch 2.6 itself writes 2.4 kB as it is loaded.
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    result = run_apart(*CALL, *FAST, cwd=folder, preexec_fn=limit)
    assert result.returncode == 2
    assert "out.png: cannot be written" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["painting.png", "photo.png"]


@pytest.mark.slow
def test_ctrl_c_keeps_the_picture_so_far(folder):
    long = command(*CALL, "--encoder", "vgg16", "--iterations", "1000")
    with subprocess.Popen(long, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        line = process.stderr.readline()
        assert " of 1000" in line
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        process.wait(timeout=60)
    assert process.returncode == 130
    assert "the picture so far is in out.png" in rest
    assert "Traceback" not in rest
    assert images.read(folder / "out.png").size == (48, 64)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.jpg", ("a.jpg", 1.0, None)),
        ("a.jpg:0.5", ("a.jpg", 0.5, None)),
        ("a.jpg:2:m.png", ("a.jpg", 2.0, "m.png")),
        ("a.jpg::m.png", ("a.jpg", 1.0, "m.png")),
        (r"C:\a.jpg:2", (r"C:\a.jpg", 2.0, None)),
        (r"C:\a.jpg", (r"C:\a.jpg", 1.0, None)),
    ],
)
def test_styles_are_parsed(text, expected):
    style = parse_style(text)
    assert (style.source, style.weight, style.mask) == expected


def test_a_file_with_a_colon_is_found(folder):
    (folder / "painting.png").rename(folder / "odd:2")
    assert parse_style("odd:2").source == "odd:2"
    with pytest.raises(ControlError):
        parse_style("other:two")


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_terminal_shows_a_bar():
    """In a pseudo-terminal the progress is a bar with the losses."""
    code, shown = run_on_terminal(*CALL, *FAST)
    assert code == 0
    assert "2/2" in shown
    assert "loss" in shown


@pytest.fixture
def painted(folder):
    """Three painted pictures: two with a pair, by name and by recipe, and one without."""
    for name in ("painted", "photos", "paintings"):
        (folder / name).mkdir()
    for name, array in (("cat", photo_array()), ("dog", photo_array(40, 40))):
        Image.fromarray(array).save(f"photos/{name}.jpg")
    Image.fromarray(painting_array()).save("paintings/monet.png")
    Image.fromarray(painting_array(48, 64)).save("painted/cat_by_monet.png")
    images.write(
        folder / "painted/dog.webp",
        images.read(folder / "photos/dog.jpg"),
        {"styles": [{"source": "monet.png"}]},
    )
    Image.fromarray(photo_array()).save("painted/stray.png")
    return folder


EVALUATE = ["evaluate", "painted", "--content", "photos", "--style", "paintings"]


@pytest.mark.slow
def test_evaluate(run, painted):
    outputs = ["--csv", "e.csv", "--json", "e.json", "--html", "e.html"]
    code, out, err = run(*EVALUATE, *outputs)
    assert code == 0
    assert err == "impasto: note: painted/stray.png: belongs to no photo and painting, skipped\n"
    head, *rows, last = out.splitlines()
    assert head.split()[:2] == ["score", "content"]
    assert [row.split()[0] for row in rows[2:]] == ["mean", "median"]
    assert last == "2 judged, 1 without a pair skipped"
    told = json.loads((painted / "e.json").read_text())
    dog, cat = sorted(told["pairs"], key=lambda row: row["content"])
    assert dog["painted"] == "painted/dog.webp"
    assert dog["content"] < 0.2 < cat["content"]
    assert cat["style"] < dog["style"]
    assert rows[2].split()[1] == f"{told['mean']['score']:.4f}"
    assert (painted / "e.csv").read_text().count("\n") == 3
    assert (painted / "e.html").read_text().count("<img") == 6


@pytest.mark.slow
def test_evaluate_against_one_photo_and_one_painting(run, painted):
    pictures = ["--content", "photos/cat.jpg", "--style", "paintings/monet.png"]
    code, out, _ = run("evaluate", "painted", *pictures)
    assert code == 0
    assert out.splitlines()[-1] == "3 judged"


@pytest.mark.slow
def test_many_pairs_print_only_the_means(run, painted, monkeypatch):
    monkeypatch.setattr("impasto.cli.evaluate.FEW_PAIRS", 1)
    _, out, _ = run(*EVALUATE)
    assert [line.split()[0] for line in out.splitlines()] == ["score", "mean", "median", "2"]


@pytest.mark.slow
def test_a_broken_picture_does_not_stop_the_others(run, painted):
    (painted / "painted/dog_monet.png").write_text("no picture")
    code, out, err = run(*EVALUATE)
    assert code == 2
    assert "error: painted/dog_monet.png: not a picture" in err
    assert out.splitlines()[-1] == "2 judged, 1 without a pair skipped, 1 failed"


def test_only_broken_pictures_leave_no_report(run, painted):
    (painted / "photos/cat.jpg").write_text("no picture")
    (painted / "painted/dog.webp").unlink()
    code, out, err = run(*EVALUATE, "--csv", "e.csv")
    assert (code, out) == (2, "")
    assert "photos/cat.jpg: not a picture" in err
    assert not (painted / "e.csv").exists()


BAD_EVALUATE = {
    "no folder": (["evaluate", "no", *EVALUATE[2:]], "no: no such file or folder"),
    "no photos": ([*EVALUATE, "--content", "no"], "no: no such file or folder"),
    "no content": (["evaluate", "painted", "--style", "paintings"], "'--content'"),
    "no pairs": ([*EVALUATE[:4], "--style", "photos"], "no picture in it belongs"),
    "empty": ([*EVALUATE, "--style", "empty"], "empty: holds no pictures"),
    "csv folder": ([*EVALUATE, "--csv", "no/e.csv"], "no folder no"),
    "html is a folder": ([*EVALUATE, "--html", "photos"], "photos: is a folder"),
    "json is csv": ([*EVALUATE, "--json", "e", "--csv", "e"], "e: is also an input or another"),
    "html is a photo": ([*EVALUATE, "--html", "photos/dog.jpg"], "dog.jpg: is also an input"),
    "csv is a stray": ([*EVALUATE, "--csv", "painted/stray.png"], "stray.png: is also an input"),
}


@pytest.mark.parametrize("case", BAD_EVALUATE)
def test_bad_calls_of_evaluate_are_one_line(refused, painted, case):
    (painted / "empty").mkdir()
    arguments, message = BAD_EVALUATE[case]
    assert message in refused(*arguments)
