"""Draws what other programs show of the app: the icons of its shortcut, and the picture of a link
to it. Chromium does the drawing.

``python tools/make_icons.py``
"""

import base64
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from impasto import Stylizer

SOURCE = Path(__file__).parent.parent / "src" / "impasto"
STATIC = SOURCE / "app" / "static"
STYLES = ("woman-with-a-hat", "starry-night")
"""What the strips of the photo, after the first, are painted in."""
FACE = (54, 4, 430, 300)
"""The part of the photo that is shown."""
WIDTH, HEIGHT = 800, 630
ICON = """<body style="margin: 0; background: #fbf9f6; display: grid; place-items: center">
<img src="{icon}" style="width: 74vw">"""
PREVIEW = """<style>
body {{
  background: #fbf9f6; color: #2a2521; display: flex; font-family: serif; height: 630px;
  margin: 0; width: 1200px
}}
header {{ align-self: center; flex: 1; padding-left: 56px }}
header img {{ width: 120px }}
h1 {{ font-size: 68px; letter-spacing: -1px; line-height: 1; margin: 12px 0 18px }}
p {{ font-size: 34px; line-height: 1.25; margin: 0 }}
</style>
<header><img src="{icon}"><h1>Impasto</h1><p>your photo<br>as a painting</p></header>
<img src="{picture}">"""


def url(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def png(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return url(file.getvalue(), "image/png")


def strips() -> Image.Image:
    """The photo in strips: the first as it is, each other one in a style of its own."""
    with Image.open(SOURCE / "data" / "photos" / "chelsea.jpg") as photo:
        stylizer = Stylizer("fast", device="cpu")
        versions = [photo, *(stylizer.stylize(photo, style, size=900) for style in STYLES)]
        step = round(WIDTH / len(versions))
        drawn = Image.new("RGB", (WIDTH, HEIGHT), "#fbf9f6")
        for left, version in zip(range(0, WIDTH, step), versions, strict=True):
            scale = version.width / photo.width
            box = tuple(scale * side for side in FACE)
            whole = version.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS, box=box)
            drawn.paste(whole.crop((left, 0, min(left + step - 4, WIDTH), HEIGHT)), (left, 0))
    return drawn


icon = url((STATIC / "icon.svg").read_bytes(), "image/svg+xml")
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(
        executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
    )
    page = browser.new_page()

    def draw(html: str, width: int, height: int) -> Image.Image:
        page.set_viewport_size({"width": width, "height": height})
        page.set_content(html, wait_until="load")
        return Image.open(io.BytesIO(page.screenshot())).convert("RGB")

    for side in (192, 512):
        drawn = draw(ICON.format(icon=icon), side, side)
        drawn.quantize(64).save(STATIC / f"icon-{side}.png", optimize=True)
    preview = draw(PREVIEW.format(icon=icon, picture=png(strips())), 1200, 630)
    preview.save(STATIC / "link-preview.jpg", quality=72, optimize=True, progressive=True)
    browser.close()
