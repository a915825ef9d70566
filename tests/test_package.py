"""The package as a whole: names, laziness, and the files that must tell the truth."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import yaml

import impasto

ROOT = Path(__file__).parent.parent


def test_public_names_are_what_they_say():
    for name in impasto.__all__:
        assert getattr(impasto, name).__name__ == name
    assert set(impasto.__all__) <= set(dir(impasto))
    homes = {name: getattr(getattr(impasto, name), "__module__", "") for name in dir(impasto)}
    ours = {name for name, home in homes.items() if home.startswith("impasto.")}
    assert ours == set(impasto.__all__)


def test_import_is_light_and_silent():
    code = "import sys, impasto; print([m for m in ('torch', 'PIL', 'numpy') if m in sys.modules])"
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (result.stdout.strip(), result.stderr) == ("[]", "")


def test_every_module_can_be_imported():
    for module in pkgutil.walk_packages(impasto.__path__, "impasto."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def test_notice_names_every_picture_and_all_weights():
    notice = (ROOT / "NOTICE").read_text()
    pictures = [*(ROOT / "examples").glob("*.jpg"), *(ROOT / "src/impasto/data").rglob("*.jpg")]
    for picture in pictures:
        assert picture.name in notice or picture.parent.name == "thumbnails"
    for name in yaml.safe_load((ROOT / "src/impasto/data/weights.yaml").read_text()):
        assert name in notice


def test_the_version_is_in_the_changelog():
    assert f"## {impasto.__version__}" in (ROOT / "CHANGELOG.md").read_text()
