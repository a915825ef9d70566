"""The web app: style transfer for people who never saw a terminal. `impasto app` serves it.

- ``pages``: the page's frame, ``main.py``, and the pages themselves: ``paint.py``, which everybody
  sees first, ``batch.py`` for several photos in one style, and ``texture.py``
- ``session.py``: everything of one visitor
- ``request.py``: what a visitor asks for, how it is painted, how to ask for it without the app
- ``job_queue.py``: who paints when
- ``styles.py``: styles to choose from; ``examples.py``: photos to begin with
- ``widgets.py``: widgets, made from the library's settings
- ``job_view.py``: a job as the page shows it, and what there is to do with its picture
- ``components.py``, ``static``: the pieces that Streamlit lacks, in JavaScript
- ``server.py``, ``guards.py``: the web server, and what it refuses
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

from impasto.errors import SetupError

if TYPE_CHECKING:
    from impasto.app.guards import Address

MAX_MEGAPIXELS = 50
UPLOAD_MB = 30
_MEGAPIXELS = "IMPASTO_APP_MEGAPIXELS"
"""Environment variable that tells the page, which Streamlit runs, of `serve`'s limit."""

_THEME = {
    "light.primaryColor": "#b04f2b",
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

    from impasto.app import examples, job_queue, server, session
    from impasto.app.guards import Address

    address = Address(host, port, base_url)
    os.environ[_MEGAPIXELS] = str(max_megapixels)

    def find(token: str) -> server.Pictures | None:
        return examples.Examples() if token == examples.TOKEN else session.find(token)

    with _listen(host, port) as listening:
        load_config_options(_settings(address))
        ending = threading.Thread(target=job_queue.close, daemon=True)
        app = server.create(address, find=find, on_end=ending.start)
        server.run(app, address, listening)
    _end(ending)


def _settings(address: Address) -> dict[str, Any]:
    """Returns what Streamlit is told."""
    from impasto.app.server import GRACE_S

    return {
        "server.baseUrlPath": address.path,
        "server.port": address.port,
        "server.maxUploadSize": UPLOAD_MB,
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


def _end(ending: threading.Thread) -> None:
    """Ends the process at once if the painter does not end its step soon.

    A step inside of PyTorch cannot be interrupted, and Python aborts if it is left at work. No
    file is being written.
    """
    from impasto.app.server import CLOSING_S

    if ending.ident is None:  # the server was forced to end
        ending.start()
    ending.join(CLOSING_S)
    if ending.is_alive():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


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
