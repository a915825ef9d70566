"""Recipes: one value for flags, files, pictures, commands and code; and whose each option is."""

import inspect
import shlex
from dataclasses import fields
from typing import Any, get_type_hints

import pytest

import impasto
from impasto.controls import Controls
from impasto.errors import ControlError
from impasto.methods import METHODS, assign, method_class
from impasto.options import ControlOptions, MethodOptions
from impasto.recipes import Recipe, read_recipe

OPTIONS = {"strength": 0.5, "method": "adain", "matching": "wct", "refine": 30, "tv_weight": 1.0}
STYLES = [{"source": "a.jpg", "weight": 2.0, "mask": None}]


def test_a_recipe_is_its_options():
    recipe = Recipe.of(OPTIONS)
    assert recipe.options == OPTIONS
    assert Recipe.of(recipe.options) == recipe
    assert (recipe.method, recipe.refine) == ("adain", 30)
    assert recipe.given == {"strength": 0.5}
    assert recipe.settings == {"matching": "wct", "tv_weight": 1.0}
    assert recipe.controls == Controls(strength=0.5)
    assert Recipe.of({}).options == {}


def test_controls_that_make_no_sense_are_found():
    with pytest.raises(ControlError, match="strength is 2"):
        _ = Recipe.of({"strength": 2}).controls


def test_it_is_written_as_a_command_and_as_code():
    recipe = Recipe.of({**OPTIONS, "coarse_to_fine": False})
    words = shlex.split(recipe.command("my photo.jpg", STYLES, "out.png"))
    assert words[:5] == ["impasto", "stylize", "my photo.jpg", "a.jpg", "--strength"]
    assert "--no-coarse-to-fine" in words
    assert words[-2:] == ["-o", "out.png"]
    code = recipe.python("my photo.jpg", STYLES, "out.png")
    assert "impasto.stylize(\n    'my photo.jpg',\n    Style('a.jpg', 2),\n" in code
    assert "coarse_to_fine=False" in code
    compile(code, "code", "exec")
    masked = [{"source": "-a.jpg", "weight": 1.0, "mask": "m.png"}]
    assert "--style ./-a.jpg:1:m.png" in recipe.command("p.jpg", masked, "o.png")
    texture = Recipe.of({"width": 40, "height": 30}).command(None, STYLES, "o.png")
    assert texture == "impasto texture a.jpg --size 40x30 -o o.png"


def test_the_weights_of_a_picture_are_compared():
    recipe = Recipe.of({"sha256": {"adain.base": "ab", "vgg19": "cd"}})
    assert recipe.other_weights({"adain.base": "ab", "vgg19": "cd"}) == []
    assert recipe.other_weights({"adain.base": "xy", "more": "z"}) == ["adain.base"]
    assert recipe.options == {}


def test_settings_by_their_former_names_still_load(tmp_path):
    (tmp_path / "mine.yaml").write_text("method: gatys\nstart: noise\naverage: 0.5\n")
    settings = read_recipe(str(tmp_path / "mine.yaml"))
    assert settings == {"method": "gatys", "init": "noise", "avg_decay": 0.5}
    former: dict[str, Any] = {"method": "gatys", "start": "noise"}
    with pytest.raises(ControlError, match="unknown setting 'start'"):
        impasto.stylize("photo.png", "painting.png", **former)


@pytest.mark.parametrize(
    ("method", "settings", "refined", "expected"),
    [
        ("auto", {}, False, ("adain", set(), set(), set())),
        ("auto", {"iterations": 3}, False, ("gatys", {"iterations"}, set(), set())),
        ("auto", {"blending": "outputs"}, False, ("adain", set(), set(), {"blending"})),
        ("fast", {"blending": "outputs"}, False, ("fast", {"blending"}, set(), {"blending"})),
        ("auto", {"iterations": 3}, True, ("adain", set(), {"iterations"}, set())),
        (
            "styletr",
            {"precision": "float32", "sharpness": 2, "blending": "outputs"},
            True,
            ("styletr", {"precision", "sharpness"}, {"precision"}, {"precision", "blending"}),
        ),
    ],
)
def test_each_setting_has_its_owner(method, settings, refined, expected):
    found = assign(method, settings, refined=refined)
    assert found.method == expected[0]
    assert (set(found.own), set(found.optimiser), set(found.looks)) == expected[1:]


def test_a_setting_of_another_method_names_its_owner():
    with pytest.raises(ControlError, match="'iterations' of adain: it is one of gatys; known are"):
        assign("adain", {"iterations": 3}, refined=False)
    with pytest.raises(ControlError, match=r"'strenght': did you mean strength\?"):
        impasto.stylize("photo.png", "painting.png", strenght=0.5)  # type: ignore[call-overload]
    with pytest.raises(ControlError, match="gatys has iterations"):
        assign("gatys", {}, refined=True)


def plain(annotation):
    return str(annotation).replace("typing.", "").replace("impasto.controls.", "")


def test_typed_keywords_are_the_settings():
    """Names and types of `impasto.options` are those of the dataclasses."""
    hints = get_type_hints(Controls)
    assert get_type_hints(ControlOptions) == {
        knob.name: hints[knob.name] for knob in fields(Controls)
    }
    known = {}
    for name in METHODS:
        kind = method_class(name).Config
        known |= {knob.name: get_type_hints(kind)[knob.name] for knob in fields(kind)}
    assert {name: plain(hint) for name, hint in get_type_hints(MethodOptions).items()} == {
        name: plain(hint) for name, hint in known.items()
    }


@pytest.mark.parametrize("function", [impasto.stylize, impasto.texture, impasto.Stylizer.fit])
def test_help_shows_the_controls_with_their_defaults(function):
    shown = inspect.signature(function).parameters
    assert {name: shown[name].default for name in ControlOptions.__annotations__} == {
        knob.name: knob.default for knob in fields(Controls)
    }
