"""The app's server, as it is met by browsers, by other programs, and by those who mean harm."""

import contextlib
import http.client
import io
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from email.message import Message
from html.parser import HTMLParser
from typing import NamedTuple
from urllib.parse import urljoin

import numpy as np
import pytest
from PIL import Image
from playwright import sync_api
from playwright.sync_api import expect
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from impasto.app import LARGEST_UPLOAD_MB, server
from impasto.app.guards import Address
from impasto.errors import SetupError
from tests.helpers import browser as helper

START_S, PAGE_MS = 60, 40_000
LAUNCHER = """
import ipaddress, sys, threading
from functools import partial
from PIL import Image

def watch(event, args):
    if event in ("socket.getaddrinfo", "socket.connect"):
        host = str(args[0] if event == "socket.getaddrinfo" else args[1][0]).split("%")[0]
        if host not in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "::"):
            print("asked", host, file=sys.stderr)

sys.addaudithook(watch)

from streamlit import runtime
from impasto import cli
from impasto.app import guards, job_queue, server

class Probe:
    '''Numbers of the server, as widths of pictures.'''
    tiles, begun = job_queue.Tiles(99, 20), 0

    def tile(self, name):
        return partial(self.tiles.get, name, self.paint) if name.startswith("tile-") else None

    def paint(self):
        self.begun += 1
        return Image.new("RGB", (9, 9))

    def picture(self, name):
        streamlit = runtime.get_instance()
        files = streamlit.uploaded_file_mgr.file_storage
        numbers = {
            "painted": 29,
            "tiles": self.begun,
            "sessions": len(streamlit._session_mgr.list_sessions()),
            "uploads": sum(map(len, files.values())),
            "threads": threading.active_count(),
        }
        return Image.new("RGB", (1 + numbers[name], 20), "red") if name in numbers else None

create, probe = server.create, Probe()
server.create = lambda address, find, *given: create(
    address, lambda token: probe if token == "probe" else find(token), *given
)
"""


class Answer(NamedTuple):
    status: int
    headers: Message
    body: bytes


class Served:
    """A server in a process of its own."""

    def __init__(self, process, port, path=""):
        self.process, self.port, self.path = process, port, path
        self.url = f"http://localhost:{port}{path}"

    def ask(self, path, method="GET", **headers):
        connection = http.client.HTTPConnection("localhost", self.port, timeout=30)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, self.path + path, headers=headers)
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        connection.close()
        return answer

    def number(self, name):
        with Image.open(io.BytesIO(self.ask(f"/picture/probe/{name}.webp").body)) as picture:
            return picture.width - 1

    def open(self, **options):
        """Opens a connection as the page does."""
        url = f"ws://localhost:{self.port}{self.path}/_stcore/stream"
        return connect(
            url, subprotocols=[Subprotocol("streamlit")], max_size=None, open_timeout=30, **options
        )

    @contextlib.contextmanager
    def visit(self):
        """Opens a page: its connection and the id of the session."""
        with self.open() as connection:
            yield connection, run_page(connection)

    def end(self, how=signal.SIGINT):
        """Returns exit code and what was complained about."""
        self.process.send_signal(how)
        _, complaints = self.process.communicate(timeout=20)
        return self.process.returncode, complaints.decode()


def run_page(connection):
    """Runs the page's script; returns the id of the session."""
    connection.send(BackMsg(rerun_script=ClientState()).SerializeToString())
    session = None
    while True:
        message = ForwardMsg.FromString(connection.recv(timeout=60))
        if message.WhichOneof("type") == "new_session":
            session = message.new_session.initialize.session_id
        if message.WhichOneof("type") == "script_finished":
            return session


def eventually(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


@contextlib.contextmanager
def serving(*arguments, base="", changes=""):
    """A server.

    Args:
        base: a path that the address of the page has.
        changes: what Python does before it starts.
    """
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    if base:
        arguments = (*arguments, "--base-url", f"http://localhost:{port}{base}")
    call = ["impasto", "app", "--port", str(port), *arguments]
    code = f"{LAUNCHER}\n{changes}\nsys.argv = {call}\ncli.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "STREAMLIT_SERVER_HEADLESS": "true", "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    served = Served(process, port, base)
    try:
        for _ in range(5 * START_S):
            try:
                served.ask("/_stcore/health")
                break
            except OSError:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.2)
        yield served
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def served():
    """A server that has nothing to complain about in all of the tests."""
    with serving() as served:
        yield served
        assert served.end() == (0, "")


