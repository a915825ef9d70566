"""The app in a real browser, as it is served: Chromium, by way of Playwright. Pictures of the pages
are left in ``screenshots``.

The pieces of page alone are in `test_components`, the server in `test_server`.
"""

import contextlib
import io
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright import sync_api
from playwright.sync_api import expect

import impasto
from impasto import Stylizer, gallery, images
from tests.app.page_scripts import CONTRAST, SEEN
from tests.helpers import browser as helper
from tests.helpers import cli
from tests.helpers.files import bomb
from tests.helpers.pictures import painting_array, photo_array

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SCREENSHOTS = Path(__file__).parents[2] / "screenshots"
EXAMPLES = SCREENSHOTS.parent / "examples"
SIZES = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "landscape": {"viewport": {"width": 844, "height": 390}, "is_mobile": True, "has_touch": True},
    "portrait": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
WAIT_MS = int(os.environ.get("WAITMS", 40_000))
LOOKS_ALIKE = 4.0
"""Mean difference, of 255, that packing a picture for the page may make, but for fine detail."""
START_S = 60


@pytest.fixture(scope="module")
def server():
    """Its address."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = cli.command("app", "--port", port, "--max-megapixels", 2)
    environment = {**os.environ, "STREAMLIT_SERVER_HEADLESS": "true"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    address = f"http://localhost:{port}"
    for _ in range(5 * START_S):
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).close()
            break
        except OSError:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.2)
    yield address
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=30)
    assert (process.returncode, complaints.strip()) == (0, b"")


@pytest.fixture(scope="module")
def browser():
    helper.needed()
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=helper.BROWSER or None, args=[*helper.FLAGS, *CAMERA]
        )
        yield launched
        launched.close()


@pytest.fixture
def visit(server, browser):
    """Opens a page as a new visitor, who meets no fault of ours on the way."""
    with contextlib.ExitStack() as visits:

        def visit(path="", size="desktop", **options):
            context = browser.new_context(**{**SIZES[size], **options})
            visits.callback(context.close)
            page = context.new_page()
            visits.callback(check, page)
            page.faults = []
            page.on("pageerror", lambda error: page.faults.append(str(error)))
            page.set_default_timeout(WAIT_MS)
            page.goto(f"{server}/{path}")
            page.get_by_role("heading", level=1).wait_for()
            return page

        yield visit


def check(page):
    assert page.faults == []
    expect(page.get_by_text("Something went wrong here")).to_have_count(0)


@pytest.fixture
def photo_file(tmp_path):
    """A small photo, so that it is painted in no time."""
    return saved(tmp_path / "beach.png", photo_array(120, 160))


def saved(path, array):
    Image.fromarray(array).save(path)
    return path


# What a visitor does


def keep(page, name):
    """Leaves a picture of the page, for people."""
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def button(page, name, **options):
    return page.get_by_role("button", name=name, **options)


def eventually(condition):
    end = time.monotonic() + WAIT_MS / 1000
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def give(page, label, *files):
    uploader = page.get_by_test_id("stFileUploader").filter(has_text=label)
    uploader.locator("input[type=file]").set_input_files(files)


def style(page, title):
    group = page.get_by_role("group", name="Styles", exact=True)
    return group.get_by_role("button", name=title, exact=True)


def after(page):
    return page.locator("img.after")


def shown(page):
    """The address of the painted picture that is shown, once there is one."""
    return after(page).get_attribute("data-url")


def another(page, before):
    """The address of the picture that takes the place of that one."""
    expect(after(page)).not_to_have_attribute("data-url", before, timeout=WAIT_MS)
    return shown(page)


def choose(page, title):
    """Chooses a style; the address of the picture."""
    before = shown(page) if after(page).count() else None
    style(page, title).click()
    return another(page, before) if before else shown(page)


def painted(page, photo, title="Lion Hunt"):
    """Brings a photo and chooses a style; the address of the picture."""
    give(page, "Your photo", photo)
    return choose(page, title)


def press(slider, key):
    slider.focus()
    slider.press(key)


def slide(page, key, name="Strength"):
    """Moves a slider; the address of the picture."""
    before = shown(page)
    press(page.get_by_role("slider", name=name), key)
    return another(page, before)


def set_number(page, label, value):
    field = page.get_by_role("spinbutton", name=label, exact=True)
    field.fill(str(value))
    field.press("Enter")


def unfold(page, title):
    page.get_by_test_id("stExpander").get_by_text(title, exact=True).click()


def refine(page, steps="Best"):
    """Refines; it is under way at the end."""
    button(page, "Refine").click()
    button(page, steps, exact=True).click()
    page.get_by_text(re.compile(r"Step [1-9]\d* of \d+")).wait_for()


def refine_for_long(page):
    """The same, in so many steps that it does not end by itself."""
    unfold(page, "For experts")
    set_number(page, "Iterations", 500)
    refine(page, "500 steps")


def stop(page):
    button(page, "Stop", exact=True).click()
    expect(button(page, "Stop", exact=True)).to_have_count(0, timeout=WAIT_MS)


def download(page, name=re.compile(r"^Download \d+ × \d+$")):
    """Name and place of a file."""
    with page.expect_download() as waited:
        button(page, name, exact=True).click()
    return waited.value.suggested_filename, Path(waited.value.path())


def recipe(page):
    return images.read_recipe(download(page)[1])


def history(page):
    """The pictures of the session, the newest first."""
    group = page.get_by_role("group", name="Your pictures", exact=True)
    return group.locator(".pick")


def told_command(page):
    button(page, "More", exact=True).click()
    told = page.get_by_test_id("stCode").first.inner_text()
    page.keyboard.press("Escape")
    return told


def fetched(page, url):
    """A picture as the page shows it."""
    answer = page.request.get(url if "//" in url else re.sub(r"(?<=\d)/.*", url, page.url, count=1))
    assert answer.ok
    return Image.open(io.BytesIO(answer.body()))


def array(picture):
    return np.asarray(picture.convert("RGB"), float)


def difference(one, other):
    return np.abs(array(one) - array(other))


def look_alike(one, other):
    """Whether two pictures are the same but for how they were packed."""
    return difference(one.reduce(4), other.reduce(4)).mean() < LOOKS_ALIKE


# The first page


@pytest.mark.parametrize("size", SIZES)
def test_the_first_page_shows_what_it_does_and_paints_with_one_click(visit, size):
    page = visit(size=size)
    expect(page).to_have_title("Impasto")
    examples = page.get_by_role("group", name="Examples").locator(".pick")
    expect(examples.locator("img[src*='/picture/examples/']")).to_have_count(
        examples.count(), timeout=WAIT_MS
    )
    keep(page, f"welcome-{size}")
    examples.first.click()
    shown(page)
    keep(page, f"painted-{size}")
    expect(style(page, "The Starry Night")).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_photo_is_painted_and_downloaded(visit, tmp_path):
    photo = saved(tmp_path / "beach.jpg", photo_array(240, 320))
    page = visit()
    give(page, "Your photo", photo)
    page.get_by_text("Choose a style, and your photo").wait_for()
    url = choose(page, "Bordighera")
    mine = impasto.stylize(photo, "bordighera")
    assert look_alike(fetched(page, url), mine)
    name, path = download(page, "Download 320 × 240")
    assert re.fullmatch(r"beach-bordighera-\d+\.png", name)
    told = images.read_recipe(path)
    assert (told["method"], told["styles"][0]["source"]) == ("adain", "bordighera")
    with Image.open(path) as theirs:
        assert difference(theirs, mine).max() <= 1
    button(page, "More", exact=True).click()
    name, path = download(page, "JPEG")
    assert re.fullmatch(r"beach-bordighera-\d+\.jpg", name)
    with Image.open(path) as theirs:
        assert (theirs.format, theirs.size) == ("JPEG", mine.size)
        assert look_alike(theirs, mine)
    assert images.read_recipe(path)["method"] == "adain"


def test_ones_own_photo_is_shown_in_every_style(visit, tmp_path):
    """They change their pictures, which then are what the library's quickest network makes."""
    photo = saved(tmp_path / "beach.png", photo_array(120, 160))
    page = visit()
    give(page, "Your photo", photo)
    tiles = page.get_by_role("group", name="Styles").locator(".pick")
    tiles.first.wait_for()
    own = tiles.locator("img[src*='/sheet-']")
    expect(own).to_have_count(len(gallery.paintings()), timeout=2 * WAIT_MS)
    keep(page, "every-style")
    for title, source, method in (
        ("Bordighera", "bordighera", "adain.small"),
        ("Olive Trees", "olive-trees", "auto"),
    ):
        tile = fetched(page, style(page, title).locator("img").get_attribute("src"))
        mine = Stylizer(method).stylize(photo, source)
        assert look_alike(tile, mine)


