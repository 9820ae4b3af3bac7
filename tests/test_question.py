"""The tables of vlrlt/ask: every question and every clause in them is understood as it says there."""

import re

import pytest

from vlrlt.ask.grammar import GRAMMAR, Form
from vlrlt.ask.question import form_of, parse_question
from vlrlt.ask.wording import RULES, Rule, caption
from vlrlt.errors import ConfigError

OUT_OF_FORM = {
    "Why is the sky blue?": "Why is sky blue",
    "Summarise the day": "Summarise day",
    "How many eggs were cracked?": "How many eggs were cracked",
    "What came first, the egg or the milk?": "What came first, egg or milk",
}
"""Questions that no form fits, and what is searched for instead."""


def asked_for(text: str) -> str:
    """The event of a question; all of them where it has several."""
    question = parse_question(text)
    if question.kind == "between":
        return f"{question.event} | {question.other}"
    return " | ".join(question.options) if question.kind == "choice" else question.event


def test_every_form_has_questions_of_its_own() -> None:
    assert [form.pattern for form in GRAMMAR if not form.examples] == []


@pytest.mark.parametrize(
    ("form", "text", "expected"), [(form, *example.split(" -> ")) for form in GRAMMAR for example in form.examples]
)
def test_a_question_is_of_the_form_that_it_is_an_example_of(form: Form, text: str, expected: str) -> None:
    assert form_of(text) is form, "a form before it fits, too: make that one narrower, or let this one come first"
    assert (parse_question(text).kind, asked_for(text)) == (form.kind, expected)


@pytest.mark.parametrize(("text", "expected"), OUT_OF_FORM.items())
def test_other_questions_are_open(text: str, expected: str) -> None:
    assert form_of(text) is None
    assert (parse_question(text).kind, parse_question(text).event) == ("open", expected)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_clause_becomes_a_caption_by_its_rule(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = dict(example.split(" -> ") for example in rule.examples)
    assert {clause: caption(clause) for clause in examples} == examples
    monkeypatch.setattr(rule, "pattern", re.compile(r"(?!)()"))  # fits nothing
    assert [clause for clause in examples if caption(clause) == examples[clause]] == [], "the rule does nothing for it"


@pytest.mark.parametrize("text", ["OR OR OR", "or", "was or done", ": or", "which of these:", "between and"])
def test_words_without_a_question_are_no_error(text: str) -> None:
    assert parse_question(text).text == text


def test_a_video_and_options_may_be_named() -> None:
    assert parse_question("How many times did I sit in video P01_01?").video == "P01_01"
    assert parse_question("How many times did I sit in the video P01_01.mp4?").video == "P01_01.mp4"
    assert parse_question("When in the video someone sits down").video is None
    assert parse_question("What?", options=("a", "b")).kind == "choice"


@pytest.mark.parametrize(("text", "options"), [("", ()), ("?" * 3000, ()), ("what?", ("one",))])
def test_questions_that_are_none(text: str, options: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        parse_question(text, options=options)


def test_a_long_question_is_read_in_no_time() -> None:
    """Patterns that backtrack would take minutes."""
    assert parse_question("is the " + "very " * 390 + "old").kind == "exists"
    assert parse_question("what did i do, " + "a or " * 390 + "b").kind