# Who may ask


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:99", "[::1]:8501", "LOCALHOST.", "1.2.3.4"]
)
def test_the_server_answers_to_its_own_names(served, host):
    expected = 421 if host == "1.2.3.4" else 200
    for path in ("/", "/_stcore/health", "/picture/probe/painted.webp"):
        assert served.ask(path, Host=host).status == expected


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "evil@localhost:x", "[", ""]
)
def test_another_name_is_refused(served, host):
    assert served.ask("/", Host=host).status == 421
    assert served.ask("/_stcore/upload_file/x/y", "PUT", Host=host).status == 421


def test_other_sites_cannot_connect(served):
    with served.open(origin=f"http://localhost:{served.port}"):
        pass
    for origin in ("http://evil.example", "null", "http://[", f"http://localhost:{served.port}.x"):
        with pytest.raises(InvalidStatus) as refusal, served.open(origin=origin):
            pass
        assert refusal.value.response.status_code == 403
    stranger = f"http://evil.example:{served.port}"  # a name that was made to point here
    to = socket.create_connection(("localhost", served.port))
    url = f"{stranger.replace('http', 'ws')}/_stcore/stream"
    with pytest.raises(InvalidStatus) as refusal, connect(url, sock=to, origin=Origin(stranger)):
        pass
    assert refusal.value.response.status_code == 403


def test_what_the_app_does_not_need_is_closed(served):
    for path in ("metrics", "agent/openapi.json", "agent/mcp", "script-health-check"):
        assert served.ask(f"/_stcore/{path}").status == 404
    for path in ("/component/x/y.html", "/auth/login", "/a/b", "//_stcore/metrics"):
        assert served.ask(path).status in (400, 404)
    assert served.ask("/_stcore/agent/interact", "POST").status == 404


