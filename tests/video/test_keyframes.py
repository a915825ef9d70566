"""Weights of styles over time, and what is wrong with those of users."""

import pytest

from impasto.errors import ControlError
from impasto.video.keyframes import Keyframes, read_keyframes


def test_weights_change_steadily_between_keyframes_and_stay_outside():
    keyframes = Keyframes({4: [0, 1, 2], 2: [1, 0, 2]})
    assert keyframes.at(0) == keyframes.at(2) == [1, 0, 2]
    assert keyframes.at(2.5) == [0.75, 0.25, 2]
    assert keyframes.at(4) == keyframes.at(1e9) == [0, 1, 2]
    assert keyframes.mean == [0.5, 0.5, 2]


def test_one_keyframe_is_a_constant():
    assert Keyframes({7: [1, 3]}).at(0) == [1, 3]


def test_files_are_read(tmp_path):
    path = tmp_path / "keyframes.yaml"
    path.write_text("# a comment\n2.5: [0, 1]\n0: [1, 0]\n1:30: [1, 1]\n")
    keyframes = read_keyframes(path, 2)
    assert sorted(keyframes.weights) == [0, 2.5, 90]
    assert keyframes.at(1) == pytest.approx([0.6, 0.4])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["holds no keyframes"]),
        ("{}", ["no keyframes", "0: [1, 0]"]),
        ("- [1, 0]", ["holds no keyframes"]),
        ("0: [1, 0]\n1: [1, 0", ["line 2", "not YAML"]),
        ("0: [1, 0]\nx: [1, 0]", ["'x'", "use seconds"]),
        ("-1: [1, 0]", ["keyframe -1", "use seconds"]),
        (".nan: [1, 0]", ["keyframe nan", "use seconds"]),
        ("true: [1, 0]", ["keyframe True", "use seconds"]),
        ("2020-99-99: [1, 0]", ["not YAML"]),
        ("0: 1", ["keyframe 0", "a list"]),
        ("0: ab", ["keyframe 0", "a list"]),
        ("0: [1]", ["keyframe 0", "weights is 1", "not 2"]),
        ("0: [1, 0, 0]", ["keyframe 0", "weights is 3", "not 2"]),
        ("0: [1, 0]\n1: [1]", ["keyframe 1", "weights is 1", "not 2"]),
        ("0: [1, x]", ["keyframe 0", "'x'", "a number"]),
        ("0: [1, -0.5]", ["keyframe 0", "-0.5", "0 or more"]),
        ("0: [1, .inf]", ["keyframe 0", "inf", "a number"]),
        (f"0: [1, 1{'0' * 400}]", ["keyframe 0", "a number"]),
        ("0: [1, true]", ["keyframe 0", "True", "a number"]),
        ("0: [1, 0]\n3: [0, 0]", ["keyframe 3", "all 0"]),
        ("\0", ["not YAML"]),
        ("[" * 1000, ["not YAML"]),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(tmp_path, text, parts):
    path = tmp_path / "keyframes.yaml"
    path.write_text(text)
    with pytest.raises(ControlError) as caught:
        read_keyframes(path, 2)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert all(part in message for part in parts), message


def test_files_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"0: [1, 0] # \xe9")
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "latin.yaml"):
        with pytest.raises(ControlError, match=str(path)):
            read_keyframes(path, 2)
