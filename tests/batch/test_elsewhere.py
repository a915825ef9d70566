"""Batches that read and write elsewhere, and that are painted by a Ray cluster."""

import csv
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from impasto.batch.folders import LocalFolder, RemoteFolder, folder_of, parent_of
from impasto.errors import OutputError
from tests.helpers.cli import run_apart
from tests.helpers.pictures import photo_array

NETWORK = ["--method", "adain.small"]


def paintings(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*_*.png")
    }


def test_a_bucket_is_read_and_written(photos, s3, run):
    for path in (photos / "photos").rglob("*.*"):
        name = path.relative_to(photos / "photos").as_posix()
        s3.upload_file(str(path), "bucket", f"photos and more/{name}")
    s3.put_object(Bucket="bucket", Key="photos and more/broken#1.jpg", Body=b"x")
    s3.upload_file(str(photos / "painting.png"), "bucket", "styles/painting.png")
    s3.upload_file(str(photos / "other.png"), "bucket", "styles/other.png")
    styles = ["--styles", "s3://bucket/styles", "--workers", "1"]
    asked = ["batch", "s3://bucket/photos%20and%20more", "-o", "s3://bucket/out", *styles, *NETWORK]
    code, out, _ = run(*asked)
    assert (code, "6 painted, 2 failed" in out) == (2, True)
    here = ["batch", "photos", "painting.png", "other.png", "-o", "out", "--workers", "1"]
    assert run(*here, *NETWORK).code == 0
    keys = {one["Key"] for one in s3.list_objects_v2(Bucket="bucket", Prefix="out/")["Contents"]}
    same = paintings(photos / "out")
    assert keys == {f"out/{name}" for name in (*same, "failed.csv", "report.json")}
    for name, data in same.items():
        assert s3.get_object(Bucket="bucket", Key=f"out/{name}")["Body"].read() == data
    table = s3.get_object(Bucket="bucket", Key="out/failed.csv")["Body"].read().decode()
    assert [row["photo"] for row in csv.DictReader(io.StringIO(table))] == ["broken#1.jpg"]
    s3.delete_object(Bucket="bucket", Key="photos and more/broken#1.jpg")
    s3.delete_object(Bucket="bucket", Key="out/trip/c_other.png")
    code, out, _ = run(*asked)
    assert (code, "1 painted, 5 there already" in out) == (0, True)
    assert not s3.list_objects_v2(Bucket="bucket", Prefix="out/failed").get("Contents")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("s3://none/photos", "no such folder or bucket"),
        ("s3://none", "no such folder or bucket"),
        ("s3://bucket/none", "no such folder or bucket"),
        ("s3://bucket/notes", "no pictures"),
    ],
)
def test_what_is_wrong_with_a_bucket_is_one_line(photos, s3, refused, source, words):
    s3.put_object(Bucket="bucket", Key="notes/a.txt", Body=b"x")
    assert words in refused("batch", source, "painting.png", "-o", "out", *NETWORK)


def test_a_bucket_that_cannot_be_written_is_one_line(photos, s3, refused):
    line = refused("batch", "photos", "painting.png", "-o", "s3://none/out", *NETWORK)
    assert "s3://none/out" in line
    assert "no such bucket" in line


def test_a_file_of_another_system_is_whole_or_absent(monkeypatch):
    folder = folder_of("memory://place")
    assert isinstance(folder, RemoteFolder)
    folder.write("a/b.png", b"whole")
    assert (folder.names(), folder.read("a/b.png")) == ({"a/b.png"}, b"whole")
    from fsspec.implementations.memory import MemoryFileSystem

    def broken(self, path, data, **options):
        self.store[self._strip_protocol(path)] = self.store["/place/a/b.png"]
        raise OSError("the line is cut")

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", broken)
    with pytest.raises(OutputError, match="the line is cut"):
        folder.write("a/c.png", b"half")
    assert folder.names() == {"a/b.png"}