def test_browsers_are_told_to_be_careful(served):
    for path in ("/", "/texture", "/index.js", "/nothing.txt", "/picture/probe/painted.webp"):
        headers = served.ask(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "same-origin"
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "script-src 'self' blob:;" in policy  # nothing inline, nothing evaluated
        assert "frame-ancestors 'none'" in policy


def test_open_to_others_by_address_and_by_name(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "Atelier")
    address = Address("0.0.0.0", 80)
    for host in ("192.168.1.20:80", "[fe80::1]:80", "atelier", "atelier.local:80", "localhost"):
        assert address.answers_to(host)
    assert not address.answers_to("evil.example")
    assert not Address("localhost", 80).answers_to("192.168.1.20")
    behind = Address("0.0.0.0", 80, "https://Pictures.example:8443/a/impasto/")
    assert behind.answers_to("pictures.example")
    assert (behind.url, behind.path) == ("https://Pictures.example:8443/a/impasto", "/a/impasto")
    assert behind.is_origin("https://Pictures.example:8443", "inner:80")
    assert not behind.is_origin("https://pictures.example.evil", "inner:80")
    for origin in ("ftp://inner:80", "x://inner:80", "://inner:80", "inner:80"):
        assert not behind.is_origin(origin, "inner:80")


def test_addresses_are_shown_as_browsers_take_them():
    assert Address("::1", 8612).url == "http://[::1]:8612"
    assert Address("0.0.0.0", 80).url == Address("::", 80).url == "http://localhost:80"
    assert Address("box", 1).url == "http://box:1"


@pytest.mark.parametrize(
    "url", ["", "pictures.example", "ftp://x", "http://", "http://x/?a", "http://a@x", "http://[x"]
)
def test_a_bad_base_url_is_refused(url):
    with pytest.raises(SetupError, match="--base-url"):
        Address("localhost", 1, url)


@pytest.mark.parametrize("number", ["nan", "inf", "1e-9", "0", "-3", "0.2"])
def test_a_bad_number_of_megapixels_is_refused(refused, number):
    assert "--max-megapixels" in refused("app", "--max-megapixels", number)


@pytest.mark.slow
@pytest.mark.parametrize("passed_on", [True, False], ids=["host kept", "host replaced"])
def test_behind_a_proxy(passed_on):
    """Whether it passes on the name that visitors type, or not."""
    site = "https://pictures.example"
    with serving("--base-url", f"{site}/impasto") as served:
        to = socket.create_connection(("localhost", served.port))
        host = "pictures.example" if passed_on else f"localhost:{served.port}"
        url = f"ws://{host}/impasto/_stcore/stream"
        protocols = [Subprotocol("streamlit")]
        with connect(
            url, sock=to, origin=Origin(site), subprotocols=protocols, max_size=None
        ) as connection:
            assert run_page(connection)
        served.path = "/impasto"
        assert served.ask("/", Host=host, Origin=site).status == 200
        assert served.ask("/", Host=host, Origin="https://evil.example").status == 403
        assert served.end() == (0, "")


@pytest.mark.slow
def test_no_other_machine_is_asked_for_anything():
    with serving("--host", "0.0.0.0") as served:
        with pytest.raises(InvalidStatus), served.open(origin="http://evil.example"):
            pass
        with served.visit():
            pass
        assert served.end() == (0, "")


# What one visitor can do to others


@pytest.mark.slow
def test_nobody_can_clear_what_all_visitors_share(served):
    with served.visit() as (connection, _):
        for _ in range(5):  # threads come with the first runs
            run_page(connection)
        before = served.number("threads")
        for _ in range(5):
            connection.send(BackMsg(clear_cache=True).SerializeToString())
            run_page(connection)
        # The last run's thread may not have ended.
        eventually(lambda: served.number("threads") <= before, 10)


@pytest.mark.slow
def test_odd_messages_end_nothing_but_their_own_connection():
    with serving() as served, served.visit() as (other, session):
        frames = [b"\xff" * 50, os.urandom(2000), "text", bytes(27_000_000)]
        for odd in (
            BackMsg(debug_shutdown_runtime=True),
            BackMsg(rerun_script=ClientState(page_script_hash="x")),
            BackMsg(rerun_script=ClientState(query_string="\x00" * 99)),
        ):
            frames.append(odd.SerializeToString())
        for frame in frames:
            with contextlib.suppress(ConnectionClosed, TimeoutError), served.open() as connection:
                connection.send(frame)
                for _ in range(99):
                    connection.recv(timeout=0.5)
        assert served.ask("/_stcore/health").status == 200
        assert run_page(other) == session


def start(served, path, *lines):
    """Sends the head of a request; returns the connection."""
    connection = socket.create_connection(("localhost", served.port), timeout=30)
    head = [f"{path} HTTP/1.1", f"Host: localhost:{served.port}", *lines, "", ""]
    connection.sendall("\r\n".join(head).encode())
    return connection


def answer(connection):
    """Returns the status of an answer, after which the server closes the connection."""
    with connection:
        told = b"".join(iter(lambda: connection.recv(4096), b""))
    return int(told.split()[1])


@pytest.mark.slow
def test_nothing_waits_behind_tiles_and_those_that_nobody_waits_for_are_not_painted():
    busy = """
def work(job):
    time.sleep(8)

import time
threading.Timer(1, lambda: job_queue.queue().submit(job_queue.Job(work, quick=True))).start()
"""
    with serving(changes=busy) as served:
        time.sleep(1.5)

        def ask(name):
            return start(served, f"GET /picture/probe/tile-{name}.webp", "Connection: close")

        waiting = [ask(n) for n in range(12)] + [ask(0) for _ in range(12)]
        time.sleep(0.5)
        began = time.monotonic()
        assert served.ask("/picture/probe/painted.webp").status == 200
        assert served.ask("/picture/bundled/bordighera.webp").status == 200
        assert time.monotonic() - began < 2
        for connection in waiting[1:12]:
            connection.close()
        for connection in (waiting[0], *waiting[12:]):
            assert answer(connection) == 200
        assert served.number("tiles") == 1
        assert [answer(ask(f"x{n}")) for n in range(3)] == [200] * 3
        assert served.end() == (0, "")


def put(served, session, size, file="a", length=None, cookie="2|a|b|1"):
    """Uploads a file as the page does; returns the status of the answer and its text."""
    health = served.ask("/_stcore/health").headers["Set-Cookie"]
    token = re.search("_streamlit_xsrf=([^;]*)", health)[1]
    body = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n\r\n'
    body += bytes(size) + b"\r\n--x--\r\n"
    connection = http.client.HTTPConnection("localhost", served.port, timeout=30)
    connection.putrequest("PUT", f"{served.path}/_stcore/upload_file/{session}/{file}")
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Cookie", f"_streamlit_xsrf={token}")
    connection.putheader("X-Xsrftoken", token)
    if length is None:
        connection.putheader("Content-Length", str(len(body)))
    elif length:
        connection.putheader("Content-Length", length)
    else:
        connection.putheader("Transfer-Encoding", "chunked")
        body = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    connection.endheaders()
    with contextlib.suppress(OSError):  # the answer came before all was sent
        connection.send(body)
    with contextlib.closing(connection):
        response = connection.getresponse()
        return response.status, response.read().decode()


@pytest.mark.slow
def test_uploads_have_an_end():
    changes = "guards.MOST_FILES, guards.MOST_BYTES, guards.MOST_BYTES_OF_ALL = 3, 5e6, 7e6"
    with (
        serving(changes=changes) as served,
        served.visit() as (_, session),
        served.visit() as (_, others),
        served.visit() as (_, thirds),
    ):
        assert [put(served, session, 1000, name)[0] for name in "abc"] == [204, 204, 204]
        status, told = put(served, session, 1000, "d")
        assert status == 413
        assert told.startswith("You have uploaded as much as there is room for")
        assert served.number("uploads") == 3
        assert put(served, others, 4_000_000, "a")[0] == 204
        assert put(served, others, 1_500_000, "b")[0] == 413
        status, told = put(served, others, 100, "b", length="50000000000")
        assert (status, told) == (413, f"A file may have {LARGEST_UPLOAD_MB} MB at most.\n")
        assert put(served, others, 100, "b", length="")[0] == 411
        assert put(served, "nobody", 100)[0] == 400
        status, told = put(served, thirds, 4_000_000)
        assert (status, told.split(":")[0]) == (413, "Other visitors' files take all the room")
        assert put(served, thirds, 2_000_000)[0] == 204
        assert served.end() == (0, "")


def upload_head(served, session, length, *lines):
    health = served.ask("/_stcore/health").headers["Set-Cookie"]
    token = re.search("_streamlit_xsrf=([^;]*)", health)[1]
    return start(
        served,
        f"PUT /_stcore/upload_file/{session}/z",
        "Content-Type: multipart/form-data; boundary=x",
        f"Cookie: _streamlit_xsrf={token}",
        f"X-Xsrftoken: {token}",
        f"Content-Length: {length}",
        *lines,
    )


@pytest.mark.slow
def test_files_that_do_not_arrive_take_no_room_and_are_given_up():
    changes = "guards.MOST_BYTES_OF_ALL, guards.IDLE_S = 40e6, 2"
    with (
        serving(changes=changes) as served,
        served.visit() as (_, session),
        served.visit() as (_, others),
    ):
        announced = [upload_head(served, session, 30_000_000) for _ in range(4)]
        assert put(served, others, 1_000_000)[0] == 204
        assert [answer(one) for one in announced] == [408] * 4
        with served.visit() as (_, leaving):
            late = upload_head(served, leaving, 2_000_000)
            time.sleep(0.5)
        time.sleep(0.5)
        late.sendall(bytes(1000))
        assert answer(late) == 408
        gone = upload_head(served, session, 30_000_000)
        gone.close()
        assert served.end() == (0, "")


@pytest.mark.slow
def test_what_arrives_together_has_an_end_too():
    changes = "guards.MOST_BYTES_OF_ALL = 35e6"
    with (
        serving(changes=changes) as served,
        served.visit() as (_, session),
        served.visit() as (_, others),
    ):
        pair = [upload_head(served, one, 30_000_000) for one in (session, others)]
        for connection in pair:
            head = '--x\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n\r\n'
            connection.sendall(head.encode())
        for _ in range(18):
            for connection in pair:
                with contextlib.suppress(OSError):
                    connection.sendall(bytes(1_000_000))
        refused = [connection for connection in pair if select.select([connection], [], [], 1)[0]]
        assert len(refused) >= 1
        assert refused[0].recv(4096).split()[1] == b"408"
        for connection in pair:
            connection.close()
        assert served.end() == (0, "")


def test_a_length_that_does_not_count_is_refused(served):
    with served.visit() as (_, session):
        assert answer(upload_head(served, session, 5, "Transfer-Encoding: chunked")) == 411


@pytest.mark.slow
def test_what_sessions_keep_counts_too():
    changes = "from impasto.app import session; session.memory_of_all = lambda: 1_999_000_000"
    with serving(changes=changes) as served, served.visit() as (_, visitor):
        assert put(served, visitor, 900_000)[0] == 204
        assert put(served, visitor, 1_100_000)[0] == 413


@pytest.mark.slow
def test_too_many_visitors_are_told():
    with serving(changes="guards.MOST_CONNECTED = 2") as served:
        with served.visit(), served.visit():
            with pytest.raises(InvalidStatus) as refusal, served.open():
                pass
            assert refusal.value.response.status_code == 403
            page = served.ask("/texture")
            assert (page.status, page.body[:17]) == (503, b"Too many visitors")
            assert served.ask("/picture/bundled/bordighera.webp").status == 200
        eventually(lambda: served.ask("/").status == 200, 5)
        with served.visit():
            pass
        assert served.end() == (0, "")


@pytest.mark.slow
def test_messages_are_neither_large_nor_packed(served):
    with served.open(compression="deflate") as connection:
        assert connection.protocol.extensions == []
        with contextlib.suppress(ConnectionClosed):
            connection.send(bytes(server.LARGEST_MESSAGE_MB * 10**6 + 1))
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=10)


