"""The forms of questions, tried in order; the first one that matches the whole question decides its kind.

A form comes with questions that it is there for, and tests/test_question.py asks each of them: whoever adds or moves a
form is told which questions another form has taken away. The words are in phrases.py.

Groups: event, other (of "between": the later event), rest (the end of an event), options (of a choice).
"""

from dataclasses import dataclass
from typing import Literal

from vlrlt.ask.phrases import (
    ACTION,
    AFTER,
    AUXILIARY,
    BEFORE,
    CONNECTIVE,
    DETERMINER,
    EVENT,
    FILMS,
    FIND,
    HAPPENS,
    LIST,
    MOMENTS,
    OTHER,
    SAYS,
    SHOWS,
    SOMEBODY,
    TAKES,
    THING,
    TIMES,
    WHAT,
    WHEN,
    WHO,
    WRITTEN_ON,
)
from vlrlt.index.search.request import SOURCES, Source

Kind = Literal[
    "when",
    "where",
    "exists",
    "count",
    "duration",
    "before",
    "after",
    "between",
    "first",
    "last",
    "choice",
    "what",
    "said",
    "written",
    "open",
]
"""said, written: answered by quotes. open: a question that retrieval alone cannot answer."""
SAID: tuple[Source, ...] = ("speech", "subtitles")


@dataclass(frozen=True)
class Form:
    """A form that questions have."""

    kind: Kind
    pattern: str
    """Fits all of a question without its courtesies."""
    examples: tuple[str, ...]
    """"Question -> event": of "between" and "choice", all events or options. No form before this one fits it."""
    sources: tuple[Source, ...] = SOURCES
    """Where the answer is looked for."""


def _form(kind: Kind, pattern: str, *examples: str, sources: tuple[Source, ...] = SOURCES) -> Form:
    return Form(kind, pattern, examples, sources)


def _extreme(kind: Kind, word: str, *examples: tuple[str, ...]) -> tuple[Form, ...]:
    """Forms of "first" or "last"; "the first drawer" is a drawer."""
    time = rf"(?:the )?{word} (?:time|moment|occurrence|instance|appearance)s?(?: {CONNECTIVE})?"
    patterns = (
        rf"(?:{FIND} |(?:{WHEN}|what)(?: (?:is|was|shows))? )?{time} {EVENT}",
        rf"{WHEN} {AUXILIARY} the {word} {EVENT}",
        rf"{WHEN} {EVENT} (?:for the )?{word}(?: time)?",
        rf"{WHEN} (?P<event>(?!.*\b{DETERMINER} {word}\b).*?)\b{word} (?P<rest>.+)",
    )
    return tuple(_form(kind, pattern, *own) for pattern, own in zip(patterns, examples, strict=True))


