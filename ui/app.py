"""The application in the browser. Streamlit runs this file from top to bottom at every click."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from vlrlt.errors import ConfigError, VlrltError
from vlrlt.service.network import LOOPBACK
from vlrlt.ui import gate, page
from vlrlt.ui.access import read_allow_list
from vlrlt.ui.launch import AUTH_VARIABLE

PAGES = {
    "search": ("Search", "search"),
    "ask": ("Ask", "forum"),
    "library": ("Library", "video_library"),
    "inside": ("Look inside", "visibility"),
    "compare": ("Compare", "bar_chart"),
}
"""Module of vlrlt.ui.views -> title and icon."""


def main() -> None:
    """Whatever page was asked for, once the visitor may come in."""
    st.set_page_config(page_title="vlrlt", page_icon="🎞️", layout="wide")
    st.html(page.STYLE)
    pages = {
        name: st.Page(view(name), title=title, icon=f":material/{icon}:", url_path=name, default=name == "search")
        for name, (title, icon) in PAGES.items()
    }
    if AUTH_VARIABLE in os.environ:
        pages["leave"] = st.Page(st.logout, title="Log out", icon=":material/logout:", url_path="leave")
    try:
        inside = may_enter()
        chosen = st.navigation([*pages.values()], position="top" if inside else "hidden")
        if inside:
            gate.admit(session_id())
            page.open_library()
    except VlrltError as error:
        page.show_error(error, title="The library cannot be opened")
        return
    if inside:
        if wanted := page.destination():
            name, params = wanted
            st.switch_page(pages[name], query_params=params)
        try:
            chosen.run()
        except VlrltError as error:
            page.show_error(error, title="The library cannot be read")


def view(name: str) -> Callable[[], None]:
    """A page whose module is imported when it is drawn: some bring torch and charts, which take seconds."""

    def show() -> None:
        importlib.import_module(f"vlrlt.ui.views.{name}").show()

    return show


def session_id() -> str:
    """Of the visitor for whom this file runs; empty: outside of a server."""
    context = get_script_run_ctx()
    return "" if context is None else context.session_id


def may_enter() -> bool:
    """Whether the visitor is somebody who may; if not, the page says what to do.

    Raises:
        ConfigError: nobody could be told from anybody else: the server listens beyond this machine without login.
    """
    auth_file = os.environ.get(AUTH_VARIABLE)
    if auth_file is None:
        if st.get_option("server.address") not in LOOPBACK:
            raise ConfigError("refusing to serve beyond this machine without login; start it with vlrlt ui")
        return True
    if not st.user.is_logged_in:
        st.title("vlrlt", anchor=False)
        st.button("Log in", on_click=st.login, type="primary", icon=":material/login:")
        return False
    email = str(st.user.get("email") or "")
    verified = st.user.get("email_verified", True) is True
    if read_allow_list(Path(auth_file)).allows(email, verified=verified):
        return True
    st.error("This account may not use this library.", icon=":material/block:")
    st.text(email if verified else f"{email}: its provider has not verified this address")
    st.button("Log out", on_click=st.logout, icon=":material/logout:")
    return False


main()
