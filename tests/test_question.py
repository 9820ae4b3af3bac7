"""One table of questions as people put them, and what each is taken to ask for."""

import pytest

from vlrlt.ask.grammar import Kind
from vlrlt.ask.question import parse_question
from vlrlt.errors import ConfigError

QUESTIONS: dict[Kind, dict[str, str]] = {
    "when": {
        "At which minute do they cut the cake?": "cut cake",
        "Could you show me the moment I dropped the plate?": "dropped plate",
        "Give me the timestamps of every goal": "every goal",
        "When in the video does he start stirring the pot?": "stirring pot",
        "Will you find all clips of someone chopping onions?": "chopping onions",
        "When do I open the fridge?": "open fridge",
        "when does someone cut a tomato": "cut tomato",
        "When was the fridge opened?": "opened fridge",
        "When's someone opening the fridge?": "opening fridge",
        "When were the carrots put in the fridge?": "put carrots in fridge",
        "When did I open the first drawer?": "open first drawer",
        "When did I open or close the fridge?": "open or close fridge",
        "At what time was the milk poured into a cup?": "poured milk into cup",
        "Can you tell me when the fridge was opened?": "opened fridge",
        "Show me when I open the fridge": "open fridge",
        "Find the moment when the fridge is opened.": "opened fridge",
        "Show me every time that someone cuts an onion": "cuts onion",
    },
    "where": {
        "Show me videos with a dog": "dog",
        "Which of my videos show a beach?": "beach",
        "In how many videos do I open the fridge?": "open fridge",
        "Where is the red cup?": "red cup",
        "Where can I see a dog?": "dog",
        "In which video is the fridge opened?": "opened fridge",
        "Which videos show someone opening the fridge?": "opening fridge",
        "What video shows a dog?": "dog",
    },
    "exists": {
        "Do we have any footage of a fox?": "fox",
        "Anyone opening the fridge?": "opening fridge",
        "Did the fridge get opened?": "opened fridge",
        "Can you tell me if the oven is on?": "oven on",
        "Is there a dog?": "dog",
        "Is there an elephant in any video?": "elephant",
        "Is a dog visible anywhere?": "dog",
        "Did anyone pour the milk into the cup?": "pour milk into cup",
        "Does someone wash a plate in video P01_01?": "wash plate",
        "Was the fridge opened?": "opened fridge",
        "Has the fridge been opened?": "opened fridge",
        "Is the fridge being opened?": "opened fridge",
        "Was the trash thrown away by someone?": "thrown away trash",
        "Is the red cup washed?": "washed red cup",
        "Is the light on?": "light on",
        "Has the dog eaten the cake?": "dog eaten cake",
        "Can you check if there is anything with a horse?": "horse",
        "Have I ever opened the fridge?": "opened fridge",
        "Is there a person who opens the fridge?": "opens fridge",
        "Is there a moment where I open the fridge?": "open fridge",
        "Does the video show a dog?": "dog",
        "Did I open the fridge or not?": "open fridge",
    },
    "count": {
        "What's the number of times I opened the fridge?": "opened fridge",
        "How many clips show a dog?": "dog",
        "Can you count how many times the door opens?": "door opens",
        "How many times did I turn on the tap?": "turn on tap",
        "How often is the tap turned on in this video?": "turned on tap",
        "How many times has the fridge been opened?": "opened fridge",
        "Please count how many times I've opened the fridge": "opened fridge",
        "Count the times that the fridge was opened.": "opened fridge",
    },
    "duration": {
        "How much time was spent on washing plates?": "washing plates",
        "What's the total time I spent washing dishes?": "washing dishes",
        "How long did it take her to peel the carrot?": "peel carrot",
        "How long does someone stir the pot?": "stir pot",
        "How long was the pot stirred?": "stirred pot",
        "How long did it take to peel a carrot?": "peel carrot",
        "How much time did I spend washing plates?": "washing plates",
        "For how long does the water run?": "water run",
    },
    "before": {
        "Tell me what the chef did before adding salt": "adding salt",
        "What was the last thing I did before opening the fridge?": "opening fridge",
        "What happens in the video before the fridge is opened?": "opened fridge",
        "What happened before someone opens the fridge?": "opens fridge",
        "What did they do just before closing the fridge?": "closing fridge",
        "What happened immediately before the milk was poured into the cup?": "poured milk into cup",
        "Before the fridge was opened, what happened?": "opened fridge",
    },
    "after": {
        "When I opened the fridge, what happened next?": "opened fridge",
        "Which action follows opening the fridge?": "opening fridge",
        "What can be seen a few seconds after the crash?": "crash",
        "what happens right after I close the fridge": "close fridge",
        "What happened after the fridge was opened?": "opened fridge",
        "What was done right after the fridge had been closed?": "closed fridge",
        "What happens once the tap has been turned on?": "turned on tap",
        "What comes next after someone opens the fridge?": "opens fridge",
        "What follows opening the fridge?": "opening fridge",
        "What happens in video P01_01 after the fridge is opened?": "opened fridge",
    },
    "first": {
        "Show me the first time I open the fridge": "open fridge",
        "At what point is the dog first seen?": "dog",
        "When is the first goal?": "goal",
        "When was the first time I peeled a carrot?": "peeled carrot",
        "When was the fridge first opened?": "opened fridge",
        "When did I open the fridge for the first time?": "open fridge",
    },
    "last": {
        "Where did I last see my keys?": "keys",
        "When did I most recently open the fridge?": "open fridge",
        "How long ago did I last open the fridge?": "open fridge",
        "When did I last use the knife?": "use knife",
        "What was the last time the oven was opened?": "opened oven",
    },
    "what": {
        "Tell me what I cut": "cut",
        "What else did I wash?": "wash",
        "What is done with the tomato?": "tomato",
        "What happens to the tomato?": "tomato",
        "What did I do with the egg?": "egg",
        "What does someone cut?": "cut",
        "What was being cut?": "cut",
        "Which object do I wash?": "wash",
    },
    "open": {
        "What is in the fridge?": "What is in fridge",
        "What did I cut the tomato with?": "What did I cut tomato with",
        "What did I eat after dinner?": "What did I eat after dinner",
        "Did I forget to close the window?": "forget to close window",
        "Why is the sky blue?": "Why is sky blue",
        "Summarise the day": "Summarise day",
        "How many eggs were cracked?": "How many eggs were cracked",
        "Was the milk poured before the egg was cracked?": "poured milk before egg was cracked",
        "What came first, the egg or the milk?": "What came first, egg or milk",
    },
}
CHOICES = {
    "Was it a cat or a dog?": ("cat", "dog"),
    "Was it a or b?": ("a", "b"),
    "Is there a cup or a mug?": ("cup", "mug"),
    "Was the milk or the water poured into the cup?": ("poured milk into cup", "poured water into cup"),
    "Which one did I cut, a tomato or an onion?": ("cut tomato", "cut onion"),
    "Did I cut the tomato or the onion?": ("cut tomato", "cut onion"),
    "Did I open or close the fridge?": ("open fridge", "close fridge"),
    "Did I open the fridge or close it?": ("open fridge", "close fridge"),
    "Was the fridge opened or closed?": ("opened fridge", "closed fridge"),
    "What did I cut, a tomato or an onion?": ("cut tomato", "cut onion"),
    "Which one happened: cut a tomato or peel a carrot?": ("cut tomato", "peel carrot"),
    "Which of these is shown: cut a tomato, peel a carrot or open the fridge?": (
        *("cut tomato", "peel carrot", "open fridge"),
    ),
    "Which of cut a tomato, peel a carrot and open the fridge is shown?": ("cut tomato", "peel carrot", "open fridge"),
}


