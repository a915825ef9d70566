"""The page's frame. Streamlit runs this file for each visitor and each click."""

from importlib import resources

import streamlit as st

from impasto import __version__
from impasto.app import job_view, session
from impasto.app.pages import batch, paint, texture

ABOUT = f"""**Impasto {__version__}** paints photographs in the style of any artwork.

Your pictures stay on the machine that serves this page. They are deleted some minutes after you
close it."""

PAGES = (
    st.Page(paint.page, title="Paint", url_path=paint.PAGE, default=True),
    st.Page(batch.page, title="Many photos", url_path=batch.PAGE),
    st.Page(texture.page, title="Texture", url_path=texture.PAGE),
)

static = resources.files("impasto.app") / "static"
st.set_page_config("Impasto", str(static / "icon.svg"), "wide", "collapsed")
st.html(f"<style>{(static / 'layout.css').read_text(encoding='utf-8')}</style>")
visitor = session.current()
visitor.settle()
page = st.navigation(list(PAGES), position="hidden")
with st.container(horizontal=True, key="menu"):
    st.html('<span class="brand">Impasto</span>', width="content")
    for one in PAGES:
        st.page_link(one)
    with st.popover("About", type="tertiary"):
        st.markdown(ABOUT)
job_view.elsewhere(visitor, page.url_path or paint.PAGE, {p.url_path: p.title for p in PAGES})
page.run()
