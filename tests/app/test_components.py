"""The pieces of page in JavaScript, each alone in a real browser, with Streamlit behind it."""

import base64
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from PIL import Image
from playwright import sync_api
from playwright.sync_api import expect

from impasto.app.components import Event, chosen_after, new_events, painted_masks

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
in_browser = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(
        not BROWSER and os.environ.get("IMPASTO_BROWSER") != "required", reason="no Chromium here"
    ),
]
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
WIDTH, HEIGHT = 1200, 900
WAIT_MS = 20_000

SCRIPT = """
import json, time
from pathlib import Path
import streamlit as st
from impasto.app.components import Brush, Busy, Item, choose, page, viewer

pictures = json.loads((Path(__file__).parent / "pictures.json").read_text())
case, session, size = st.query_params["case"], st.session_state, (1200, 900)
st.set_page_config(layout="wide")
st.html("<style>[data-testid=stMainBlockContainer] { padding: 4.5rem 2rem }</style>")


def out(value):
    st.text(json.dumps(value))


if case in ("compare", "plain", "two", "busy"):
    after = session.get("after", "small")
    busy = Busy("Painting: 10 seconds left.", 0.25, pictures["photo"])
    viewer(
        pictures["photo"],
        None if case == "plain" else pictures[after],
        size,
        "viewer",
        full=pictures["full"] if after == "small" else None,
        other=pictures["photo"] if case == "two" else None,
        other_full=pictures["full"] if case == "two" else None,
        busy=busy if case == "busy" else None,
    )
    st.button("Another", on_click=lambda: session.update(after="red"))
    st.html("<div style='height: 2000px'>")
    st.button("Another, far below", on_click=lambda: session.update(after="red"))

if case == "brush":
    session.setdefault("masks", {})
    session.setdefault("revision", 0)
    brush = Brush(
        {"a": "Waves", "b": "Stars"},
        session.masks,
        session.revision,
        lambda masks: session.update(masks=masks),
    )
    viewer(pictures["photo"], pictures["small"], size, "viewer", full=pictures["full"], brush=brush)
    st.button("Again", on_click=lambda: session.update(revision=session.revision + 1))
    out(session.masks)

if case == "choose":
    several, slow = st.toggle("Several"), st.toggle("Slow")
    session.setdefault("names", {f"own{n}": f"Own {n}" for n in range(3)})
    session.setdefault("edits", [])
    time.sleep(1.5 if slow else 0)

    def edited(event):
        session.edits.append([event.kind, event.id, event.value])
        if event.kind == "remove":
            del session.names[event.id]
        if event.kind == "rename":
            session.names[event.id] = event.value

    titles = ["Cézanne", "Starry Night", *(f"Painting {n}" for n in range(2, 24))]
    items = [
        Item(f"id{n}", title, pictures["tile"], about="By nobody", group="Famous paintings")
        for n, title in enumerate(titles)
    ]
    items += [
        Item(
            name,
            title,
            pictures["tile"],
            group="Your paintings",
            removable=True,
            renamable=True,
            pinned=False,
        )
        for name, title in session.names.items()
    ]
    if st.toggle("Red"):
        items = [Item(item.id, item.title, pictures["red"], group=item.group) for item in items]
    chosen = choose(
        items, "chosen", "Styles", most=lambda: 22 if several else 1, search=True, edited=edited
    )
    time.sleep(1.5 if slow else 0)
    out({"chosen": chosen, "edits": session.edits})

if case == "strip":
    session.setdefault("chosen", ["id20"])
    items = [Item(f"id{n}", f"Picture {n}", pictures["tile"]) for n in range(24)]
    out(choose(items, "chosen", "Pictures of this session", strip=True))

if case == "page":
    session.setdefault("token", str(time.time_ns()))
    stored = page(session.token, uploader="A photo")
    file = st.file_uploader("A photo", ["png"])
    st.text_input("A name")
    out({"token": session.token, "stored": stored, "file": file and [file.name, file.size]})
"""


def as_png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def as_url(array):
    return "data:image/png;base64," + base64.b64encode(as_png(array)).decode()