@pytest.mark.slow
def test_made_up_values_of_widgets_take_one_line_of_the_log():
    with serving() as served, served.open() as connection:
        connection.send(BackMsg(rerun_script=ClientState()).SerializeToString())
        uploader = None
        while True:
            message = ForwardMsg.FromString(connection.recv(timeout=60))
            element = message.delta.new_element
            if element.WhichOneof("type") == "file_uploader":
                uploader = element.file_uploader.id
            if message.WhichOneof("type") == "script_finished":
                break
        state = ClientState()
        state.widget_states.widgets.add(id=uploader, string_value="x")
        connection.send(BackMsg(rerun_script=state).SerializeToString())
        time.sleep(2)
        connection.close()
        code, complaints = served.end()
        assert code == 0
        assert "AttributeError" in complaints
        assert "Traceback" not in complaints
        assert complaints.count("\n") <= 3


@pytest.mark.slow
def test_a_session_ends_soon_after_its_tab_although_nobody_else_comes():
    with serving(changes="server.GRACE_S, server.SWEEP_S = 2, 0.2") as served:
        with served.visit() as (_, session):
            assert put(served, session, 1000)[0] == 204
            assert served.number("sessions") == served.number("uploads") == 1
            time.sleep(3)  # who is there stays
            assert served.number("sessions") == 1
        time.sleep(1)  # who comes back finds everything
        assert served.number("uploads") == 1
        eventually(lambda: served.number("sessions") == 0, 5)
        assert served.number("uploads") == 0
        assert put(served, session, 1000)[0] == 400
        assert served.end() == (0, "")


