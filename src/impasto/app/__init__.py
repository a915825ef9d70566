"""The web app: style transfer for people who never saw a terminal. `impasto app` serves it.

- ``main.py``: the page's frame: title, menu, navigation
- ``paint.py``: photo, styles, controls, picture: the page that everybody sees first
- ``texture.py``: textures
- ``batch.py``: several photos in one style
- ``controls.py``: controls, made from settings
- ``pictures.py``: pictures to bring, to click on, to compare, to paint masks on; styles
- ``visit.py``: a visitor's job, watched, and what there is to do with the picture
- ``wish.py``: what a visitor asks for, how it is painted, how to ask for it without the app
- ``job_queue.py``: who paints when
- ``static/``: the pieces that Streamlit lacks, in JavaScript
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from impasto.errors import SetupError

MAX_MEGAPIXELS = 50.0
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


def serve(host: str, port: int, max_megapixels: float) -> None:
    """Serves the app until Ctrl-C; opens a browser where there is a screen.

    Args:
        host: address to listen on; ``0.0.0.0`` for all.
        port: TCP port.
        max_megapixels: largest picture that is taken or painted.

    Raises:
        SetupError: Streamlit is not installed, or host or port are not to be had.
    """
    try:
        from streamlit.starlette import App
    except ImportError as error:
        raise SetupError(
            "the app needs Streamlit: pip install 'impasto[app]' (in a clone: '.[app]')"
        ) from error
    _check_free(host, port)
    os.environ[_MEGAPIXELS] = str(max_megapixels)
    settings: dict[str, Any] = {
        "server.address": host,
        "server.port": port,
        "server.maxUploadSize": UPLOAD_MB,
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "client.showErrorLinks": False,
        **{f"theme.{name}": value for name, value in _THEME.items()},
    }
    with suppress(KeyboardInterrupt):
        App(Path(__file__).parent / "main.py").run(config=settings)


def max_pixels() -> int:
    """The largest picture that is taken or painted."""
    return int(float(os.environ.get(_MEGAPIXELS, MAX_MEGAPIXELS)) * 1e6)


def _check_free(host: str, port: int) -> None:
    """Finds out whether there is something to listen on, before Streamlit does less clearly."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise SetupError(
            f"cannot listen on {host}:{port} ({error.strerror}): choose another --port or --host"
        ) from error
