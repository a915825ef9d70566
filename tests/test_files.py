"""Files are whole or not there, and look like any other."""

import os
import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from impasto import files
from impasto.errors import OutputError


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_last_content_is_there_and_nothing_else(tmp_path, contents):
    for content in contents:
        files.replace(tmp_path / "a.bin", content)
    assert (tmp_path / "a.bin").read_bytes() == contents[-1]
    assert list(tmp_path.iterdir()) == [tmp_path / "a.bin"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_any_new_file(tmp_path, mask):
    before = os.umask(mask)
    try:
        (tmp_path / "plain").touch()
        files.replace(tmp_path / "ours", b"")
    finally:
        os.umask(before)
    plain, ours = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "ours"))
    assert ours == plain


def test_what_is_in_the_way_is_named_and_stays(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OutputError, match=r"a\.png: cannot be written"):
        files.replace(tmp_path / "a.png", b"content")
    with pytest.raises(OutputError, match=r"a\.png: is a folder"):
        files.check_writable(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.png"]


def test_a_check_leaves_an_earlier_file_as_it_was(tmp_path):
    (tmp_path / "a.png").write_bytes(b"earlier")
    files.check_writable(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.png"]