def test_the_promised_time():
    """In docs/how-to/browser.md: a minute and a half, if the browser says nothing two minutes."""
    assert server.GRACE_S + 2 * server.SWEEP_S <= 90
    assert server.GRACE_S + 2 * server.SWEEP_S + 2 * server.PING_S <= 130


# Ends


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_server_ends_in_order_while_it_paints(how):
    """Also if the painter is inside of PyTorch, and somebody looks at a page."""
    work = """
import torch
from impasto.app import job_queue

def work(job):
    side = torch.randn(3000, 3000)
    print("painting", flush=True)
    while True:
        side = torch.nn.functional.conv2d(side[None, None], side[None, None, :7, :7])[0, 0]
        side = torch.nn.functional.pad(side, (3, 3, 3, 3))

threading.Timer(1, lambda: job_queue.queue().submit(job_queue.Job(work, quick=True))).start()
"""
    with serving(changes=work) as served, served.visit() as (connection, _):
        lines = iter(served.process.stdout.readline, b"")
        assert b"painting\n" in lines
        started = time.monotonic()
        code, complaints = served.end(how)
        assert (code, complaints) == (0, "")
        assert time.monotonic() - started < 10
        with pytest.raises(ConnectionClosed) as closed:
            list(connection)  # what was sent before, and then
        assert closed.value.rcvd.code == 1012


