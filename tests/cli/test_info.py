"""What the command line tells: its lists, its help, and what it keeps to itself."""

import json
import os
import re
import subprocess
import sys

import click
import pytest

from impasto import cli, weights
from impasto.gallery import paintings
from impasto.methods import METHODS
from impasto.recipes import names
from tests.helpers.cli import command, run_apart

LISTS = {
    ("styles",): {"name", "title", "artist", "year", "licence", "kind"},
    ("methods",): {"name", "about"},
    ("recipes",): {"name", "commands", "about"},
    ("weights", "list"): {
        *("name", "architecture", "size", "licence", "source", "sha256", "path"),
    },
    ("weights", "verify"): {"name", "path", "state"},
}


@pytest.mark.parametrize("words", LISTS)
def test_lists_are_tables_and_json(run, words):
    code, table, err = run(*words)
    assert (code, err) == (0, "")
    code, out, err = run(*words, "--json")
    assert (code, err) == (0, "")
    rows = json.loads(out)
    assert all(set(row) == LISTS[words] for row in rows)
    assert [row["name"] for row in rows] == [line.split()[0] for line in table.splitlines()]


def test_lists_are_complete(run):
    def listed(*words):
        return {row["name"]: row for row in json.loads(run(*words, "--json")[1])}

    assert listed("styles").keys() == paintings().keys()
    assert listed("styles")["great-wave"]["artist"] == "Katsushika Hokusai"
    assert {row["kind"] for row in listed("styles").values()} == {"trained", "picture"}
    assert listed("methods").keys() == METHODS.keys()
    assert listed("recipes").keys() == {*names(), *names("impasto.train.recipes")}
    assert listed("recipes")["adam-1000"]["commands"] == ["stylize", "texture"]
    for name, row in listed("weights", "list").items():
        assert row["sha256"] == weights.table()[name].sha256
        assert row["size"] == os.stat(row["path"]).st_size  # noqa: PTH116


def test_damaged_weights_are_listed_and_told(run, monkeypatch):
    sha256_of = weights.sha256_of
    monkeypatch.setattr(
        weights, "sha256_of", lambda path: "0" if "vgg16" in path.name else sha256_of(path)
    )
    code, out, err = run("weights", "verify", "--json")
    assert code == 2
    states = {row["name"]: row["state"] for row in json.loads(out)}
    assert states["vgg16.imagenet"] == "damaged"
    assert states["vgg19.imagenet"] == "ok"
    assert "vgg16.imagenet.safetensors: wrong sha256" in err
    assert "vgg16.imagenet                   DAMAGED\n" in run("weights", "verify")[1]


def commands():
    """All commands by the words that call them, loaded."""
    found = {}

    def walk(words, one):
        found[words] = one
        if isinstance(one, click.Group):
            ctx = click.Context(one)
            for name in one.list_commands(ctx):
                walk((*words, name), one.resolve_command(ctx, [name])[1])

    walk((), cli.cli)
    return found


COMMANDS = commands()


def test_the_list_of_commands_says_what_their_help_says():
    """It is written apart from them, as they are not loaded for it."""
    groups = {(): cli.cli, ("train",): cli.training}
    told = {
        (*words, name): stub.get_short_help_str(200)
        for words, group in groups.items()
        for name, stub in group.commands.items()
    }
    assert len(told) == 14
    assert told == {words: COMMANDS[words].get_short_help_str(200) for words in told}


@pytest.mark.parametrize("words", COMMANDS)
def test_each_help_is_a_sentence_of_its_own(words):
    """It stands alone in an editor, or where a search finds it."""
    for option in COMMANDS[words].params:
        if isinstance(option, click.Option):
            owners, sentence = re.fullmatch(
                r"((?:[a-z]+(?:, |: ))*)(.*?)(?:  \[default: .*\])?", option.help or ""
            ).groups()
            assert set(re.findall("[a-z]+", owners)) <= set(METHODS)
            assert sentence[:1].isupper() or sentence[:1].isdigit(), option.help
            assert sentence.endswith("."), option.help
            assert not sentence.startswith(("The same", "Its ", "Of ", "These")), option.help


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["styles"], ["recipes"]])
def test_what_needs_no_network_is_light(words):
    code = (
        "import sys; from impasto import cli\n"
        f"sys.argv = ['impasto', *{words}]\n"
        "try: cli.main()\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules, 'PIL' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    code, *heavy = result.stdout.splitlines()[-1].split()
    assert (code in ("0", "None"), heavy) == (True, ["False", "False"])


NOISY = """
import sys, warnings
from impasto import cli

@cli.cli.command()
def noisy():
    warnings.warn("raw", stacklevel=1)
    import torch
    torch.searchsorted(torch.arange(9).view(3, 3).T, torch.ones(3, 3))  # warns from C++

sys.argv = ["impasto", "noisy"]
cli.main()
"""


@pytest.mark.parametrize(("flags", "shown"), [([], False), (["-W", "default"], True)])
@pytest.mark.slow
def test_warnings_of_libraries_are_for_programmers(flags, shown):
    call = [sys.executable, *flags, "-c", NOISY]
    result = subprocess.run(call, capture_output=True, text=True, check=True)
    assert ("raw" in result.stderr, "searchsorted" in result.stderr) == (shown, shown)
    assert shown or result.stderr == ""


@pytest.mark.parametrize("words", [["styles"], ["weights", "list", "--json"], ["--help"]])
def test_a_closed_pipe_is_no_error(words):
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen(command(*words), stdout=writer, stderr=subprocess.PIPE) as process:
        os.close(writer)
        _, err = process.communicate()
    assert err == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")  # noqa: PTH110
def test_output_that_cannot_be_written_is_one_line():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        call = command("styles")
        result = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == "impasto: error: No space left on device\n"


@pytest.mark.slow
def test_painting_goes_on_where_nobody_listens(folder):
    """Progress that cannot be shown does not cost the picture."""
    reader, writer = os.pipe()
    os.close(reader)
    call = ["stylize", "photo.png", "painting.png", "-o", "out.png", "--method", "gatys"]
    call += ["--encoder", "vgg16", "--iterations", "2"]
    with subprocess.Popen(command(*call), stdout=writer, stderr=writer):
        os.close(writer)
    assert (folder / "out.png").exists()


@pytest.mark.slow
def test_no_stderr_at_all(folder):
    call = ["stylize", "photo.png", "painting.png", "-o", "out.png", "--method", "adain.small"]
    closed = " ".join([*command(*call), "2>&-"])
    result = subprocess.run(closed, shell=True, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert (folder / "out.png").exists()


def test_a_mistyped_command_is_told_the_right_one(run):
    assert "Did you mean" in run("stylle")[2]
    assert run_apart("train", "adein").returncode == 2
