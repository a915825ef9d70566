"""Stand-in."""

from typing import Any

Keyframes = Any