# Pictures


def test_pictures_are_fetched_and_kept(served):
    response = served.ask("/picture/probe/painted.webp")
    assert response.status == 200
    assert response.headers["Cache-Control"] == "private, max-age=3600, immutable"
    assert response.headers["Content-Type"] == "image/webp"
    assert response.headers["Content-Disposition"] == 'inline; filename="impasto-painted.webp"'
    with Image.open(io.BytesIO(response.body)) as picture:
        assert (picture.format, picture.size) == ("WEBP", (30, 20))
        red, green, blue = np.asarray(picture)[10, 15]
    assert red > 240 > 15 > max(green, blue)
    head = served.ask("/picture/probe/painted.webp", "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(response.body))


@pytest.mark.parametrize(
    "path",
    ["probe/none", "nobody/painted", "bundled/none", "bundled/..", "probe/%0A", "probe/é"],
)
def test_what_is_no_picture_is_not_found(served, path):
    assert served.ask(f"/picture/{urllib.parse.quote(path, safe='/%')}.webp").status == 404


def test_bundled_pictures_are_kept_by_all(served):
    for name in ("bordighera", "udnie", "photo-chelsea"):
        response = served.ask(f"/picture/bundled/{name}.webp")
        assert response.headers["Cache-Control"] == "public, max-age=86400"
        with Image.open(io.BytesIO(response.body)) as picture:
            assert 192 <= max(picture.size) <= server.SMALL_SIDE


# The page's head


class Head(HTMLParser):
    """What stands in the head of a page."""

    def __init__(self, text):
        super().__init__()
        self.metas, self.links, self.language = {}, {}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "html":
            self.language = given["lang"]
        if tag == "meta":
            self.metas[given.get("name") or given.get("property")] = given.get("content")
        if tag == "link":
            self.links.setdefault(given["rel"], given["href"])


@pytest.mark.slow
def test_links_to_the_page_say_what_it_is(served):
    text = served.ask("/").body.decode()
    assert "<title>Impasto</title>" in text
    assert "<script>" not in text
    head = Head(text)
    assert head.language == "en"
    assert len(head.metas["description"]) < 160
    with serving(base="/impasto") as behind:
        head = Head(behind.ask("/texture").body.decode())
        image = head.metas["og:image"]
        assert image == f"{behind.url}/link-preview.jpg"
        with urllib.request.urlopen(image) as response:
            data = response.read()
        with Image.open(io.BytesIO(data)) as preview:
            assert (preview.format, preview.size) == ("JPEG", (1200, 630))
        assert len(data) < 120_000
        manifest_url = urljoin(behind.url, head.links["manifest"])
        with urllib.request.urlopen(manifest_url) as response:
            manifest = json.load(response)
        assert urljoin(manifest_url, manifest["start_url"]) == f"{behind.url}/"
        for icon in manifest["icons"][1:]:
            place = urljoin(manifest_url, icon["src"])
            with urllib.request.urlopen(place) as response, Image.open(response) as drawn:
                assert f"{drawn.width}x{drawn.height}" == icon["sizes"]
        with urllib.request.urlopen(f"http://localhost:{behind.port}/") as response:
            assert response.url == f"{behind.url}/"  # where the container looks
        assert behind.end() == (0, "")


# In a browser


@pytest.fixture(scope="module")
def browser():
    helper.needed()
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=helper.BROWSER or None, args=helper.FLAGS
        )
        yield launched
        launched.close()


