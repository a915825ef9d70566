"""The page's frame. Streamlit runs this file for each visitor and each click."""

from importlib import resources

import streamlit as st

from impasto import __version__
from impasto.app import components, job_view, session, styles
from impasto.app.pages import batch, paint, texture

ABOUT = f"""**Impasto {__version__}** paints photographs in the style of any artwork.

Your pictures stay on the machine that serves this page. They are deleted some minutes after you
close it."""

PAGES = (
    st.Page(paint.page, title="Paint", url_path=paint.PAGE, default=True),
    st.Page(batch.page, title="Many photos", url_path=batch.PAGE),
    st.Page(texture.page, title="Texture", url_path=texture.PAGE),
)

# Labels of the uploaders that get what is pasted, or dropped anywhere.
UPLOADERS = {paint.PAGE: paint.UPLOADER, batch.PAGE: batch.UPLOADER, texture.PAGE: styles.UPLOADER}

static = resources.files("impasto.app") / "static"
st.set_page_config("Impasto", str(static / "icon.svg"), "wide", "collapsed")
st.html(f"<style>{(static / 'layout.css').read_text(encoding='utf-8')}</style>")
page = st.navigation(list(PAGES), position="hidden")
visitor = session.current()
kept = components.page(visitor.key, uploader=UPLOADERS[page.url_path or paint.PAGE])
if kept and session.adopt(kept):
    paint.resume(session.current())
    st.rerun()
visitor.settle()
with st.container(horizontal=True, key="menu"):
    st.html('<span class="brand">Impasto</span>', width="content")
    for one in PAGES:
        st.page_link(one)
    with st.popover("About", type="tertiary"):
        st.markdown(ABOUT)
job_view.elsewhere(visitor, page.url_path or paint.PAGE, {p.url_path: p.title for p in PAGES})
page.run()