GRAMMAR: tuple[Form, ...] = (
    _form(
        "said",
        rf"what (?:else )?(?:{AUXILIARY} {SOMEBODY} |(?:is|was|has been) (?:being )?){SAYS} (?:about|of|on) {EVENT}",
        "What did she say about the budget? -> budget",
        "What was said about the new bridge? -> new bridge",
        "What do they tell us about bread? -> bread",
        sources=SAID,
    ),
    _form(
        "count",
        rf"how (?:many times|often|frequently) (?:is|was|has) {EVENT} (?:been )?(?:said|mentioned|talked about)",
        "How often is the budget mentioned? -> budget",
        sources=SAID,
    ),
    _form(
        "count",
        rf"how (?:many times|often|frequently) {AUXILIARY} {SOMEBODY} (?:say|mention|talk about) {EVENT}",
        "How many times did they say welcome? -> welcome",
        sources=SAID,
    ),
    _form(
        "when",
        rf"(?:{LIST} )?(?:when|where) (?:(?:is|was|were|are) )?{EVENT} (?:(?:is|was|were|are) )?"
        r"(?:said|mentioned|talked about|discussed)",
        "When is the budget mentioned? -> budget",
        "Find where bread is talked about -> bread",
        sources=SAID,
    ),
    _form(
        "when",
        rf"(?:when|where) {AUXILIARY} {SOMEBODY} (?:say|mention|talk about|discuss|speak (?:about|of)) {EVENT}",
        "When does he talk about the harbor? -> harbor",
        "When did anyone say welcome? -> welcome",
        sources=SAID,
    ),
    _form(
        "written",
        rf"what (?:(?:does|do|did) (?P<event>.*\b{WRITTEN_ON}) (?:say|read|show)|"
        r"(?:is|was) (?:written|printed) (?:on|in) (?P<rest>.+))",
        "What does the sign say? -> sign",
        "What is written on the green label? -> green label",
        sources=("screen",),
    ),
    _form(
        "between",
        rf"{WHAT} (?:in )?(?:the time )?between {EVENT} and {OTHER}",
        "What happened between 'open the fridge' and 'close the fridge'? -> open fridge | close fridge",
        "What was done between opening the fridge and closing it? -> opening fridge | closing fridge",
        "What happens between the fridge being opened and the tap being turned on? -> opened fridge | turned on tap",
    ),
    _form(
        "between",
        rf"(?:in )?between {EVENT} and {OTHER},? {WHAT}",
        "Between opening and closing the fridge, what happened? -> opening fridge | closing fridge",
    ),
    _form(
        "between",
        rf"{WHAT} after {EVENT} (?:(?:and|but) before|until) {OTHER}",
        "What did I do after opening the fridge but before closing it? -> opening fridge | closing fridge",
    ),
    _form(
        "between",
        rf"{WHAT} before {OTHER} (?:and|but) after {EVENT}",
        "What happens before I close the fridge but after I open it? -> open fridge | close fridge",
    ),
    _form(
        "between",
        rf"{WHAT} from {EVENT} (?:to|until|till) {OTHER}",
        "What happens from when I open the fridge until I close it? -> open fridge | close fridge",
    ),
    _form(
        "before",
        rf"{WHAT} {BEFORE} {EVENT}",
        "Tell me what the chef did before adding salt -> adding salt",
        "What was the last thing I did before opening the fridge? -> opening fridge",
        "What happens in the video before the fridge is opened? -> opened fridge",
        "What happened before someone opens the fridge? -> opens fridge",
        "What did they do just before closing the fridge? -> closing fridge",
        "What happened immediately before the milk was poured into the cup? -> poured milk into cup",
    ),
    _form("before", rf"{BEFORE} {EVENT},? {WHAT}", "Before the fridge was opened, what happened? -> opened fridge"),
    _form(
        "before",
        rf"(?:what|which {ACTION}|what {ACTION}) (?:precedes|preceded|leads up to|led up to) {EVENT}",
        "What led up to the crash? -> crash",
        "Which action preceded opening the fridge? -> opening fridge",
    ),
    _form(
        "after",
        rf"{WHAT} (?:{AFTER}|when) {EVENT}",
        "What can be seen a few seconds after the crash? -> crash",
        "what happens right after I close the fridge -> close fridge",
        "What happened after the fridge was opened? -> opened fridge",
        "What was done right after the fridge had been closed? -> closed fridge",
        "What happens once the tap has been turned on? -> turned on tap",
        "What comes next after someone opens the fridge? -> opens fridge",
        "What happens in video P01_01 after the fridge is opened? -> opened fridge",
    ),
    _form(
        "after",
        rf"{AFTER} {EVENT},? {WHAT}",
        "After the fridge was opened, what happened? -> opened fridge",
        "Once the tap is turned on, what do I do? -> turned on tap",
    ),
    _form("after", rf"when {EVENT}, {WHAT}", "When I opened the fridge, what happened next? -> opened fridge"),
    _form(
        "after",
        rf"(?:what|which {ACTION}|what {ACTION}) (?:follows|followed)(?: after)? {EVENT}",
        "Which action follows opening the fridge? -> opening fridge",
        "What follows opening the fridge? -> opening fridge",
    ),
    *_extreme(
        "first",
        r"(?:first|earliest)",
        (
            "Show me the first time I open the fridge -> open fridge",
            "When was the first time I peeled a carrot? -> peeled carrot",
        ),
        ("When is the first goal? -> goal",),
        ("When did I open the fridge for the first time? -> open fridge",),
        (
            "At what point is the dog first seen? -> dog",
            "When was the fridge first opened? -> opened fridge",
        ),
    ),
    *_extreme(
        "last",
        r"(?:last|latest|final|most recent(?:ly)?)",
        ("What was the last time the oven was opened? -> opened oven",),
        ("When was the last goal? -> goal",),
        ("When did I open the fridge last? -> open fridge",),
        (
            "Where did I last see my keys? -> keys",
            "When did I most recently open the fridge? -> open fridge",
            "How long ago did I last open the fridge? -> open fridge",
            "When did I last use the knife? -> use knife",
        ),
    ),
    _form(
        "count",
        rf"how (?:many {TIMES}|often|frequently)(?: (?:show|with))? {EVENT}(?: are there)?",
        "How many clips show a dog? -> dog",
        "How many times did I turn on the tap? -> turn on tap",
        "How often is the tap turned on in this video? -> turned on tap",
        "How many times has the fridge been opened? -> opened fridge",
    ),
    _form(
        "count",
        rf"(?:count|what (?:is|was))? ?(?:the )?number of {TIMES}(?: that)? {EVENT}",
        "What's the number of times I opened the fridge? -> opened fridge",
    ),
    _form(
        "count",
        r"count (?:the times|how (?:many times|often))(?: that)? (?P<event>.+)",
        "Can you count how many times the door opens? -> door opens",
        "Please count how many times I've opened the fridge -> opened fridge",
        "Count the times that the fridge was opened. -> opened fridge",
    ),
    _form(
        "count",
        r"count (?:(?:the|every|all|each) )+(?P<event>.+)",
        "Count every goal -> goal",
        "Count all the jumps -> jumps",
    ),
    _form(
        "duration",
        rf"(?:for )?how long (?:does|did|do) (?:it {TAKES}(?: {WHO}| her)?|{WHO} {TAKES}) to {EVENT}",
        "How long did it take her to peel the carrot? -> peel carrot",
        "How long did it take to peel a carrot? -> peel carrot",
    ),
    _form(
        "duration",
        rf"how (?:much time|long|many minutes) {AUXILIARY} {SOMEBODY} (?:spend|spent) (?:on )?{EVENT}",
        "How much time did I spend washing plates? -> washing plates",
    ),
    _form(
        "duration",
        rf"how much time (?:is|was) spent (?:on )?{EVENT}",
        "How much time was spent on washing plates? -> washing plates",
    ),
    _form(
        "duration",
        rf"how much (?:of the )?time (?:does |do |did |passes while )?{EVENT}(?: {TAKES})?",
        "How much time does peeling a carrot take? -> peeling carrot",
        "How much of the time do I wash plates? -> wash plates",
    ),
    _form(
        "duration",
        r"(?:what (?:is|was) )?(?:the )?(?:total |whole )?"
        rf"(?:duration of|time(?: {WHO})? spent(?: on)?|length of time of) {EVENT}",
        "What's the total time I spent washing dishes? -> washing dishes",
    ),
    _form(
        "duration",
        rf"(?:for )?how (?:long|many (?:seconds|minutes|hours)) {EVENT}(?: (?:{TAKES}|for))?",
        "How long does someone stir the pot? -> stir pot",
        "How long was the pot stirred? -> stirred pot",
        "For how long does the water run? -> water run",
    ),
    _form(
        "open",
        rf"{AUXILIARY} .*\bfirst\b.* or .+",
        "Did I first open the fridge or the drawer? -> first open fridge or drawer",
    ),
    _form(
        "choice",
        r"(?:which|what)(?: one)? of (?:these|the following)\b[^:]*:\s*(?P<options>.+)",
        "Which of these is shown: cut a tomato, peel a carrot or open a can? -> cut tomato | peel carrot | open can",
    ),
    _form(
        "choice",
        r"which(?: one)? of (?P<options>.+ and .+) (?:is|are|was|were) (?:shown|seen|done)",
        "Which of cut a tomato, peel a carrot and open the fridge is shown? -> cut tomato | peel carrot | open fridge",
    ),
    _form(
        "choice",
        rf"(?:which|what)(?: one)? (?:{HAPPENS}|(?:is|was) (?:it|shown|seen|done|there))\s*[:,]\s*"
        r"(?P<options>.+\bor\b.+)",
        "Which one happened: cut a tomato or peel a carrot? -> cut tomato | peel carrot",
    ),
    _form(
        "choice",
        rf"(?:which|what)(?: one)? (?P<event>{AUXILIARY} {WHO} \w+)\s*[:,]\s*(?P<options>.+\bor\b.+)",
        "Which one did I cut, a tomato or an onion? -> cut tomato | cut onion",
        "What did I cut, a tomato or an onion? -> cut tomato | cut onion",
    ),
    _form(
        "choice",
        rf"(?P<options>{AUXILIARY} .+ or .+)",
        "Was it a cat or a dog? -> cat | dog",
        "Was it a or b? -> a | b",
        "Is there a cup or a mug? -> cup | mug",
        "Was the milk or the water poured into the cup? -> poured milk into cup | poured water into cup",
        "Did I cut the tomato or the onion? -> cut tomato | cut onion",
        "Did I open or close the fridge? -> open fridge | close fridge",
        "Did I open the fridge or close it? -> open fridge | close fridge",
        "Was the fridge opened or closed? -> opened fridge | closed fridge",
    ),
    _form("choice", r"(?:choose|pick): ?(?P<options>.+ or .+)", "Choose: a tomato or an onion -> tomato | onion"),
    _form(
        "choice",
        r"(?P<options>(?:an?|the) [^,]+(?:, [^,]+)*,? or (?:an?|the) .+|\w+ or \w+)",
        "A cat or a dog? -> cat | dog",
        "Cats or dogs? -> Cats | dogs",
    ),
    _form(
        "what",
        rf"what (?:is|was|are|were|gets?|has been) (?:being )?done (?:with|to) {EVENT}",
        "What is done with the tomato? -> tomato",
    ),
    _form("what", rf"what {HAPPENS} (?:with|to) {EVENT}", "What happens to the tomato? -> tomato"),
    _form(
        "what",
        rf"what (?:{AUXILIARY} )?{WHO} (?:do|did|does|doing|done) (?:with|to) {EVENT}",
        "What did I do with the egg? -> egg",
    ),
    _form(
        "open",
        rf"{THING} (?:is|are|was|were) (?:in|on|at|under|inside|behind|near|beside|next to) .+",
        "What is in the fridge? -> What is in fridge",
    ),
    _form(
        "open",
        rf"{THING} {AUXILIARY} (?:.*\bused? (?:to|for)\b.*|.+ (?:with|first|last))",
        "What did I cut the tomato with? -> What did I cut tomato with",
    ),
    _form(
        "open",
        rf"{THING} {AUXILIARY} .+ (?:before|after|while|between|until) .+",
        "What did I eat after dinner? -> What did I eat after dinner",
    ),
    _form("when", rf"(?:what|which) {MOMENTS} {SHOWS} {EVENT}", "Which scenes show a dog? -> dog"),
    _form(
        "when",
        rf"what (?:is|are|was|were) the (?:exact )?{MOMENTS} (?:{CONNECTIVE} )?{EVENT}",
        "What are the moments when I open the fridge? -> open fridge",
    ),
    _form(
        "when",
        rf"(?:when|(?:at |in |around )?(?:what|which) {MOMENTS}) {EVENT}",
        "At which minute do they cut the cake? -> cut cake",
        "When in the video does he start stirring the pot? -> stirring pot",
        "When do I open the fridge? -> open fridge",
        "when does someone cut a tomato -> cut tomato",
        "When was the fridge opened? -> opened fridge",
        "When's someone opening the fridge? -> opening fridge",
        "When were the carrots put in the fridge? -> put carrots in fridge",
        "When did I open the first drawer? -> open first drawer",
        "When did I open or close the fridge? -> open or close fridge",
        "At what time was the milk poured into a cup? -> poured milk into cup",
        "Can you tell me when the fridge was opened? -> opened fridge",
        "Show me when I open the fridge -> open fridge",
    ),
    _form("where", rf"{LIST} {FILMS} {CONNECTIVE} {EVENT}", "Show me videos with a dog -> dog"),
    _form(
        "when",
        rf"{LIST} {MOMENTS} {EVENT}",
        "Could you show me the moment I dropped the plate? -> dropped plate",
        "Give me the timestamps of every goal -> every goal",
        "Will you find all clips of someone chopping onions? -> chopping onions",
        "Find the moment when the fridge is opened. -> opened fridge",
        "Show me every time that someone cuts an onion -> cuts onion",
    ),
    _form(
        "when",
        rf"{FIND}(?: (?:when|where))? {EVENT}",
        "Find someone opening the fridge -> opening fridge",
        "Jump to the goal -> goal",
    ),
    _form("when", rf"{MOMENTS} {CONNECTIVE} {EVENT}", "Moments when I open the fridge -> open fridge"),
    _form(
        "where",
        rf"(?:in |on )?(?:which|what|how many)(?: of (?:the|my|your|these|those))? {FILMS}"
        rf"(?: (?:is|are) (?:there|it|the one))?(?: {SHOWS})? {EVENT}",
        "Which of my videos show a beach? -> beach",
        "In how many videos do I open the fridge? -> open fridge",
        "In which video is the fridge opened? -> opened fridge",
        "Which videos show someone opening the fridge? -> opening fridge",
        "What video shows a dog? -> dog",
    ),
    _form(
        "where",
        rf"where (?:{AUXILIARY} {WHO} (?:find|look for) )?{EVENT}",
        "Where is the red cup? -> red cup",
        "Where can I see a dog? -> dog",
    ),
    _form(
        "what",
        rf"{THING} (?:(?:gets?|got) {EVENT}|(?P<rest>(?:{AUXILIARY}|{WHO}) .+))",
        "Tell me what I cut -> cut",
        "What else did I wash? -> wash",
        "What does someone cut? -> cut",
        "What was being cut? -> cut",
        "Which object do I wash? -> wash",
    ),
    _form(
        "open",
        rf"{AUXILIARY} .+ (?:before|after|while|because) .+",
        "Was the milk poured before the egg was cracked? -> poured milk before egg was cracked",
    ),
    _form("open", rf"{AUXILIARY} {WHO} forget to .+", "Did I forget to close the window? -> forget to close window"),
    _form(
        "exists",
        rf"{AUXILIARY} {WHO} (?:remember|manage|happen) to {EVENT}",
        "Did I remember to close the window? -> close window",
    ),
    _form(
        "exists",
        rf"do(?:es)? (?:any|a|the|one|these)(?: of (?:the|my|these))? {FILMS} {SHOWS} {EVENT}",
        "Does the video show a dog? -> dog",
    ),
    _form(
        "exists",
        rf"(?:if|whether) {EVENT}",
        "Can you tell me if the oven is on? -> oven on",
        "Can you check if there is anything with a horse? -> horse",
    ),
    _form(
        "exists",
        rf"(?P<event>(?:{AUXILIARY}|any(?:one|body|thing)?) .+)",
        "Do we have any footage of a fox? -> fox",
        "Anyone opening the fridge? -> opening fridge",
        "Did the fridge get opened? -> opened fridge",
        "Is there a dog? -> dog",
        "Is there an elephant in any video? -> elephant",
        "Is a dog visible anywhere? -> dog",
        "Did anyone pour the milk into the cup? -> pour milk into cup",
        "Does someone wash a plate in video P01_01? -> wash plate",
        "Was the fridge opened? -> opened fridge",
        "Has the fridge been opened? -> opened fridge",
        "Is the fridge being opened? -> opened fridge",
        "Was the trash thrown away by someone? -> thrown away trash",
        "Is the red cup washed? -> washed red cup",
        "Is the light on? -> light on",
        "Has the dog eaten the cake? -> dog eaten cake",
        "Have I ever opened the fridge? -> opened fridge",
        "Is there a person who opens the fridge? -> opens fridge",
        "Is there a moment where I open the fridge? -> open fridge",
        "Did I open the fridge or not? -> open fridge",
    ),
)