@contextlib.contextmanager
def visiting(browser, url, **options):
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(PAGE_MS)
    page.complaints = []
    page.on("console", lambda told: told.type == "error" and page.complaints.append(told.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("response", lambda one: one.status >= 400 and page.complaints.append(one.url))
    page.on("request", lambda one: foreign(page, one.url))
    page.goto(url)
    page.get_by_test_id("stApp").wait_for()
    page.get_by_test_id("stMain").get_by_role("button").first.wait_for()
    yield page
    context.close()


def foreign(page, url):
    if not re.match(r"(https?|ws)://localhost[:/]|data:|blob:", url):
        page.complaints.append(url)


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("base", ["", "/a/impasto"])
def test_the_page_loads_without_a_complaint(browser, base):
    with serving(base=base) as served:
        for path in ("/", "/texture"):
            with visiting(browser, served.url + path) as page:
                expect(page).to_have_title(re.compile("Impasto|Texture"))
                assert page.url == served.url + path
                page.wait_for_timeout(1000)
                assert page.complaints == []
        with visiting(browser, f"{served.url}/") as page:
            page.get_by_role("button", name="Starry Night").first.click()
            page.locator("img.after").wait_for()
            page.wait_for_timeout(1000)
            assert page.complaints == []
        assert served.end() == (0, "")


@pytest.mark.browser
@pytest.mark.slow
def test_a_lost_connection_is_told_in_our_words(browser):
    with serving() as served, visiting(browser, served.url, color_scheme="dark") as page:
        notice = page.locator("#notice")
        expect(notice).to_be_hidden()
        page.context.set_offline(True)
        expect(notice).to_have_text("Connection lost. Trying again…")
        expect(notice).to_be_visible()
        assert notice.get_attribute("aria-live") == "assertive"
        page.context.set_offline(False)
        expect(notice).to_be_hidden()
        served.process.kill()
        expect(notice).to_have_text("Connection lost. Trying again…")
        expect(notice).to_contain_text("Start it again with “impasto app”", timeout=15_000)
        page.wait_for_timeout(3000)
        expect(page.get_by_text("streamlit run")).to_have_count(0)
        expect(page.get_by_test_id("stDialog")).to_have_count(0)


@pytest.mark.browser
@pytest.mark.slow
def test_a_server_that_was_ended_says_so_at_once(browser):
    with serving() as served, visiting(browser, served.url) as page:
        served.process.send_signal(signal.SIGINT)
        expect(page.locator("#notice")).to_contain_text("has stopped", timeout=4000)


@pytest.mark.browser
@pytest.mark.slow
def test_pictures_are_not_left_behind_without_a_question(browser):
    asked = []
    with serving() as served, visiting(browser, served.url) as page:
        page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
        button = page.get_by_test_id("stMain").get_by_role("button").first
        button.click()  # browsers do not ask those who did nothing
        page.reload()
        button.wait_for()
        assert asked == []
        button.click()
        page.evaluate("document.body.dataset.impastoUnsaved = ''")
        page.reload()
        button.wait_for()
        assert asked == ["beforeunload"]


@pytest.mark.browser
@pytest.mark.slow
def test_an_upload_for_which_there_is_no_room_is_told(browser):
    changes = "guards.MOST_FILES = 0"
    with serving(changes=changes) as served, visiting(browser, served.url) as page:
        file = {"name": "a.png", "mimeType": "image/png", "buffer": bytes(3_000_000)}
        uploader = page.get_by_test_id("stFileUploader").first
        uploader.locator("input[type=file]").set_input_files(file)
        notice = page.locator("#notice")
        expect(notice).to_contain_text("There is no room for more files.")
        page.get_by_role("button", name="Remove a.png").click()
        expect(notice).to_be_hidden()


@pytest.mark.browser
@pytest.mark.slow
def test_a_fault_of_ours_is_told_in_plain_words(browser):
    changes = "import streamlit; streamlit.set_page_config = lambda *_, **__: 1 / 0"
    with serving(changes=changes) as served:
        page = browser.new_page()
        page.goto(served.url)
        page.get_by_text("Something went wrong here, and it was not your fault.").wait_for()
        expect(page.get_by_text("Streamlit Cloud")).to_have_count(0)
        page.close()
        code, complaints = served.end()
        assert code == 0
        assert "ZeroDivisionError" in complaints  # in the log


# Not served


def test_a_port_that_is_taken(refused):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert f"cannot listen on 127.0.0.1:{port}" in refused(
            "app", "--host", "127.0.0.1", "--port", port
        )


def test_bad_arguments(refused):
    assert "cannot listen on" in refused("app", "--host", "no.such.host.invalid")
    assert "--port" in refused("app", "--port", "0")


def test_without_streamlit(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "streamlit.starlette", None)
    assert "pip install 'impasto[app]'" in refused("app")
