"""The Python of README and of the docs runs as it is printed, but on small pictures."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.pictures import painting_array, photo_array

ROOT = Path(__file__).parents[1]
SMALLER = {"size=768": "size=64", "refine=30": "refine=2", "== 30": "== 1"}


def blocks():
    for name in ("README.md", "docs/how-to/python.md", "docs/how-to/films.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        found = re.findall(r"^## ([^\n]*)\n(?:(?!^## ).)*?^```python\n(.*?)^```", text, re.M | re.S)
        assert len(found) == text.count("```python"), f"{name}: one block below each heading"
        for heading, code in found:
            small = re.sub("|".join(SMALLER), lambda large: SMALLER[large[0]], code)
            yield pytest.param(small, id=f"{Path(name).stem}: {heading}")


@pytest.mark.slow
@pytest.mark.parametrize("code", list(blocks()))
def test_python_of_the_docs_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photo.jpg", "other.jpg"):
        Image.fromarray(photo_array()).save(name)
    Image.fromarray(painting_array()).save("painting.jpg")
    script = tmp_path / "script.py"
    script.write_text(code, encoding="utf-8")
    if "multiprocessing" in code:  # its processes read the script again
        subprocess.run([sys.executable, str(script)], check=True, timeout=300)
    else:
        runpy.run_path(str(script), run_name="__main__")
    for saved in re.findall(r'\.save\("([^"]+)"\)', code):
        assert Path(saved).stat().st_size