def plain(*color):
    return np.full((HEIGHT // 3, WIDTH // 3, 3), color, np.uint8)


def serve_red(route):
    """A picture that takes its time."""
    time.sleep(0.4)
    route.fulfill(body=as_png(plain(255, 0, 0)), content_type="image/png")


def blocks(side):
    """A picture in which no place looks like another, of blocks of that many pixels."""
    small = np.random.default_rng(7).integers(0, 256, (HEIGHT // side, WIDTH // side, 3), np.uint8)
    return small.repeat(side, 0).repeat(side, 1)


FULL = blocks(3)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Its address."""
    folder = tmp_path_factory.mktemp("pieces")
    (folder / "script.py").write_text(SCRIPT, "utf-8")
    small = FULL[::3, ::3]
    pictures = {
        "photo": as_url(plain(0, 0, 255)),
        "small": as_url(small),
        "full": as_url(FULL),
        "red": "/red.png",
        "tile": as_url(plain(0, 128, 0)[:64, :64]),
    }
    (folder / "pictures.json").write_text(json.dumps(pictures))
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    options = {
        "server.port": port,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", folder / "script.py", *flags],
        stdout=subprocess.DEVNULL,
    )
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=1).close()
            break
        except OSError:
            assert process.poll() is None
            time.sleep(0.2)
    yield f"http://localhost:{port}"
    process.terminate()
    process.wait(timeout=30)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        launched = playwright.chromium.launch(executable_path=BROWSER or None, args=flags)
        yield launched
        launched.close()


@pytest.fixture
def visit(server, browser):
    """Opens a case as a new visitor, who meets no error on the way."""
    contexts, errors = [], []

    def visit(case, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        context.route("**/red.png", serve_red)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{server}/?case={case}")
        page.locator(".viewer img, .tile, [data-testid=stFileUploader]").first.wait_for()
        page.wait_for_timeout(300)
        return page

    yield visit
    for context in contexts:
        for page in context.pages:
            expect(page.get_by_test_id("stException")).to_have_count(0)
        context.close()
    assert errors == []


def told(page):
    """What Python says."""
    return json.loads(page.get_by_test_id("stText").inner_text())


def wait_until(page, condition, seconds=15):
    """Until Python says what fulfils this condition."""
    end = time.monotonic() + seconds
    while not condition(said := told(page)):
        assert time.monotonic() < end, said
        page.wait_for_timeout(100)
    return said


def seen(page, selector=".stage"):
    """The pixels of a part of the page."""
    shot = page.locator(selector).first.screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))


def without_furniture(page):
    """Nothing but pictures in the viewer."""
    style = """.knob, .chip, .line, .busy, .told { opacity: 0 !important }
        .stage { border-radius: 0 !important; outline: 0 !important }"""
    page.evaluate(
        """style => document.querySelectorAll('[data-testid=stBidiComponentIsolated]').forEach(
            host => host.shadowRoot.append(Object.assign(document.createElement('style'),
                {textContent: style})))""",
        style,
    )


def blue(pixels):
    """Share of the photo in each column."""
    return (pixels == (0, 0, 255)).all(-1).mean(0)


def button(page, name, **options):
    return page.get_by_role("button", name=name, exact=True, **options)


class TestViewer:
    pytestmark = in_browser

    def test_at_100_percent_the_screen_shows_the_pixels_of_the_full_picture(self, visit):
        page = visit("compare")
        without_furniture(page)
        button(page, "100 %").click()
        expect(page.locator(".after")).to_have_js_property("naturalWidth", WIDTH)
        expect(page.locator(".zoom")).to_have_text("100 %")
        pixels = seen(page)
        height, width = pixels.shape[:2]
        assert height < HEIGHT, "the whole picture is seen, so nothing is cut"
        x, y = (max(0, total - part) / 2 for total, part in ((WIDTH, width), (HEIGHT, height)))
        left = max(0, (width - WIDTH) // 2)
        inner = pixels[:, left : left + min(WIDTH, width)]
        candidates = [
            FULL[round(y + dy) :][:height, round(x) :][:, : inner.shape[1]] for dy in (-0.5, 0, 0.5)
        ]
        assert min(np.abs(inner.astype(int) - c).max() for c in candidates) == 0

    def test_the_full_picture_is_fetched_only_when_needed(self, visit):
        page = visit("compare", viewport={"width": 390, "height": 844})
        expect(page.locator(".after")).to_have_js_property("naturalWidth", WIDTH // 3)
        button(page, "100 %").click()
        expect(page.locator(".after")).to_have_js_property("naturalWidth", WIDTH)

    def test_a_zoomed_picture_is_moved_by_dragging_and_does_not_leave_the_frame(self, visit):
        page = visit("compare")
        without_furniture(page)
        button(page, "100 %").click()
        expect(page.locator(".after")).to_have_js_property("naturalWidth", WIDTH)
        before = seen(page)
        box = page.locator(".stage").bounding_box()
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(*middle)
        page.mouse.down()
        page.mouse.move(middle[0], middle[1] + 60, steps=4)
        page.mouse.up()
        after = seen(page)
        np.testing.assert_array_equal(after[60:], before[:-60])
        page.mouse.move(*middle)
        page.mouse.down()
        page.mouse.move(middle[0], middle[1] + 300, steps=4)
        page.mouse.up()
        left = max(0, (after.shape[1] - WIDTH) // 2)
        top_row = seen(page)[0, left : left + WIDTH]
        np.testing.assert_array_equal(top_row, FULL[0, : len(top_row)])

    @pytest.mark.parametrize("way", ["buttons", "keys", "wheel", "double click"])
    def test_ways_to_zoom(self, visit, way):
        page = visit("compare")
        zoom, stage = page.locator(".zoom"), page.locator(".stage")
        fitting = zoom.inner_text()
        if way == "buttons":
            button(page, "Zoom in").click()
            expect(zoom).not_to_have_text(fitting)
            button(page, "Fit").click()
        elif way == "keys":
            stage.focus()
            page.keyboard.press("+")
            expect(zoom).not_to_have_text(fitting)
            page.keyboard.press("0")
        elif way == "wheel":
            stage.hover()
            page.mouse.wheel(0, 100)
            page.wait_for_timeout(200)
            expect(zoom).to_have_text(fitting)  # the page scrolls instead
            page.keyboard.down("Control")
            page.mouse.wheel(0, -300)
            expect(zoom).not_to_have_text(fitting)
            page.mouse.wheel(0, 3000)
            page.keyboard.up("Control")
            button(page, "Fit").click()
        else:
            stage.dblclick()
            expect(zoom).not_to_have_text(fitting)
            stage.dblclick()
        expect(zoom).to_have_text(fitting)

    def test_the_wheel_zooms_at_the_pointer(self, visit):
        page = visit("compare")
        box = page.locator(".after").bounding_box()
        point = box["x"] + 0.25 * box["width"], box["y"] + 0.7 * box["height"]
        page.mouse.move(*point)
        page.keyboard.down("Control")
        page.mouse.wheel(0, -120)
        page.keyboard.up("Control")
        zoomed = page.locator(".after").bounding_box()
        assert zoomed["width"] > 2 * box["width"]
        assert (point[0] - zoomed["x"]) / zoomed["width"] == pytest.approx(0.25, abs=0.002)
        assert (point[1] - zoomed["y"]) / zoomed["height"] == pytest.approx(0.7, abs=0.002)

    @pytest.mark.parametrize("way", ["mouse", "touch", "keyboard"])
    def test_the_divider_shows_the_photo_on_its_left(self, visit, way):
        page = visit("compare", **(PHONE if way == "touch" else {}))
        without_furniture(page)
        assert blue(seen(page)).max() < 0.01
        slider = page.get_by_role("slider", name="Divider between photo and painting")
        expect(slider).to_have_attribute("aria-valuetext", "photo 0 %, painting 100 %")
        box = page.locator(".after").bounding_box()
        y = box["y"] + box["height"] / 3
        if way == "keyboard":
            slider.focus()
            page.keyboard.press("PageUp")
            page.keyboard.press("PageUp")
            page.keyboard.press("PageUp")
        elif way == "mouse":
            page.mouse.move(box["x"] + 0.8 * box["width"], y)
            page.mouse.down()
            page.mouse.move(box["x"] + 0.3 * box["width"], y, steps=5)
            page.mouse.up()
        else:
            touch(page, [[(box["x"] + s * box["width"], y)] for s in (0.8, 0.7, 0.5, 0.3)])
        expect(slider).to_have_attribute("aria-valuetext", "photo 30 %, painting 70 %")
        share = blue(seen(page, ".layer"))
        columns = np.linspace(0, 1, len(share))
        assert share[columns < 0.29].min() == 1
        assert share[columns > 0.31].max() < 0.01

    def test_the_knob_keeps_away_from_the_edge(self, visit):
        page = visit("compare", **PHONE)
        assert page.locator(".knob").bounding_box()["x"] >= 32

    def test_a_photo_alone_has_no_divider(self, visit):
        page = visit("plain")
        expect(page.locator(".knob")).to_be_hidden()
        assert blue(seen(page, ".layer"))[20:-20].min() > 0.9

    def test_a_right_click_meets_a_picture(self, visit):
        page = visit("compare")
        hit = """place => { const host = document.elementFromPoint(...place);
            return host.shadowRoot.elementFromPoint(...place).className }"""
        box = page.locator(".after").bounding_box()
        place = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 4]
        assert page.evaluate(hit, place) == "after"
        page.get_by_role("slider").focus()
        page.keyboard.press("End")
        assert page.evaluate(hit, place) == "before"

    def test_a_page_scrolls_under_a_finger_unless_the_picture_is_zoomed(self, visit):
        page = visit("compare", **PHONE)
        stage = page.locator(".stage")
        expect(stage).to_have_css("touch-action", "pan-y")
        button(page, "100 %").click()
        expect(stage).to_have_css("touch-action", "none")

    def test_two_fingers_zoom(self, visit):
        page = visit("compare", **PHONE)
        box = page.locator(".after").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        touch(page, [[(x - d, y), (x + d, y)] for d in (30, 40, 60, 75, 90)])
        assert page.locator(".after").bounding_box()["width"] == pytest.approx(
            3 * box["width"], rel=0.02
        )

    def test_two_results_move_in_step(self, visit):
        page = visit("two")
        expect(page.locator(".pane")).to_have_count(2)
        button(page, "100 %").click()
        expect(page.locator(".other")).to_have_js_property("naturalWidth", WIDTH)
        box = page.locator(".other").bounding_box()
        stage = page.locator(".stage").bounding_box()
        at = stage["x"] + 0.75 * stage["width"], stage["y"] + stage["height"] / 2
        page.mouse.move(*at)
        page.mouse.down()
        page.mouse.move(at[0] + 50, at[1] + 30, steps=4)
        page.mouse.up()
        moved = page.locator(".other").bounding_box()
        assert (moved["x"], moved["y"]) == (box["x"] + 50, box["y"] + 30)
        half = (stage["width"] - 2) / 2 + 2
        assert page.locator(".after").bounding_box()["x"] == pytest.approx(moved["x"] - half)

    def test_another_picture_comes_without_a_jump_or_a_blank_and_is_told(self, visit):
        page = visit("compare")
        page.evaluate(
            """() => { window.shots = []; const stage = document.querySelector(
                '[data-testid=stBidiComponentIsolated]').shadowRoot.querySelector('.stage');
              const look = () => { const after = stage.querySelector('.after');
                const { width, height } = stage.getBoundingClientRect();
                shots.push([Boolean(after?.complete && after.naturalWidth), width, height]);
                requestAnimationFrame(look) }; look() }"""
        )
        page.get_by_role("button", name="Another", exact=True).click()
        expect(page.get_by_role("status").filter(has_text="ready")).to_have_text(
            "Your picture is ready."
        )
        page.wait_for_timeout(300)
        shots = page.evaluate("shots")
        assert len(shots) > 5
        assert len({tuple(shot) for shot in shots}) == 1
        assert shots[0][0]
        without_furniture(page)
        assert (seen(page, ".layer")[50:-50, 50:-50] == (255, 0, 0)).all()

    def test_on_a_phone_a_new_picture_comes_into_sight(self, visit):
        page = visit("compare", **PHONE)
        page.get_by_role("button", name="Another, far below").click()
        expect(page.locator(".stage")).to_be_in_viewport(ratio=0.9)

    def test_the_finished_picture_stays_while_the_next_is_painted(self, visit):
        page = visit("busy")
        expect(page.locator(".layer .after")).to_be_visible()
        progress = page.get_by_role("progressbar", name="Painting: 10 seconds left.")
        expect(progress).to_have_attribute("aria-valuenow", "25")
        button(page, "Show the preview large").click()
        expect(page.locator(".layer .preview")).to_be_visible()
        expect(page.locator(".layer .after")).to_have_count(0)
        button(page, "Show the preview large").click()
        expect(page.locator(".layer .after")).to_be_visible()

    def test_full_screen(self, visit):
        page = visit("compare")
        button(page, "Full screen").click()
        page.wait_for_function("document.fullscreenElement")
        expect(button(page, "Full screen")).to_have_attribute("aria-pressed", "true")
        assert page.locator(".stage").bounding_box()["width"] > 1200

    def test_copied_is_the_full_picture(self, visit):
        page = visit("compare", permissions=["clipboard-read", "clipboard-write"])
        button(page, "Copy the picture").click()
        expect(page.get_by_role("status").filter(has_text="Copied")).to_be_visible()
        size = page.evaluate(
            """async () => { const [item] = await navigator.clipboard.read();
                const bitmap = await createImageBitmap(await item.getType('image/png'));
                return [bitmap.width, bitmap.height] }"""
        )
        assert size == [WIDTH, HEIGHT]

    def test_shared_is_the_full_picture_where_the_browser_can(self, visit):
        page = visit("compare")
        expect(page.locator(".share")).to_be_hidden()
        page.add_init_script(
            """navigator.canShare = ({ files }) => files.length === 1;
               navigator.share = async ({ files: [file] }) => {
                 const bitmap = await createImageBitmap(file);
                 window.shared = [file.name, bitmap.width, bitmap.height] }"""
        )
        page.reload()
        button(page, "Share the picture").click()
        page.wait_for_function("window.shared")
        assert page.evaluate("shared") == ["impasto.png", WIDTH, HEIGHT]


def touch(page, steps):
    """Fingers that touch at the first of the steps, move along, and are lifted after the last."""
    session = page.context.new_cdp_session(page)
    for n, fingers in enumerate(steps):
        points = [{"x": x, "y": y, "id": m} for m, (x, y) in enumerate(fingers)]
        kind = "touchMove" if n else "touchStart"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def alpha(url):
    """Where a mask is, from 0 to 1."""
    picture = Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))
    return np.asarray(picture.convert("RGBA"))[..., 3] / 255


def stroke(page, start, end):
    """With the mouse, between two places of the picture."""
    box = page.locator(".ink").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=6)
    page.mouse.up()


def capsule(start, end, share, slack=0.0):
    """Where a round brush of this share of the longer side was, on a mask of 512 by 384."""
    y, x = np.mgrid[0:384, 0:512] + 0.5
    a, b = np.array(start) * (512, 384), np.array(end) * (512, 384)
    along = b - a
    t = ((x - a[0]) * along[0] + (y - a[1]) * along[1]) / max(along @ along, 1e-9)
    t = t.clip(0, 1)
    return np.hypot(x - a[0] - t * along[0], y - a[1] - t * along[1]) < share * 256 + slack


def assert_painted(mask, start, end, share):
    """A stroke is there and nowhere else, but for a pixel or two at its edge."""
    assert mask.shape == (384, 512)
    assert mask[capsule(start, end, share, -2)].min() > 0.99
    assert mask[~capsule(start, end, share, 2)].max() == 0


def faded(mask, reach):
    """Three box blurs whose edge pixels go on."""
    for _ in range(3):
        for axis in (0, 1):
            pads = [(reach, reach) if n == axis else (0, 0) for n in (0, 1)]
            padded = np.pad(mask, pads, mode="edge")
            windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis)
            mask = windows.mean(-1)
    return mask


def set_slider(page, name, value):
    slider = page.get_by_label(name, exact=True)
    slider.fill(str(value))
    slider.dispatch_event("change")


class TestBrush:
    pytestmark = in_browser
    LINE = (0.3, 0.4), (0.6, 0.5)

    def test_a_stroke_is_sent_as_alpha(self, visit):
        page = visit("brush")
        stroke(page, *self.LINE)
        masks = wait_until(page, bool)
        assert list(masks) == ["a"]
        assert_painted(alpha(masks["a"]), *self.LINE, 0.12)

    def test_a_stroke_is_where_the_pointer_is_when_zoomed(self, visit):
        page = visit("brush")
        set_slider(page, "Size", 4)
        button(page, "100 %").click()
        button(page, "Zoom in").click()
        stroke(page, *((0.5, 0.5), (0.55, 0.52)))
        masks = wait_until(page, bool)
        assert_painted(alpha(masks["a"]), (0.5, 0.5), (0.55, 0.52), 0.04)

    def test_where_one_style_is_painted_others_are_wiped(self, visit):
        page = visit("brush")
        stroke(page, *self.LINE)
        button(page, "Stars").click()
        stroke(page, (0.6, 0.5), (0.9, 0.6))
        masks = wait_until(page, lambda masks: len(masks) == 2)
        one, other = alpha(masks["a"]), alpha(masks["b"])
        assert_painted(other, (0.6, 0.5), (0.9, 0.6), 0.12)
        assert (one + other).max() <= 1.02
        only = capsule(*self.LINE, 0.12, -2) & ~capsule((0.6, 0.5), (0.9, 0.6), 0.12, 2)
        assert one[only].min() > 0.99
        button(page, "Eraser").click()
        stroke(page, (0.05, 0.5), (0.99, 0.5))
        set_slider(page, "Size", 40)
        stroke(page, (0.05, 0.5), (0.99, 0.5))
        wait_until(page, lambda masks: not masks)

    def test_undo_and_redo(self, visit):
        page = visit("brush")
        expect(button(page, "Undo")).to_be_disabled()
        stroke(page, *self.LINE)
        one = wait_until(page, bool)
        stroke(page, (0.2, 0.8), (0.8, 0.8))
        two = wait_until(page, lambda masks: masks != one)
        page.keyboard.press("Control+z")
        wait_until(page, lambda masks: masks == one)
        button(page, "Undo").click()
        wait_until(page, lambda masks: not masks)
        button(page, "Redo").click()
        wait_until(page, lambda masks: masks == one)
        page.locator(".stage").focus()
        page.keyboard.press("Control+Shift+z")
        wait_until(page, lambda masks: masks == two)
        button(page, "Clear all").click()
        wait_until(page, lambda masks: not masks)
        button(page, "Undo").click()
        wait_until(page, lambda masks: masks == two)

    def test_invert(self, visit):
        page = visit("brush")
        stroke(page, *self.LINE)
        one = alpha(wait_until(page, bool)["a"])
        button(page, "Stars").click()
        button(page, "Invert").click()
        wait_until(page, lambda masks: list(masks) == ["b"])  # all but nothing
        button(page, "Undo").click()
        wait_until(page, lambda masks: list(masks) == ["a"])
        button(page, "Waves").click()
        button(page, "Invert").click()
        two = wait_until(page, lambda masks: alpha(masks["a"])[0, 0] == 1)
        np.testing.assert_allclose(alpha(two["a"]), 1 - one, atol=1e-6)

    def test_a_soft_edge_is_the_blurred_mask(self, visit):
        page = visit("brush")
        stroke(page, (0, 0.4), (0.6, 0.5))
        hard = wait_until(page, bool)
        set_slider(page, "Soft edge", 6)
        masks = wait_until(page, lambda masks: masks != hard)
        expected = faded(alpha(hard["a"]), round(0.06 * 512 / 3))
        assert ((expected > 0.2) & (expected < 0.8)).sum() > 500
        np.testing.assert_allclose(alpha(masks["a"]), expected, atol=1.1 / 255)

    def test_masks_from_python_are_drawn_and_painted_on(self, visit):
        page = visit("brush")
        stroke(page, *self.LINE)
        one = wait_until(page, bool)
        page.get_by_role("button", name="Again").click()
        expect(button(page, "Undo")).to_be_disabled()
        page.wait_for_timeout(500)
        stroke(page, (0.2, 0.8), (0.8, 0.8))
        two = wait_until(page, lambda masks: masks != one)
        both = np.maximum(alpha(one["a"]), capsule((0.2, 0.8), (0.8, 0.8), 0.12))
        assert (np.abs(alpha(two["a"]) - both) > 0.02).mean() < 0.005

    def test_keyboard(self, visit):
        page = visit("brush")
        page.get_by_role("application", name="Drawing").focus()
        for key in ("Shift+ArrowRight", "ArrowRight", "ArrowUp", "Space"):
            page.keyboard.press(key)
        masks = wait_until(page, bool)
        assert_painted(alpha(masks["a"]), (0.62, 0.48), (0.62, 0.48), 0.12)
        expect(page.locator(".outline")).to_be_visible()

    def test_a_finger_draws_and_two_fingers_zoom(self, visit):
        page = visit("brush", **PHONE)
        box = page.locator(".ink").bounding_box()
        place = lambda x, y: (box["x"] + x * box["width"], box["y"] + y * box["height"])  # noqa: E731
        scrolled = page.evaluate("document.querySelector('[data-testid=stMain]').scrollTop")
        touch(page, [[place(0.5, 0.3 + n / 10)] for n in range(5)])
        masks = wait_until(page, bool)
        assert_painted(alpha(masks["a"]), (0.5, 0.3), (0.5, 0.7), 0.12)
        assert scrolled == page.evaluate("document.querySelector('[data-testid=stMain]').scrollTop")
        touch(page, [[place(0.4, 0.5), place(0.6, 0.5)], [place(0.2, 0.5), place(0.8, 0.5)]])
        page.wait_for_timeout(500)
        assert page.locator(".ink").bounding_box()["width"] > 2 * box["width"]
        assert told(page) == masks

    def test_the_outline_is_as_large_as_the_brush(self, visit):
        page = visit("brush")
        box = page.locator(".ink").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        ring = page.locator(".outline").bounding_box()
        assert ring["width"] == pytest.approx(0.12 * box["width"], rel=0.01)
        assert ring["x"] + ring["width"] / 2 == pytest.approx(x, abs=0.5)
        button(page, "Move picture").click()
        page.mouse.move(x + 5, y)
        expect(page.locator(".outline")).to_be_hidden()

    def test_the_drawing_can_be_hidden(self, visit):
        page = visit("brush")
        without_furniture(page)
        clean = seen(page)
        stroke(page, *self.LINE)
        page.mouse.move(0, 0)
        wait_until(page, bool)
        assert (seen(page) != clean).any()
        button(page, "Show drawing").click()
        np.testing.assert_array_equal(seen(page), clean)


def tile(page, title):
    return page.locator(".tile", has=page.locator(".title").get_by_text(title, exact=True))


def pick(page, title):
    return tile(page, title).locator(".pick")


def toggle(page, label):
    page.get_by_test_id("stCheckbox").filter(has_text=label).locator("label").click()


class TestChoose:
    pytestmark = in_browser

    def test_no_click_is_lost_while_the_page_is_drawn(self, visit):
        page = visit("choose")
        toggle(page, "Several")
        toggle(page, "Slow")
        page.wait_for_timeout(500)
        names = [f"Painting {n}" for n in range(2, 22)]
        for name in names:
            pick(page, name).click(delay=0, no_wait_after=True)
            page.wait_for_timeout(40)
        expect(page.locator(".pick[aria-pressed=true]")).to_have_count(20)  # at once
        said = wait_until(page, lambda said: len(said["chosen"]) == 20, 60)
        assert said["chosen"] == [f"id{n}" for n in range(2, 22)]

    def test_one_at_a_time(self, visit):
        page = visit("choose")
        pick(page, "Starry Night").click()
        wait_until(page, lambda said: said["chosen"] == ["id1"])
        pick(page, "Painting 3").click()
        wait_until(page, lambda said: said["chosen"] == ["id3"])
        expect(page.locator(".pick[aria-pressed=true]")).to_have_count(1)

    def test_a_second_click_lets_go_and_there_is_a_limit(self, visit):
        page = visit("choose")
        toggle(page, "Several")
        page.wait_for_timeout(1000)
        for name in [f"Painting {n}" for n in range(2, 24)]:
            pick(page, name).click()
        wait_until(page, lambda said: len(said["chosen"]) == 22, 30)
        pick(page, "Starry Night").click()
        status = page.get_by_role("status").filter(has_text="22")
        expect(status).to_have_text("You can choose 22 at a time: let go of one first.")
        pick(page, "Painting 2").click()
        wait_until(page, lambda said: "id2" not in said["chosen"])
        pick(page, "Starry Night").click()
        wait_until(page, lambda said: said["chosen"][-1] == "id1")

    def test_search(self, visit):
        page = visit("choose")
        page.get_by_role("searchbox", name="Search styles").fill("cezanne NOBODY")
        expect(page.locator(".tile:visible")).to_have_count(1)
        expect(page.get_by_role("heading", name="Famous paintings")).to_be_visible()
        expect(page.get_by_role("heading", name="Your paintings")).to_be_hidden()
        page.get_by_role("searchbox").fill("monet")
        expect(page.get_by_role("status").filter(has_text="found")).to_have_text("Nothing found.")
        page.get_by_role("searchbox").fill("")
        expect(page.locator(".tile:visible")).to_have_count(27)
        expect(page.get_by_text("Nothing found.")).to_have_count(0)

    def test_remove_rename_and_pin(self, visit):
        page = visit("choose")
        tile(page, "Own 1").hover()
        button(page, "Remove Own 1").click()
        expect(tile(page, "Own 1")).to_have_count(0)
        button(page, "Pin Own 0").click()
        tile(page, "Own 2").locator(".title").dblclick()
        name = page.get_by_role("textbox", name="New name of Own 2")
        name.fill("My <b>cat</b>")
        name.press("Enter")
        expect(tile(page, "My <b>cat</b>")).to_be_visible()
        button(page, "Rename Own 0").click()
        page.get_by_role("textbox", name="New name of Own 0").fill("x")
        page.keyboard.press("Escape")
        expect(tile(page, "Own 0")).to_be_visible()
        edits = wait_until(page, lambda said: len(said["edits"]) == 3)["edits"]
        expected = [["remove", "own1", None], ["pin", "own0", True]]
        assert edits == [*expected, ["rename", "own2", "My <b>cat</b>"]]

    def test_keyboard(self, visit):
        page = visit("choose")
        pick(page, "Cézanne").focus()
        page.keyboard.press("ArrowRight")
        expect(pick(page, "Starry Night")).to_be_focused()
        page.keyboard.press("ArrowDown")
        below = page.locator(".pick:focus")
        assert below.bounding_box()["x"] == pick(page, "Starry Night").bounding_box()["x"]
        assert below.bounding_box()["y"] > pick(page, "Starry Night").bounding_box()["y"]
        page.keyboard.press("End")
        expect(pick(page, "Own 2")).to_be_focused()
        page.keyboard.press("Space")
        wait_until(page, lambda said: said["chosen"] == ["own2"])
        page.keyboard.press("Delete")
        expect(pick(page, "Own 1")).to_be_focused()
        page.keyboard.press("F2")
        expect(page.get_by_role("textbox", name="New name of Own 1")).to_be_focused()

    def test_focus_and_choice_look_different(self, visit):
        page = visit("choose")
        look = "e => [getComputedStyle(e).outlineStyle, getComputedStyle(e.firstChild).boxShadow]"
        plain = pick(page, "Painting 5").evaluate(look)
        pick(page, "Cézanne").focus()
        page.keyboard.press("ArrowRight")
        focused = pick(page, "Starry Night").evaluate(look)
        page.keyboard.press("Enter")
        wait_until(page, lambda said: said["chosen"] == ["id1"])
        both = pick(page, "Starry Night").evaluate(look)
        assert len({str(one) for one in (plain, focused, both)}) == 3
        assert (focused[0], focused[1]) == ("solid", plain[1])

    def test_other_pictures_leave_focus_and_show_no_gap(self, visit):
        page = visit("choose")
        pick(page, "Starry Night").focus()
        page.evaluate(
            """() => { window.gaps = 0; const list = document.querySelector(
                '[data-testid=stBidiComponentIsolated]').shadowRoot.querySelector('.tiles');
              const look = () => {
                const images = [...list.querySelectorAll('img')];
                if (images.filter(i => i.complete && i.naturalWidth).length !== 27) gaps++;
                requestAnimationFrame(look) }; look() }"""
        )
        page.get_by_test_id("stCheckbox").filter(has_text="Red").locator("input").evaluate(
            "input => input.click()"
        )
        red = page.locator(".tile img").first
        expect(red).to_have_js_property("naturalWidth", WIDTH // 3)
        page.wait_for_timeout(500)
        assert page.evaluate("gaps") == 0
        expect(pick(page, "Starry Night")).to_be_focused()

    def test_a_strip_keeps_the_chosen_one_in_sight(self, visit):
        page = visit("strip", **PHONE)
        expect(pick(page, "Picture 20")).to_be_in_viewport(ratio=0.9)
        expect(pick(page, "Picture 2")).not_to_be_in_viewport()


class TestPage:
    pytestmark = in_browser

    @pytest.mark.parametrize("way", ["paste", "drop"])
    def test_what_is_pasted_or_dropped_anywhere_is_uploaded(self, visit, way):
        page = visit("page")
        wait_until(page, lambda said: said["stored"] is not None)
        events = {
            "paste": "new ClipboardEvent('paste', {clipboardData: data, bubbles: true})",
            "drop": "new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})",
        }
        page.evaluate(
            f"""() => {{ const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(1234)], 'mine.png', {{type: 'image/png'}}));
                document.querySelector('[data-testid=stMain]').dispatchEvent({events[way]}) }}"""
        )
        said = wait_until(page, lambda said: said["file"])
        assert said["file"] == ["mine.png", 1234]

    def test_pasted_text_is_left_alone(self, visit):
        page = visit("page", permissions=["clipboard-read", "clipboard-write"])
        page.evaluate("navigator.clipboard.writeText('Vincent')")
        field = page.get_by_label("A name")
        field.click()
        page.keyboard.press("Control+v")
        expect(field).to_have_value("Vincent")
        assert told(page)["file"] is None

    def test_a_token_outlives_a_reload_but_not_the_tab(self, visit):
        page = visit("page")
        first = wait_until(page, lambda said: said["stored"] is not None)
        assert first["stored"] == ""
        page.wait_for_timeout(500)
        page.reload()
        page.get_by_test_id("stText").wait_for()
        again = wait_until(page, lambda said: said["stored"] is not None)
        assert again["stored"] == first["token"]
        assert again["token"] != first["token"]
        assert wait_until(visit("page"), lambda said: said["stored"] is not None)["stored"] == ""


class TestEvents:
    def test_only_what_is_new_counts(self):
        sent = [[1, "choose", "a", None], [2, "leave", "a", None], [3, "rename", "b", "Cat"]]
        assert new_events(sent, 1) == [Event(2, "leave", "a"), Event(3, "rename", "b", "Cat")]
        assert new_events(sent, 3) == []

    def test_the_same_number_counts_once(self):
        assert len(new_events([[5, "pin", "a", True]] * 2, 0)) == 1

    @pytest.mark.parametrize(
        "sent",
        [
            *(None, 7, "x", {}, [7], [[]], [["1", "choose", "a", None]]),
            *([[1, "choose", ["a"], None]], [[1, "burn", "a", None]], [[1, "rename", "a", 3]]),
            *([[1, "pin", "a", "x"]], [[1, "choose", "a"]], [[float("nan"), "choose", "a", None]]),
        ],
    )
    def test_nonsense_counts_for_nothing(self, sent):
        assert new_events(sent, 0) == []

    def test_clicks(self):
        clicks = [Event(1, "choose", "c"), Event(2, "leave", "c"), Event(3, "choose", "a")]
        assert [chosen_after(["a", "b"], click, 3) for click in clicks] == [
            ["a", "b", "c"],
            ["a", "b"],
            ["b", "a"],
        ]
        assert chosen_after(["a", "b"], clicks[0], 1) == ["c"]
        assert chosen_after(["a", "b"], clicks[0], 2) == ["b", "c"]

    def test_masks_of_a_browser_are_pngs_of_known_styles(self):
        good = "data:image/png;base64,AAAA"
        sent = {"a": good, "b": 3, "c": good, "d": "https://example.org/x.png"}
        assert painted_masks(sent, {"a": "A", "b": "B", "d": "D"}) == {"a": good}
        assert painted_masks([good], {"a": "A"}) == {}
