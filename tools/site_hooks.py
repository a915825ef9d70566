"""What MkDocs needs to be told of this repository; see mkdocs.yml.

Pages link as it works on GitHub, relative to the file that they are in. On the site the pages
outside of docs/, and the example pictures, lie beside those of docs/.
"""

import html
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.structure.files import File

from impasto.cli import cli
from impasto.cli.base import LazyGroup, load

ROOT = Path(__file__).parents[1]
OUTSIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "NOTICE", "examples/*.jpg")
_LINK_OUT = re.compile(r"(\]\((?:\.\./)*)\.\./(?=CHANGELOG|CONTRIBUTING|NOTICE|examples/)")
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_config(config):
    """Loads the commands, which otherwise are loaded as they are called."""
    for group in (cli, *cli.commands.values()):
        if isinstance(group, LazyGroup):
            for name, home in group.homes.items():
                group.add_command(load(home.where), name)
    return config


def on_files(files, config):
    """Adds the files outside of docs/."""
    for path in (path for pattern in OUTSIDE for path in sorted(ROOT.glob(pattern))):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, **_):
    """Rewrites the links between docs/ and what lies outside of it."""
    if page.file.src_uri in OUTSIDE:
        return markdown.replace("](docs/", "](")
    return _LINK_OUT.sub(r"\1", markdown)


def on_page_content(content, **_):
    """Turns formulas into MathML, which browsers show by themselves."""
    return _FORMULA.sub(
        lambda found: convert(
            html.unescape(found[2]), display="block" if found[1] == "div" else "inline"
        ),
        content,
    )
