"""The app in a real browser: Chromium, by way of Playwright. Pictures of the pages are left in
``screenshots``.

Skipped where there is no Chromium, unless ``IMPASTO_BROWSER=required``.
"""

import io
import os
import re
import shutil
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
from impasto import Stylizer, images
from tests.helpers.pictures import painting_array, photo_array

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
if not BROWSER and os.environ.get("IMPASTO_BROWSER") != "required":
    pytest.skip("no Chromium here", allow_module_level=True)

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SCREENSHOTS = Path(__file__).parents[2] / "screenshots"
EXAMPLES = SCREENSHOTS.parent / "examples"
PHONE = {"viewport": {"width": 390, "height": 800}, "is_mobile": True, "has_touch": True}
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--use-fake-device-for-media-stream",  # a camera that shows a test picture
    "--use-fake-ui-for-media-stream",
]
PAINTING_MS = 40_000


@pytest.fixture(scope="module")
def server():
    """Its address."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "impasto", "app", "--port", str(port)]
    environment = {**os.environ, "STREAMLIT_SERVER_HEADLESS": "true"}
    process = subprocess.Popen(
        [*command, "--max-megapixels", "2"], env=environment, stderr=subprocess.PIPE
    )
    address = f"http://localhost:{port}"
    for _ in range(300):
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
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=BROWSER or None, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def visit(server, browser):
    """Opens a page as a new visitor, who sees no error on the way."""
    contexts = []

    def visit(path="", **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PAINTING_MS)
        page.goto(f"{server}/{path}")
        return page

    yield visit
    for context in contexts:
        for page in context.pages:
            expect(page.get_by_test_id("stException")).to_have_count(0)
        context.close()


@pytest.fixture
def photo_file(tmp_path):
    """A photo of 1024 pixels."""
    path = tmp_path / "beach.jpg"
    Image.fromarray(photo_array(768, 1024)).save(path, quality=95)
    return path


def wait_for_pictures(page):
    """Until all that are on the page are decoded."""
    page.evaluate("Promise.all([...document.images].map(image => image.decode().catch(() => {})))")


def keep(page, name):
    SCREENSHOTS.mkdir(exist_ok=True)
    wait_for_pictures(page)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def button(page, name, **options):
    return page.get_by_test_id("stMain").get_by_role("button", name=name, **options)


def give(page, label, *files):
    uploader = page.get_by_test_id("stFileUploader").filter(has_text=label)
    uploader.locator("input[type=file]").set_input_files(files)


def painted(page):
    """The URL of the painted picture, once there is one."""
    button(page, "PNG", exact=True).wait_for()
    return page.locator("img.after").get_attribute("src")


def wait_for_another(page, before):
    expect(page.locator("img.after")).not_to_have_attribute("src", before, timeout=PAINTING_MS)
    return painted(page)


def chelsea_as_a_painting(page):
    """Begins with the cat in a style that is a painting; the URL of that."""
    button(page, "Chelsea").click()
    before = painted(page)
    page.get_by_role("radio", name="Paintings").click()
    button(page, "Lion Hunt").click()
    return wait_for_another(page, before)


def download(page, name):
    with page.expect_download() as waited:
        button(page, name, exact=True).click()
    return waited.value.suggested_filename, Path(waited.value.path())


def press(slider, key):
    slider.focus()
    slider.press(key)


def set_number(page, label, value):
    field = page.get_by_role("spinbutton", name=label, exact=True)
    field.fill(str(value))
    field.press("Enter")


def array(picture):
    return np.asarray(picture.convert("RGB"), float)


def difference(one, other):
    return np.abs(array(one) - array(other))


def test_a_photo_is_painted_and_downloaded(visit, photo_file):
    page = visit()
    expect(page).to_have_title("Impasto")
    page.get_by_text("No photo at hand?").wait_for()
    keep(page, "welcome")
    give(page, "Drop a photo here", photo_file)
    page.get_by_text("Choose a style").wait_for()
    keep(page, "photo")
    button(page, "Bordighera").click()
    painted(page)
    keep(page, "painted")
    name, path = download(page, "PNG")
    assert name == "beach-bordighera.png"
    mine = impasto.stylize(photo_file, "bordighera")
    assert images.read_recipe(path)["method"] == "adain"
    assert images.read_recipe(path)["styles"][0]["source"] == "bordighera"
    with Image.open(path) as theirs:
        assert difference(theirs, mine).max() <= 1
    name, path = download(page, "JPEG")
    with Image.open(path) as theirs:
        assert (name, theirs.format, theirs.size) == ("beach-bordighera.jpg", "JPEG", mine.size)
        assert difference(theirs, mine).mean() < 4
    assert images.read_recipe(path)["method"] == "adain"


def test_a_picture_comes_soon(visit, photo_file):
    """In twice what the library takes, and two seconds."""
    stylizer = Stylizer(device="cpu")
    for _ in range(2):  # the first call warms up
        started = time.monotonic()
        stylizer.stylize(photo_file, "lion-hunt", size=1024)
        taken = time.monotonic() - started
    page = visit()
    give(page, "Drop a photo here", photo_file)
    button(page, "Bordighera").click()
    before = painted(page)
    started = time.monotonic()
    button(page, "Lion Hunt").click()
    wait_for_another(page, before)
    assert time.monotonic() - started < 2 * taken + 2


def test_a_photo_from_the_camera(visit):
    page = visit(permissions=["camera"])
    page.get_by_text("Use the camera").click()
    page.wait_for_function("document.querySelector('video')?.videoWidth > 0")
    page.wait_for_timeout(1500)  # Streamlit does not show when its button begins to work
    page.get_by_role("button", name="Take Photo").click()
    page.get_by_text("Choose a style").wait_for()
    keep(page, "camera")


def test_the_slider_uncovers_the_photo(visit):
    page = visit()
    button(page, "Coffee").click()
    painted(page)
    frame = page.locator(".frame")
    wait_for_pictures(page)

    def seen():
        with Image.open(io.BytesIO(frame.screenshot())) as shot:
            return array(shot)

    with Image.open(EXAMPLES / "coffee.jpg") as photo:
        before = array(photo.resize(seen().shape[1::-1]))
    assert np.abs(seen() - before).mean() > 30
    slider = page.get_by_label("Before and after")
    slider.fill("50")
    half = np.abs(seen() - before).mean((0, 2))
    quarter = len(half) // 4
    assert half[:quarter].mean() < 8
    assert half[-quarter:].mean() > 30
    keep(page, "slider")
    press(slider, "End")
    assert np.abs(seen() - before)[:, : 3 * quarter].mean() < 8


def test_refining_shows_its_progress_and_stops_with_the_picture_so_far(visit):
    page = visit()
    button(page, "Chelsea").click()
    painted(page)
    expect(button(page, "Refine")).to_be_disabled()  # a trained style has no picture
    before = painted(page)
    page.get_by_role("radio", name="Paintings").click()
    button(page, "Chrysanthemums").click()
    before = wait_for_another(page, before)
    page.get_by_text("Optimiser", exact=True).click()
    set_number(page, "Iterations", 500)
    set_number(page, "Snapshot every", 2)
    button(page, "Refine").click()
    page.get_by_text(re.compile(r"Step \d+ of \d+, content .*, style ")).wait_for()
    page.get_by_alt_text("So far").wait_for()
    keep(page, "refining")
    page.get_by_text(re.compile(r"Step ([3-9]|\d\d+) of ")).wait_for()  # one snapshot at least
    button(page, "Stop").click()
    wait_for_another(page, before)
    expect(button(page, "Stop")).to_have_count(0)
    page.get_by_text("Losses").click()
    page.get_by_test_id("stVegaLiteChart").locator("svg").wait_for()
    page.get_by_text("Snapshots").click()
    page.get_by_text("Step 2", exact=True).wait_for()
    keep(page, "refined")
    _, path = download(page, "PNG")
    assert images.read_recipe(path)["refine"] == 500
    button(page, "As code").click()
    line = "impasto stylize chelsea.jpg chrysanthemums --refine 500 --snapshot-every 2"
    expect(page.get_by_test_id("stCode").first).to_contain_text(line)
    keep(page, "code")


def test_styles_go_where_they_are_painted(visit, photo_file, tmp_path):
    page = visit()
    give(page, "Drop a photo here", photo_file)
    button(page, "Bordighera").click()
    before = painted(page)
    page.get_by_text("Paint only where I draw").click()
    canvas = page.locator("canvas")
    canvas.wait_for()
    page.wait_for_timeout(500)  # it scrolls into view by itself
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.5 * box["height"], steps=5)
    page.mouse.up()
    before = wait_for_another(page, before)
    keep(page, "masks")
    _, path = download(page, "PNG")
    with Image.open(path) as picture, Image.open(photo_file) as photo:
        change = difference(picture, photo).mean(-1)
    assert change[350:420, 150:400].mean() > 15
    assert change[:, 600:].max() <= 1
    recipe = images.read_recipe(path)
    assert recipe["styles"][0]["mask"] == "mask-1.png"
    _, archive = download(page, "Masks")
    with zipfile.ZipFile(archive) as masks:
        assert masks.namelist() == ["mask-1.png"]
        masks.extractall(tmp_path)
    mine = impasto.stylize(photo_file, impasto.Style("bordighera", mask=tmp_path / "mask-1.png"))
    with Image.open(path) as picture:
        assert difference(picture, mine).max() <= 1
    page.get_by_role("button", name="Clear all").click()
    wait_for_another(page, before)


def test_visitors_see_nothing_of_each_other(visit, photo_file):
    one, other = visit(), visit()
    give(one, "Drop a photo here", photo_file)
    button(other, "Coffee").click()
    button(one, "Lion Hunt").click()
    painted(one)
    painted(other)
    for page, mine, others in ((one, "lion-hunt", "starry-night"), (other, "starry-night", "lion")):
        button(page, "As code").click()
        expect(page.get_by_test_id("stCode").first).to_contain_text(mine)
        assert others not in page.content()
        page.keyboard.press("Escape")
    keep(one, "visitor-one")
    keep(other, "visitor-two")
    assert download(one, "PNG")[0] == "beach-lion-hunt.png"
    assert download(other, "PNG")[0] == "coffee-starry-night.png"
    other.reload()
    other.get_by_text("No photo at hand?").wait_for()


def test_a_quick_picture_does_not_wait_for_a_long_one(visit, photo_file):
    slow, quick = visit(), visit()
    give(slow, "Drop a photo here", photo_file)
    button(slow, "Lion Hunt").click()
    painted(slow)
    button(slow, "Refine").click()
    slow.get_by_text("Step").wait_for()
    button(quick, "Chelsea").click()
    painted(quick)
    expect(slow.get_by_text("Step")).to_be_visible()
    button(slow, "Stop").click()
    expect(button(slow, "Stop")).to_have_count(0, timeout=30_000)  # after a step at full size


def test_bad_files_are_answered_with_a_sentence(visit, photo_file, tmp_path):
    broken, large = tmp_path / "broken.jpg", tmp_path / "large.png"
    broken.write_bytes(photo_file.read_bytes()[:3000])
    Image.new("RGB", (2000, 1500)).save(large)
    page = visit()
    give(page, "Drop a photo here", broken)
    page.get_by_text("broken.jpg: cannot be read, perhaps damaged or cut off").wait_for()
    keep(page, "broken")
    page.get_by_role("button", name="Remove broken.jpg").click()
    give(page, "Drop a photo here", large)
    page.get_by_text("large.png: 2000x1500 are more than 2 megapixels; scale it down").wait_for()
    page.get_by_role("button", name="Remove large.png").click()
    huge = tmp_path / "huge.png"
    huge.write_bytes(bytes(31_000_000))
    give(page, "Drop a photo here", huge)
    page.get_by_text("File must be 30").wait_for()
    keep(page, "huge")
    button(page, "Chelsea").click()
    before = painted(page)
    page.get_by_role("radio", name="Paintings").click()
    give(page, "A painting of your own", broken)
    page.get_by_text("broken.jpg: cannot be read").wait_for()
    button(page, "Lion Hunt").click()
    wait_for_another(page, before)
    page.get_by_text("More", exact=True).click()
    set_number(page, "Size", 4000)
    field = page.get_by_role("spinbutton", name="Size", exact=True)
    expect(field).to_have_attribute("aria-invalid", "true")


def test_own_paintings_and_several_styles(visit, tmp_path):
    own = tmp_path / "mine.png"
    Image.fromarray(painting_array()).save(own)
    page = visit()
    button(page, "Chelsea").click()
    before = painted(page)
    page.get_by_role("radio", name="Paintings").click()
    give(page, "A painting of your own", own)
    before = wait_for_another(page, before)
    page.get_by_text("Mix several").click()
    button(page, "Lion Hunt").click()
    before = wait_for_another(page, before)
    press(page.get_by_role("slider", name="Weight of Lion Hunt"), "End")
    before = wait_for_another(page, before)
    recipe = images.read_recipe(download(page, "PNG")[1])
    page.get_by_role("radio", name="Trained styles").click()
    page.get_by_role("link", name="Texture").click()
    page.get_by_text("Make a texture").wait_for()
    button(page, "mine.png", exact=True).wait_for()  # is at hand on every page
    page.get_by_role("link", name="Paint", exact=True).click()
    page.get_by_role("radio", name="Paintings").click()
    chosen = page.get_by_role("group", name="Styles").locator("[aria-pressed=true]")
    expect(chosen).to_have_text(["mine.png", "Lion Hunt"])
    told = [(style["source"], style["weight"]) for style in recipe["styles"]]
    assert told == [("mine.png", 1.0), ("lion-hunt", 2.0)]


def test_an_emptied_field_goes_back_to_what_it_was(visit):
    page = visit()
    before = chelsea_as_a_painting(page)
    page.get_by_text("More", exact=True).click()
    set_number(page, "Style size", 100)
    before = wait_for_another(page, before)
    set_number(page, "Style size", "")
    wait_for_another(page, before)
    assert images.read_recipe(download(page, "PNG")[1])["style_size"] is None
    set_number(page, "Seed", "")
    before = painted(page)
    press(page.get_by_role("slider", name="Strength"), "ArrowLeft")
    wait_for_another(page, before)
    assert images.read_recipe(download(page, "PNG")[1])["seed"] == 0


def test_a_painting_goes_on_while_other_pages_are_looked_at(visit):
    page = visit()
    before = chelsea_as_a_painting(page)
    page.get_by_text("Optimiser", exact=True).click()
    set_number(page, "Iterations", 30)
    button(page, "Refine").click()
    page.get_by_text("Step").wait_for()
    press(page.get_by_role("slider", name="Strength"), "Home")  # later
    page.get_by_role("link", name="Texture").click()
    page.get_by_text("On the page Paint: Step").wait_for()
    keep(page, "elsewhere")
    page.get_by_text("On the page Paint: ready").wait_for(timeout=5 * PAINTING_MS)
    page.get_by_role("link", name="Paint", exact=True).click()
    wait_for_another(page, before)
    recipe = images.read_recipe(download(page, "PNG")[1])
    assert (recipe["refine"], recipe["strength"]) == (30, 1.0)


def test_earlier_pictures_and_their_settings_come_back(visit):
    page = visit()
    button(page, "Chelsea").click()
    first = painted(page)
    press(page.get_by_role("slider", name="Strength"), "Home")
    second = wait_for_another(page, first)
    page.get_by_role("group", name="Pictures of this session").get_by_role("button").last.click()
    assert wait_for_another(page, second) == first
    button(page, "Use these settings again").click()
    expect(page.get_by_role("slider", name="Strength")).to_have_value("1")
    page.wait_for_timeout(1500)
    assert painted(page) == first  # and nothing is painted anew
    keep(page, "history")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(visit, scheme):
    page = visit(color_scheme=scheme, **PHONE)
    page.get_by_text("No photo at hand?").wait_for()
    keep(page, f"phone-welcome-{scheme}")
    button(page, "Eileen").click()
    painted(page)
    keep(page, f"phone-{scheme}")
    main = page.get_by_test_id("stMain")
    assert main.evaluate("main => main.scrollWidth") <= 390
    page.get_by_role("slider", name="Strength").scroll_into_view_if_needed()
    keep(page, f"phone-controls-{scheme}")
    background = page.get_by_test_id("stApp").evaluate("app => getComputedStyle(app).background")
    lightness = sum(map(int, re.findall(r"\d+", background)[:3]))
    assert (lightness > 600) == (scheme == "light")


def test_a_texture(visit):
    page = visit("texture")
    expect(button(page, "Paint", exact=True)).to_be_disabled()
    button(page, "Arlésiennes").click()
    for side in ("Width", "Height"):
        set_number(page, side, 64)
    set_number(page, "Iterations", 5)
    button(page, "Paint", exact=True).click()
    button(page, "PNG", exact=True).wait_for()
    keep(page, "texture")
    name, path = download(page, "PNG")
    mine = impasto.texture("arlesiennes", width=64, height=64, iterations=5)
    with Image.open(path) as theirs:
        assert difference(theirs, mine).max() <= 2
    assert name == "texture-arlesiennes.png"


def test_many_photos(visit, photo_file, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    page = visit("batch")
    give(page, "Drop photos here", photo_file, EXAMPLES / "coffee.jpg", broken)
    page.get_by_role("radio", name="Trained styles").click()
    button(page, "Udnie").click()
    button(page, "Paint 3 photos").click()
    button(page, "Download 2 pictures").wait_for()
    page.get_by_text("broken.png: not a picture").wait_for()
    keep(page, "many")
    _, path = download(page, "Download 2 pictures")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["beach.png", "coffee.png"]
        with archive.open("beach.png") as entry, Image.open(entry) as theirs:
            mine = impasto.stylize(photo_file, "udnie")
            assert difference(theirs, mine).max() <= 1
