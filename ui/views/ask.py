"""Ask: a conversation over the library, in which every answer names its evidence."""

import os

import streamlit as st

from vlrlt.ask.answer import SHOWN_CITATIONS, Answer
from vlrlt.ask.question import MAX_QUESTION_CHARS, Question, parse_question
from vlrlt.ask.retrieval import RetrievalAnswerer
from vlrlt.ask.vlm import Endpoint, VlmAnswerer
from vlrlt.errors import VlrltError
from vlrlt.service import Library
from vlrlt.types import Moment
from vlrlt.ui import page, player
from vlrlt.ui.results import STYLE, show_pictures, show_sureness

FORMS = ("When did I {}?", "How many times did I {}?", "What happened after I {}?")
MAX_MOMENTS = 60
"""Of one answer."""
_TOLD = "conversation"
_COMES = "coming question"


def show() -> None:
    """The page."""
    service = page.open_library()
    st.html(STYLE)
    told: list[Answer] = st.session_state.setdefault(_TOLD, [])
    answerer = _choose_answerer(service)
    if not told:
        _show_examples(service)
    for number, turn in enumerate(told):
        _show_turn(service, turn, number)
    if told:
        st.button("New conversation", icon=":material/add_comment:", type="tertiary", on_click=told.clear)
    question = st.chat_input("Ask about the videos", max_chars=MAX_QUESTION_CHARS)
    question = question or st.session_state.pop(_COMES, None)
    if question:
        _answer(answerer, question)
    player.show_player(service, _opened_among(told))


def _choose_answerer(service: Library) -> VlmAnswerer | RetrievalAnswerer:
    """A language model only if one is set up and this visitor wants it."""
    if "VLRLT_VLM_URL" not in os.environ:
        return RetrievalAnswerer(service)
    try:
        answerer = VlmAnswerer(service, Endpoint.from_environment())
    except VlrltError as error:
        page.show_error(error)
        return RetrievalAnswerer(service)
    if st.toggle("Ask the language model", key="vlm"):
        st.text(answerer.notice())
        return answerer
    return RetrievalAnswerer(service)


def _show_examples(service: Library) -> None:
    """Questions about what this library is narrated with."""
    st.title("Ask the archive", anchor=False)
    st.write(
        "Ask when, where, whether, how often, how long, or what came before or after. Answers cite their evidence."
    )
    actions = service.narrations(limit=len(FORMS)) or ("open the fridge", "pour milk", "wash the plate")
    examples = [form.format(action) for form, action in zip(FORMS, actions, strict=False)]
    chosen = st.pills("Try", examples, key="example question", format_func=page.plain)
    if chosen is not None:
        st.session_state[_COMES] = chosen


def _answer(answerer: VlmAnswerer | RetrievalAnswerer, text: str) -> None:
    """Ask, show the reply as it comes, and add it to the conversation."""
    with st.chat_message("user"):
        st.text(text)
    with st.chat_message("assistant"):
        try:
            with st.spinner("Searching; the first question loads the model"):
                answer = _stream(answerer, parse_question(text))
        except VlrltError as error:
            page.show_error(error, title="The question could not be answered")
            return
    st.session_state[_TOLD].append(answer)
    st.rerun()


def _stream(answerer: VlmAnswerer | RetrievalAnswerer, question: Question) -> Answer:
    """The answer; the pieces of a language model's reply are shown as they come, as text and never as Markdown."""
    if isinstance(answerer, RetrievalAnswerer):
        return answerer.answer(question)
    reply, shown = "", st.empty()
    for part in answerer.stream(question):
        if isinstance(part, Answer):
            return part
        reply += part
        shown.text(reply)
    raise AssertionError("the stream ends with an answer")


def _show_turn(service: Library, answer: Answer, number: int) -> None:
    with st.chat_message("user"):
        st.text(answer.question)
    with st.chat_message("assistant"):
        if not answer.found:
            st.badge("not found", icon=":material/search_off:", color="orange")
        st.text(page.readable(answer.text))
        for candidate in answer.candidates:
            st.progress(candidate.confidence, text=page.plain(candidate.text))
        if answer.citations:
            st.caption("Evidence")
        elif answer.closest:
            st.caption("Closest moments")
        moments = _moments(answer)
        total = len(answer.citations or answer.closest)
        label = f"Show all {total}" if total <= MAX_MOMENTS else f"Show {MAX_MOMENTS} of {total:,}"
        if total > SHOWN_CITATIONS and not st.toggle(label, key=f"all-{number}"):
            moments = moments[:SHOWN_CITATIONS]
        with st.container(horizontal=True, gap="small"):
            for place, moment in enumerate(moments, start=1):
                label = f"[{place}] " if answer.citations else ""
                _show_moment(service, moment, label, f"{number}-{place}")
        length = page.duration(answer.searched_video_s)
        st.caption(f"Searched {answer.searched_vectors:,} vectors of {answer.searched_videos:,} videos, {length}")


def _show_moment(service: Library, moment: Moment, label: str, key: str) -> None:
    with st.container(key=f"card-{key}", border=True, width=196, gap="xsmall"):
        show_pictures(service, moment, key=key)
        st.text(f"{label}{page.video_name(moment)}")
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"**{page.time_range(moment)}**", width="content")
            show_sureness(moment)
        st.button("Play", key=f"play-{key}", icon=":material/play_arrow:", on_click=player.open_player, args=(moment,))


def _opened_among(told: list[Answer]) -> tuple[Moment, ...]:
    """What the player goes through: the moments of the answer that is being looked at."""
    moment = player.opened()
    return next((_moments(answer) for answer in reversed(told) if moment in _moments(answer)), ())


def _moments(answer: Answer) -> tuple[Moment, ...]:
    """The evidence, or what comes nearest to it."""
    return (answer.citations or answer.closest)[:MAX_MOMENTS]