def test_a_photo_from_the_camera(visit):
    page = visit(permissions=["camera"])
    page.get_by_text("Use the camera").click()
    eventually(lambda: page.locator("video").evaluate("video => video.videoWidth"))
    page.wait_for_timeout(1500)  # Streamlit does not show when its button begins to work
    page.get_by_role("button", name="Take Photo").click()
    page.get_by_text("Choose a style, and your photo").wait_for()
    keep(page, "camera")


def test_bad_files_are_answered_with_a_sentence(visit, photo_file, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(photo_file.read_bytes()[:300])
    large = saved(tmp_path / "large.png", np.zeros((1500, 2000, 3), np.uint8))
    bombed = tmp_path / "bomb.png"
    bombed.write_bytes(bomb())
    page = visit()
    for file, told in (
        (broken, "broken.png: cannot be read, perhaps damaged or cut off"),
        (large, "large.png: 2000x1500 are more than 2 megapixels; scale it down"),
        (bombed, "bomb.png: too many pixels to be safe to open"),
    ):
        give(page, "Your photo", file)
        page.get_by_text(told).wait_for()
    keep(page, "broken")
    painted(page, photo_file)
    expect(page.get_by_text("bomb.png")).to_have_count(0)
    give(page, "A painting of your own", broken)
    page.get_by_text("broken.png: cannot be read").wait_for()
    unfold(page, "Size")
    set_number(page, "Longer side in pixels", 4000)
    field = page.get_by_role("spinbutton", name="Longer side in pixels")
    expect(field).to_have_attribute("aria-invalid", "true")


# In sight


@pytest.mark.parametrize("size", SIZES)
def test_the_picture_stays_in_sight(visit, size):
    """Down to the last control; and its news come into sight by themselves."""
    page = visit(size=size)
    button(page, "Chelsea the cat, as The Starry Night").click()
    before = shown(page)
    stage = page.locator(".stage")
    for title in ("Mix several styles", "Colours", "For experts"):
        page.get_by_text(title, exact=True).first.scroll_into_view_if_needed()
        page.wait_for_timeout(300)
        assert stage.evaluate(SEEN) > 0.95
    unfold(page, "For experts")
    page.locator(".st-key-panel").evaluate("panel => panel.scrollIntoView({ block: 'end' })")
    page.wait_for_timeout(300)
    assert stage.evaluate(SEEN) > 0.6
    keep(page, f"controls-{size}")
    tile = style(page, "The Great Wave off Kanagawa")
    if size == "desktop":
        tile.click()
    else:
        tile.tap()
    another(page, before)
    expect(stage).to_be_in_viewport(ratio=0.9)


@pytest.mark.parametrize("size", ["landscape", "portrait"])
def test_all_pages_are_reached_by_name_on_a_phone(visit, size):
    page = visit(size=size)
    for name, heading in (
        ("Many photos", "Paint many photos in one style"),
        ("Texture", "Make a texture from a painting"),
        ("Paint", "Turn your photo into a painting"),
    ):
        link = page.get_by_role("link", name=name, exact=True)
        expect(link).to_be_in_viewport(ratio=1)
        link.tap()
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        keep(page, f"{name.lower().replace(' ', '-')}-{size}")


def test_one_heading_tells_what_a_page_is_and_news_are_announced(visit, photo_file):
    page = visit()
    page.evaluate(
        """() => {
          window.announced = [];
          const watch = (root) => new MutationObserver(() => {
            for (const one of root.querySelectorAll("[role=status]"))
              if (one.textContent) announced.push(one.textContent);
            for (const one of root.querySelectorAll("*")) if (one.shadowRoot && !one.watched) {
              one.watched = true;
              watch(one.shadowRoot);
            }
          }).observe(root, { childList: true, subtree: true, characterData: true });
          watch(document);
        }"""
    )
    painted(page, photo_file)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    choose(page, "Bordighera")
    eventually(lambda: page.evaluate("announced.includes('Your picture is ready.')"))
    levels = page.get_by_role("heading").evaluate_all("all => all.map((one) => +one.tagName[1])")
    assert levels[0] == 1
    assert all(later <= before + 1 for before, later in zip(levels, levels[1:], strict=False))
    for name in ("Many photos", "Texture"):
        page.get_by_role("link", name=name).click()
        expect(page).to_have_title(name)
        expect(page.get_by_role("heading", level=1)).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(visit, photo_file, scheme):
    """Contrast of 4.5 at least, as WCAG 2.2 asks at level AA; and it is as dark as one likes it."""
    page = visit(color_scheme=scheme)
    background = page.get_by_test_id("stApp").evaluate("app => getComputedStyle(app).background")
    lightness = sum(map(int, re.findall(r"\d+", background)[:3]))
    assert (lightness > 600) == (scheme == "light")
    assert page.evaluate(CONTRAST) == []
    painted(page, photo_file)
    choose(page, "Bordighera")
    unfold(page, "Size")
    unfold(page, "For experts")
    button(page, "More", exact=True).click()
    page.get_by_test_id("stCode").first.wait_for()
    page.wait_for_timeout(500)  # until it is faded in
    keep(page, f"everything-{scheme}")
    assert page.evaluate(CONTRAST) == []
    page.keyboard.press("Escape")
    for name in ("Many photos", "Texture"):
        page.get_by_role("link", name=name).click()
        expect(page).to_have_title(name)
        page.wait_for_timeout(500)
        assert page.evaluate(CONTRAST) == []


JARGON = "gram wasserstein lbfgs gatys adain styletr tv nst vgg optimiser iteration".split()


def test_nobody_needs_the_words_of_the_field(visit, photo_file):
    """Until they open what is for experts."""
    page = visit()

    def check():
        words = re.findall(r"\w+", page.locator("body").inner_text().lower())
        assert not {word for word in words if word in JARGON}
        assert not re.search(r"color\b|optimiz", " ".join(words))  # one spelling

    check()
    painted(page, photo_file)
    slide(page, "Home")
    before = shown(page)
    page.get_by_test_id("stButtonGroup").get_by_text("My colours").click()
    another(page, before)
    unfold(page, "Size")
    check()
    refine(page, "Quick")
    check()
    stop(page)
    check()
    for name in ("Many photos", "Texture"):
        page.get_by_role("link", name=name).click()
        expect(page).to_have_title(name)
        check()
