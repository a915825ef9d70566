"""The web app: style transfer for people who never saw a terminal. `impasto app` serves it.

- ``pages/``: what there is to do: paint a photo, paint many, paint a film, make a texture; and the
  frame around it, ``main.py``, which Streamlit runs for each visitor and each click
- ``session.py``: everything of one visitor, in one object
- ``request.py``: what a visitor asks for, how it is painted, and how to ask for it elsewhere;
  ``films.py``: the same for films
- ``job_queue.py``: who paints when; ``job_view.py``: what the page shows of it
- ``styles.py``, ``widgets.py``, ``examples.py``: what there is to choose from
- ``components.py``, ``static/``: the pieces of page that Streamlit lacks, in JavaScript
- ``server.py``, ``guards.py``: the web server, and what it lets through
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from impasto.errors import SetupError

if TYPE_CHECKING:
    from impasto.app.guards import Address

MAX_MEGAPIXELS = 50
HAS_VIDEO = all(find_spec(name) is not None for name in ("av", "cv2"))
"""Whether the extra ``video`` is installed, without which there is no page for films."""
UPLOAD_MB, FILM_MB = 30, 100
"""How large the file of a picture, and that of a film, may be."""
LARGEST_UPLOAD_MB = FILM_MB if HAS_VIDEO else UPLOAD_MB
_MEGAPIXELS = "IMPASTO_APP_MEGAPIXELS"
"""Environment variable that tells the page, which Streamlit runs, of `serve`'s limit."""

_THEME = {
    "light.primaryColor": "#a94b28",
    "light.backgroundColor": "#fbf9f6",
    "light.secondaryBackgroundColor": "#f1ece5",
    "light.textColor": "#2a2521",
    "dark.primaryColor": "#e58b63",
    "dark.backgroundColor": "#1b1917",
    "dark.secondaryBackgroundColor": "#282522",
    "dark.textColor": "#ece6df",
    "paddingTop": "1rem",
    "headingFont": "serif",
    "baseRadius": "medium",
}


def serve(host: str, port: int, max_megapixels: int, base_url: str | None = None) -> None:
    """Serves the app until Ctrl-C; opens a browser where there is a screen.

    Args:
        host: address to listen on; ``0.0.0.0`` for all.
        port: TCP port.
        max_megapixels: largest picture that is taken or painted.
        base_url: address that visitors type, if a proxy stands before the server.

    Raises:
        SetupError: Streamlit is not installed, host or port are not to be had, or the base URL is
            not one.
    """
    try:
        from streamlit.starlette import App  # noqa: F401
    except ImportError as error:
        raise SetupError(
            "the app needs Streamlit: pip install 'impasto[app]' (in a clone: '.[app]')"
        ) from error
    from streamlit.web.bootstrap import load_config_options

    from impasto.app import examples, job_queue, request, server, session
    from impasto.app.guards import Address

    address = Address(host, port, base_url)
    os.environ[_MEGAPIXELS] = str(max_megapixels)

    def find(token: str) -> server.Pictures | None:
        return examples.Examples() if token == examples.TOKEN else session.find(token)

    with (
        # What it cannot remove are files of a step that goes on; the rest is gone.
        tempfile.TemporaryDirectory(prefix="impasto-", ignore_cleanup_errors=True) as folder,
        _listen(host, port) as listening,
    ):
        tempfile.tempdir = folder  # so that films go with the server, however it ends
        load_config_options(_settings(address))
        request.warm_up()
        server.run(server.create(address, find, session.memory_of_all), address, listening)
        ended = job_queue.close()
    if not ended:
        # A step inside PyTorch cannot be interrupted, and nobody wants its files any more.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _settings(address: Address) -> dict[str, Any]:
    """Returns what Streamlit is told."""
    from impasto.app.server import GRACE_S, LARGEST_MESSAGE_MB

    return {
        "server.baseUrlPath": address.path,
        "server.port": address.port,
        "server.maxUploadSize": LARGEST_UPLOAD_MB,
        "server.maxWidgetStateSize": LARGEST_MESSAGE_MB,
        "server.fileWatcherType": "none",
        "server.disconnectedSessionTTL": int(10 * GRACE_S),  # the server ends them before that
        "logger.enableRich": False,
        "browser.serverAddress": address.name,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "client.showErrorLinks": False,
        **{f"theme.{name}": value for name, value in _THEME.items()},
    }


def max_pixels() -> int:
    """The largest picture that is taken or painted."""
    return int(float(os.environ.get(_MEGAPIXELS, MAX_MEGAPIXELS)) * 1e6)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, dualstack_ipv6=host == "::")
    except OSError as error:
        raise SetupError(
            f"cannot listen on {host}:{port} ({error.strerror}): choose another --port or --host"
        ) from error
