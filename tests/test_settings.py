"""Settings: what a field may be follows from how it is declared."""

from __future__ import annotations  # as settings need it: their types are read as text

from dataclasses import dataclass, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.errors import ControlError
from impasto.settings import check_settings, make_settings, setting


@dataclass(frozen=True)
class Knobs:
    share: float = setting(0.5, "How much.", min=0, max=1)
    count: int | None = setting(None, "How many.", min=3)
    name: str = setting("one", "Which.", choices=("one", "two"))
    on: bool = setting(True, "Whether.")

    def __post_init__(self):
        check_settings(self)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 9), st.floats(), st.sampled_from(["one", "two", "3"])
)


def allowed(name, value):
    """What the declarations say, in words of Python."""
    return {
        "share": type(value) in (int, float) and 0 <= value <= 1,
        "count": value is None or (type(value) is int and value >= 3),
        "name": value in ("one", "two"),
        "on": type(value) is bool,
    }[name]


@given(st.sampled_from(["share", "count", "name", "on"]), VALUES)
def test_a_value_is_taken_if_and_only_if_it_is_allowed(name, value):
    if allowed(name, value):
        made = make_settings(Knobs, {name: value})
        others = {knob.name: knob.default for knob in fields(Knobs) if knob.name != name}
        assert vars(made) == {**others, name: value}
    else:
        with pytest.raises(ControlError, match=f"^{name} is ") as caught:
            make_settings(Knobs, {name: value})
        assert "\n" not in str(caught.value)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.none(), min_size=1))
def test_the_first_unknown_name_is_told_with_the_known_ones(values):
    message = f"unknown setting '{min(values)}': known are share, count, name, on"
    with pytest.raises(ControlError) as caught:
        make_settings(Knobs, values)
    assert str(caught.value) == message
