"""README and docs name commands, options, files and papers that there are."""

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from impasto.cli import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
OTHER_TOOLS = {"--against", "--codebooks"}
"""Options of the scripts in benchmarks/ and tools/."""


def shown(page):
    """Code spans, and the lines of code blocks that a shell would run."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    fences = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`([^`\n]+)`", rest)
    yield from (
        line for language, code in fences if language == "bash" for line in code.split("\n")
    )
    yield from re.findall(r"^    (\w.*)", rest, re.MULTILINE)


def command_lines(page):
    parts = (part.strip() for line in shown(page) for part in re.split(r"&&|[|;>]", line))
    return [part for part in parts if part.startswith("impasto ")]


def parse(line):
    """Reads a command line as the program would, and raises a UsageError as it would."""
    command: click.Command = cli
    words = shlex.split(line)[1:]
    context = click.Context(cli)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        _, command, words = command.resolve_command(context, words)
        context = click.Context(command, parent=context)
    values, _, _ = command.make_parser(context).parse_args(words)
    for parameter in command.get_params(context):
        spoken = isinstance(parameter, click.Option) and parameter.name in values
        if spoken and not isinstance(parameter.type, click.Path):
            parameter.type_cast_value(context, values[parameter.name])


def options_of(command, context):
    for parameter in command.get_params(context):
        yield from (*parameter.opts, *parameter.secondary_opts)
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        yield from options_of(command.resolve_command(context, [name])[1], context)


def slug(heading):
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_command_lines_are_understood(page):
    for line in command_lines(page):
        try:
            parse(line)
        except click.UsageError as error:
            pytest.fail(f"{line}: {error.format_message()}")


def test_command_lines_are_found_and_wrong_ones_refused():
    assert sum(len(command_lines(page)) for page in PAGES) > 50
    parse("impasto stylize a.jpg b.jpg -o out.png --detail 0.5")
    for wrong in ("paint a.jpg", "stylize a.jpg --no-such-option", "stylize a.jpg --detail much"):
        with pytest.raises(click.UsageError):
            parse(f"impasto {wrong}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_are_spoken_of_exist(page):
    known = {*options_of(cli, click.Context(cli)), *OTHER_TOOLS}
    spans = re.findall(r"`(-[^`\n]+)`", page.read_text(encoding="utf-8"))
    named = {word.split("=")[0] for span in spans for word in span.split() if word[:2] == "--"}
    assert named <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), target


def test_extras_that_are_spoken_of_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(",".join(re.findall(r"pip install [^\n`]*\[([\w,]+)\]", text)).split(","))
    assert {"app", "train"} <= named <= project["optional-dependencies"].keys()


def test_papers_are_in_the_references():
    references = (ROOT / "docs" / "references.md").read_text(encoding="utf-8")
    entries = re.split(r"^- ", references, flags=re.MULTILINE)
    files = [*PAGES, *(ROOT / "src").rglob("*.py"), *(ROOT / "src").rglob("*.yaml")]
    cited = {
        (author, year, path.name)
        for path in files
        for author, year in re.findall(
            r"([A-Z][a-zé]+)(?:,? (?:et al\.|&|and) ?[A-Za-z\-]*)+[,\s]+\(?(?:[A-Z]{4} )?(\d{4})",
            " ".join(path.read_text(encoding="utf-8").split()),
        )
    }
    assert len({author for author, *_ in cited}) > 20
    missing = [
        one for one in cited if not any(one[0] in entry and one[1] in entry for entry in entries)
    ]
    assert not missing
