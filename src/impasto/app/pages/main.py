"""The page's frame. Streamlit runs this file for each visitor and each click.

It is beside the pages, since Streamlit takes a folder ``pages`` below it for a menu of scripts.
"""

from importlib import resources

import streamlit as st

from impasto import __version__
from impasto.app import HAS_VIDEO, components, job_view, session, styles
from impasto.app.pages import batch, history, paint, texture

ABOUT = f"""**Impasto {__version__}** paints photographs in the style of any artwork.

Your pictures stay on the machine that serves this page. They are deleted some minutes after you
close it."""

PAGES = {
    paint.PAGE: st.Page(paint.page, title="Paint", default=True),
    batch.PAGE: st.Page(batch.page, title="Many photos", url_path=batch.PAGE),
    texture.PAGE: st.Page(texture.page, title="Texture", url_path=texture.PAGE),
}
# Labels of those that get what is pasted, or dropped anywhere.
UPLOADERS = {batch.PAGE: batch.UPLOADER, texture.PAGE: styles.UPLOADER}
if HAS_VIDEO:
    from impasto.app.pages import film

    PAGES[film.PAGE] = st.Page(film.page, title="Film", url_path=film.PAGE)
    UPLOADERS[film.PAGE] = film.UPLOADER
STATIC = resources.files("impasto.app") / "static"


def frame() -> None:
    """Draws the page."""
    st.set_page_config("Impasto", str(STATIC / "icon.svg"), "wide", "collapsed")
    st.html(f"<style>{(STATIC / 'layout.css').read_text(encoding='utf-8')}</style>")
    page = st.navigation(list(PAGES.values()), position="hidden")
    name = page.url_path or paint.PAGE
    visitor = session.current()
    kept = components.page(visitor.key, uploader=UPLOADERS.get(name, paint.uploader(visitor)))
    if kept and session.adopt(kept):
        history.resume(session.current())
        st.rerun()
    visitor.settle()
    _menu()
    with st.container():  # what comes and goes here leaves the page in its place
        job_view.elsewhere(visitor, name, {name: one.title for name, one in PAGES.items()})
    page.run()


def _menu() -> None:
    with st.container(horizontal=True, key="menu"):
        st.html('<span class="brand">Impasto</span>', width="content")
        for one in PAGES.values():
            st.page_link(one)
        with st.popover("About", type="tertiary"):
            st.markdown(ABOUT)


if __name__ == "__main__":  # which it is for Streamlit
    frame()
