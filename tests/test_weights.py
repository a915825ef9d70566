"""The table, the embedded files, and downloads from a real server on this machine."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from impasto import weights
from impasto.errors import WeightsError

CONTENT = save({"a": torch.arange(6.0)}, metadata={"impasto_format": "1", "name": "test.tiny"})


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir()
    handler = partial(QuietHandler, directory=tmp_path / "served")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", tmp_path / "served"
        running.shutdown()


@pytest.fixture
def registered(server, tmp_path, monkeypatch):
    """A table with one downloadable entry; returns the served file and the cached one."""
    address, served = server
    known = weights.Record(
        name="test.tiny",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
        architecture="test",
        trained_on="nothing",
        source="made by code",
        licence="CC0-1.0",
        url=f"{address}/test.tiny.safetensors",
    )
    monkeypatch.setattr(weights, "table", lambda: {"test.tiny": known})
    monkeypatch.setenv("IMPASTO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("IMPASTO_OFFLINE", raising=False)
    (served / known.file).write_bytes(CONTENT)
    return served / known.file, tmp_path / "home" / "weights" / known.file


def test_embedded_files_are_those_of_the_table():
    for known in weights.table().values():
        path = weights.fetch(known.name)
        assert path.stat().st_size == known.size
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        assert metadata["impasto_format"] == weights.FORMAT
        for name in ("name", "architecture", "source", "licence"):
            assert metadata[name] == getattr(known, name)


def test_fetch_downloads_once(registered):
    served, cached = registered
    assert weights.fetch("test.tiny") == cached
    assert cached.read_bytes() == CONTENT
    served.unlink()
    assert weights.fetch("test.tiny") == cached
    assert list(cached.parent.iterdir()) == [cached]


def test_a_wrong_file_is_refused_and_leaves_nothing(registered):
    served, cached = registered
    served.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(WeightsError, match=r"http.*test.tiny.*not the file"):
        weights.fetch("test.tiny")
    assert list(cached.parent.iterdir()) == []


def test_a_damaged_cache_is_replaced(registered):
    _, cached = registered
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"half of")
    assert weights.fetch("test.tiny").read_bytes() == CONTENT


def test_offline_says_so_and_asks_nobody(registered, monkeypatch):
    monkeypatch.setenv("IMPASTO_OFFLINE", "1")
    with pytest.raises(WeightsError, match="IMPASTO_OFFLINE is set"):
        weights.fetch("test.tiny")


def test_a_missing_address_is_one_line(registered):
    served, cached = registered
    served.unlink()
    with pytest.raises(WeightsError, match=r"cannot download.*ound; check"):
        weights.fetch("test.tiny")
    assert list(cached.parent.iterdir()) == []


def test_unknown_names_list_the_known():
    with pytest.raises(WeightsError, match=r"unknown weights 'vgg11': known are vgg16.imagenet"):
        weights.fetch("vgg11")


def test_read_expands_codebooks(tmp_path):
    path, codes = tmp_path / "f.safetensors", torch.tensor([[0, 255], [3, 3]], dtype=torch.uint8)
    book = torch.linspace(-1, 1, 256)
    path.write_bytes(save({"w_code": codes, "w_codebook": book, "b": torch.ones(2)}))
    file = weights.read(path)
    assert set(file.tensors) == {"w", "b"}
    torch.testing.assert_close(file.tensors["w"], book[codes.long()])
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such weights file"),
        (b"not safetensors", "not a readable weights file"),
        (save({"w_code": torch.zeros(1, dtype=torch.uint8)}), "lacks its codebook"),
        (save({"w": torch.zeros(1)}, metadata={"impasto_format": "9"}), "upgrade impasto"),
    ],
)
def test_bad_files_are_named(tmp_path, content, message):
    path = tmp_path / "bad.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"bad.safetensors: .*{message}"):
        weights.read(path)
