"""The page's frame. Streamlit runs this file for each visitor and each click."""

from importlib import resources

import streamlit as st

from impasto import __version__
from impasto.app import batch, paint, texture, visit

ABOUT = f"""**Impasto {__version__}** paints photographs in the style of any artwork.

Your pictures stay on the machine that serves this page, and are gone when you close it."""

TITLES = {"paint": "Paint", "batch": "Many photos", "texture": "Texture"}

# Streamlit's own Stop would end the page's run and not the painting, which has a Stop of its own.
STYLE = """<style>
[data-testid="stStatusWidget"] { display: none; }
.preview { border-radius: 0.6rem; display: block; margin: 0 auto; }
/* The picture stays in sight of the controls. */
@media (min-width: 641px) {
  .st-key-sight {
    max-height: calc(100vh - 4.5rem);
    overflow-y: auto;
    position: sticky;
    scrollbar-width: thin;
    top: 4rem;
  }
}
</style>"""

icon = str(resources.files("impasto.app") / "static" / "icon.svg")
st.set_page_config(
    "Impasto",
    icon,
    layout="wide",
    initial_sidebar_state="collapsed",
    menu_items={"Get help": None, "Report a bug": None, "About": ABOUT},
)
st.logo(icon, size="large")
st.html(STYLE)
visit.studio()
news = st.empty()
pages = [
    st.Page(show, title=TITLES[path], icon=f":material/{icon}:", url_path=path, default=first)
    for path, show, icon, first in (
        ("paint", paint.page, "brush", True),
        ("batch", batch.page, "photo_library", False),
        ("texture", texture.page, "texture", False),
    )
]
page = st.navigation(pages, position="top")
page.run()
visit.watch_elsewhere(page.url_path or "paint", news, TITLES)
