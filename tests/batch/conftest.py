import pytest
from PIL import Image

from tests.helpers.pictures import painting_array, photo_array


@pytest.fixture(autouse=True)
def reproducible(one_thread):
    """What is to be equal is added up in the same order."""


@pytest.fixture
def photos(folder):
    """``photos`` with two photos and one in a subfolder, and ``painting.png`` and ``other.png``."""
    for number, name in enumerate(("a.jpg", "b.png", "trip/c.jpg")):
        path = folder / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo_array(40 + 8 * number, 64)).save(path)
    Image.fromarray(painting_array()[::-1]).save(folder / "other.png")
    return folder


@pytest.fixture
def s3(monkeypatch):
    """A client of an S3 server with a bucket of the name ``bucket``."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    yield client
    client.close()
    server.stop()