def test_urls_of_files_name_their_folder():
    assert parent_of("s3://bucket/a/my%20b.look") == (RemoteFolder("s3://bucket/a"), "my b.look")
    archive = RemoteFolder("zip://::holiday.zip")
    assert parent_of("zip://beach.jpg::holiday.zip") == (archive, "beach.jpg")
    for url in ("file:///a/b", "file://localhost/a/b"):
        assert folder_of(url) == LocalFolder(Path("/a/b"))
    with pytest.raises(OutputError, match=r"file://a/b: names a machine, a; write file:///folder"):
        folder_of("file://a/b")


def test_photos_of_an_archive_and_a_single_one(photos, run):
    with zipfile.ZipFile("holiday.zip", "w") as archive:
        archive.write("photos/a.jpg", "a.jpg")
        archive.write("photos/b.png", "trip/b.png")
    for source, names in (
        ("zip://a.jpg::holiday.zip", ["a.png"]),
        ("zip://trip::holiday.zip", ["b.png"]),
    ):
        out = Path(f"out-{names[0]}")
        assert run("batch", source, "painting.png", "-o", str(out), *NETWORK).code == 0
        assert sorted(path.name for path in out.glob("*.png")) == names


def test_an_output_within_the_photos_is_found_however_it_is_spelled(photos, s3, refused):
    s3.upload_file("photos/a.jpg", "bucket", "photos2/a.jpg")
    inside = "s3://bucket/photos%32/o"
    line = refused("batch", "s3://bucket/photos2", "painting.png", "-o", inside)
    assert "is in the folder that is painted" in line


CLUSTER = """
import sys, threading
from ray.cluster_utils import Cluster

node = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
quickly = {"health_check_period_ms": 500, "health_check_failure_threshold": 2}  # that one is dead
head = {**node, "include_dashboard": False, "_system_config": quickly}
cluster = Cluster(initialize_head=True, head_node_args=head)
second = cluster.add_node(**node)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.remove_node(second, allow_graceful=False)
print("killed", flush=True)
sys.stdin.readline()
cluster.shutdown()
"""


@pytest.fixture
def cluster():
    """A cluster of two nodes, the second of which is killed when a line is written to it."""
    asked = [sys.executable, "-W", "ignore", "-c", CLUSTER]
    with subprocess.Popen(
        asked,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        yield process.stdout.readline().strip(), process.stdin
        process.communicate("\n\n")


@pytest.mark.slow
def test_a_cluster_paints_the_same_bits_though_a_machine_dies(photos, cluster):
    for number in range(12):
        Image.fromarray(photo_array(48 + number, 64)).save(photos / "photos" / f"{number}.png")
    (photos / "photos" / "bad.jpg").write_text("no picture")
    address, kill = cluster
    cross = ["batch", "photos", "painting.png", "other.png", *NETWORK, "--strength", "0.5..1"]
    here = run_apart(*cross, "-o", "here", "--workers", "1")

    there = subprocess.Popen(
        [sys.executable, "-m", "impasto", *cross, "-o", "there", "--ray", address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while there.poll() is None and len(paintings(photos / "there")) < 6:
        try:
            there.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    kill.write("\n")
    kill.flush()
    out, err = there.communicate()
    assert (here.returncode, there.returncode) == (2, 2), err
    assert "30 painted, 2 failed" in out
    assert all(line.startswith("impasto: ") for line in err.splitlines()), err
    assert len(paintings(photos / "here")) == 30
    assert paintings(photos / "there") == paintings(photos / "here")
    failed = [(photos / place / "failed.csv").read_text() for place in ("here", "there")]
    assert failed[0] == failed[1]


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_one_line(photos):
    asked = ["batch", "photos", "painting.png", "-o", "out", *NETWORK, "--ray", "127.0.0.1:1"]
    code, out, err = (r := run_apart(*asked)).returncode, r.stdout, r.stderr
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert "no Ray cluster at 127.0.0.1:1" in err
    assert not Path("out").exists()