@pytest.mark.parametrize(
    ("text", "kind", "event"),
    [(text, kind, event) for kind, asked in QUESTIONS.items() for text, event in asked.items()],
)
def test_questions_are_taken_apart(text: str, kind: Kind, event: str) -> None:
    question = parse_question(text)
    assert (question.kind, question.event) == (kind, event)


@pytest.mark.parametrize(("text", "options"), CHOICES.items())
def test_alternatives_are_a_choice(text: str, options: tuple[str, ...]) -> None:
    question = parse_question(text)
    assert (question.kind, question.options) == ("choice", options)


@pytest.mark.parametrize(
    ("text", "event", "other"),
    [
        ("What happened between 'open the fridge' and 'close the fridge'?", "open fridge", "close fridge"),
        ("Between opening and closing the fridge, what happened?", "opening fridge", "closing fridge"),
        ("What happens from when I open the fridge until I close it?", "open fridge", "close fridge"),
        ("What was done between opening the fridge and closing it?", "opening fridge", "closing fridge"),
        ("What happens between the fridge being opened and the tap being turned on?", "opened fridge", "turned on tap"),
    ],
)
def test_between_has_two_events(text: str, event: str, other: str) -> None:
    question = parse_question(text)
    assert (question.kind, question.event, question.other) == ("between", event, other)


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
