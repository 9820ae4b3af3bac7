"""The patterns of questions, tried in order: the first that fits all of a question says what it asks for.

Groups: event, other (of "between": the later event), rest (the end of an event), options (of a choice).
"""

from typing import Literal

from vlrlt.ask.wording import AUXILIARY, CONNECTIVE, DETERMINER, WHO

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
    "open",
]
"""open: a question that retrieval alone cannot answer."""
FILMS = r"(?:videos?|films?|recordings?|files?|movies?|footage)"

_EVENT = r"(?P<event>.+?)"
_OTHER = r"(?P<other>.+?)"
_HAPPENS = (
    r"(?:(?:had )?happen(?:s|ed)?|(?:is|was) happening|occur(?:s|red)?|goes on|went on|(?:is|was) going on|"
    r"takes place|took place|comes|came|lies|lay)"
)
_SOMEBODY = rf"(?:{WHO}|(?:the|a|my) [\w-]+)"
_DOES = (
    rf"(?:{AUXILIARY} {_SOMEBODY} (?:do|doing|done|been doing)|{_SOMEBODY} (?:do|does|did)|"
    rf"(?:is|was|gets|got) (?:being )?done|(?:is|was) shown|can be seen|{AUXILIARY} (?:i|you|we) see)"
)
_ACTION = r"(?:action|activity|event|step|thing)s?"
_NEXT = r"(?: (?:next|then|first|last))?"
_WHAT = (
    rf"(?:(?:what|which)(?: {_ACTION})?(?: else)? (?:{_HAPPENS}|{_DOES})|"
    rf"what (?:is|was) the (?:first|next|last|previous) {_ACTION}(?: (?:that )?(?:{_HAPPENS}|{_DOES}))?){_NEXT}"
)
_JUST = r"(?:(?:right|just|immediately|directly|shortly|a moment|moments|(?:a few |some )?seconds) )?"
_BEFORE = rf"{_JUST}(?:before|prior to)"
_AFTER = rf"{_JUST}(?:after|once|following|since|as soon as)"
_TAKES = r"(?:take|takes|took|taken|need|needed|last|lasts|lasted)"
_TIMES = r"(?:(?:separate |different )?times|moments|scenes|clips|parts)"
_THING = r"(?:what(?: objects?| things?| items?| all)?|which (?:object|thing|item)s?)(?: else)?"
_MOMENTS = r"(?:moments?|times?|scenes?|bits?|points?|places?|parts?|minutes?|seconds?|clips?|timestamps?)"
_SHOWS = r"(?:shows?|contains?|has|have|features?|includes?|(?:is|are) about)"
_FIND = (
    r"(?:(?:show|find|get)(?: me| us)?|(?:search|look|looking|searching) for|(?:jump|go|skip|take me|bring me) to)"
    r"(?: (?:the|every|all|each|a|an|any|some|my|exact))*"
)
_LIST = rf"(?:{_FIND}|(?:give|list)(?: me| us)?(?: (?:the|every|all|each|any|some|my))*)"
_WHEN = (
    rf"(?:when|where|how long ago|(?:at|in|around|from) (?:what|which) (?:{_MOMENTS}|{FILMS})|"
    rf"(?:what|which) (?:time|minute|{FILMS}))"
)


def _extreme(kind: Kind, word: str) -> tuple[tuple[Kind, str], ...]:
    """Patterns of "first" or "last"; "the first drawer" is a drawer."""
    time = rf"(?:the )?{word} (?:time|moment|occurrence|instance|appearance)s?(?: {CONNECTIVE})?"
    return (
        (kind, rf"(?:{_FIND} |(?:{_WHEN}|what)(?: (?:is|was|shows))? )?{time} {_EVENT}"),
        (kind, rf"{_WHEN} {AUXILIARY} the {word} {_EVENT}"),
        (kind, rf"{_WHEN} {_EVENT} (?:for the )?{word}(?: time)?"),
        (kind, rf"{_WHEN} (?P<event>(?!.*\b{DETERMINER} {word}\b).*?)\b{word} (?P<rest>.+)"),
    )


GRAMMAR: tuple[tuple[Kind, str], ...] = (
    ("between", rf"{_WHAT} (?:in )?(?:the time )?between {_EVENT} and {_OTHER}"),
    ("between", rf"(?:in )?between {_EVENT} and {_OTHER},? {_WHAT}"),
    ("between", rf"{_WHAT} after {_EVENT} (?:(?:and|but) before|until) {_OTHER}"),
    ("between", rf"{_WHAT} before {_OTHER} (?:and|but) after {_EVENT}"),
    ("between", rf"{_WHAT} from {_EVENT} (?:to|until|till) {_OTHER}"),
    ("before", rf"{_WHAT} {_BEFORE} {_EVENT}"),
    ("before", rf"{_BEFORE} {_EVENT},? {_WHAT}"),
    ("before", rf"(?:what|which {_ACTION}|what {_ACTION}) (?:precedes|preceded|leads up to|led up to) {_EVENT}"),
    ("after", rf"{_WHAT} (?:{_AFTER}|when) {_EVENT}"),
    ("after", rf"{_AFTER} {_EVENT},? {_WHAT}"),
    ("after", rf"when {_EVENT}, {_WHAT}"),
    ("after", rf"(?:what|which {_ACTION}|what {_ACTION}) (?:follows|followed)(?: after)? {_EVENT}"),
    *_extreme("first", r"(?:first|earliest)"),
    *_extreme("last", r"(?:last|latest|final|most recent(?:ly)?)"),
    ("count", rf"how (?:many {_TIMES}|often|frequently)(?: (?:show|with))? {_EVENT}(?: are there)?"),
    ("count", rf"(?:count|what (?:is|was))? ?(?:the )?number of {_TIMES}(?: that)? {_EVENT}"),
    ("count", r"count (?:the times|how (?:many times|often))(?: that)? (?P<event>.+)"),
    ("count", r"count (?:(?:the|every|all|each) )+(?P<event>.+)"),
    ("duration", rf"(?:for )?how long (?:does|did|do) (?:it {_TAKES}(?: {WHO}| her)?|{WHO} {_TAKES}) to {_EVENT}"),
    ("duration", rf"how (?:much time|long|many minutes) {AUXILIARY} {_SOMEBODY} (?:spend|spent) (?:on )?{_EVENT}"),
    ("duration", rf"how much time (?:is|was) spent (?:on )?{_EVENT}"),
    ("duration", rf"how much (?:of the )?time (?:does |do |did |passes while )?{_EVENT}(?: {_TAKES})?"),
    (
        "duration",
        r"(?:what (?:is|was) )?(?:the )?(?:total |whole )?"
        rf"(?:duration of|time(?: {WHO})? spent(?: on)?|length of time of) {_EVENT}",
    ),
    ("duration", rf"(?:for )?how (?:long|many (?:seconds|minutes|hours)) {_EVENT}(?: (?:{_TAKES}|for))?"),
    ("open", rf"{AUXILIARY} .*\bfirst\b.* or .+"),
    ("choice", r"(?:which|what)(?: one)? of (?:these|the following)\b[^:]*:\s*(?P<options>.+)"),
    ("choice", r"which(?: one)? of (?P<options>.+ and .+) (?:is|are|was|were) (?:shown|seen|done)"),
    (
        "choice",
        rf"(?:which|what)(?: one)? (?:{_HAPPENS}|(?:is|was) (?:it|shown|seen|done|there))\s*[:,]\s*"
        r"(?P<options>.+\bor\b.+)",
    ),
    ("choice", rf"(?:which|what)(?: one)? (?P<event>{AUXILIARY} {WHO} \w+)\s*[:,]\s*(?P<options>.+\bor\b.+)"),
    ("choice", rf"(?P<options>{AUXILIARY} .+ or .+)"),
    ("choice", r"(?:choose|pick): ?(?P<options>.+ or .+)"),
    ("choice", r"(?P<options>(?:an?|the) [^,]+(?:, [^,]+)*,? or (?:an?|the) .+|\w+ or \w+)"),
    ("what", rf"what (?:is|was|are|were|gets?|has been) (?:being )?done (?:with|to) {_EVENT}"),
    ("what", rf"what {_HAPPENS} (?:with|to) {_EVENT}"),
    ("what", rf"what (?:{AUXILIARY} )?{WHO} (?:do|did|does|doing|done) (?:with|to) {_EVENT}"),
    ("open", rf"{_THING} (?:is|are|was|were) (?:in|on|at|under|inside|behind|near|beside|next to) .+"),
    ("open", rf"{_THING} {AUXILIARY} (?:.*\bused? (?:to|for)\b.*|.+ (?:with|first|last))"),
    ("open", rf"{_THING} {AUXILIARY} .+ (?:before|after|while|between|until) .+"),
    ("when", rf"(?:what|which) {_MOMENTS} {_SHOWS} {_EVENT}"),
    ("when", rf"what (?:is|are|was|were) the (?:exact )?{_MOMENTS} (?:{CONNECTIVE} )?{_EVENT}"),
    ("when", rf"(?:when|(?:at |in |around )?(?:what|which) {_MOMENTS}) {_EVENT}"),
    ("where", rf"{_LIST} {FILMS} {CONNECTIVE} {_EVENT}"),
    ("when", rf"{_LIST} {_MOMENTS} {_EVENT}"),
    ("when", rf"{_FIND}(?: (?:when|where))? {_EVENT}"),
    ("when", rf"{_MOMENTS} {CONNECTIVE} {_EVENT}"),
    (
        "where",
        rf"(?:in |on )?(?:which|what|how many)(?: of (?:the|my|your|these|those))? {FILMS}"
        rf"(?: (?:is|are) (?:there|it|the one))?(?: {_SHOWS})? {_EVENT}",
    ),
    ("where", rf"where (?:{AUXILIARY} {WHO} (?:find|look for) )?{_EVENT}"),
    ("what", rf"{_THING} (?:(?:gets?|got) {_EVENT}|(?P<rest>(?:{AUXILIARY}|{WHO}) .+))"),
    ("open", rf"{AUXILIARY} .+ (?:before|after|while|because) .+"),
    ("open", rf"{AUXILIARY} {WHO} forget to .+"),
    ("exists", rf"{AUXILIARY} {WHO} (?:remember|manage|happen) to {_EVENT}"),
    ("exists", rf"do(?:es)? (?:any|a|the|one|these)(?: of (?:the|my|these))? {FILMS} {_SHOWS} {_EVENT}"),
    ("exists", rf"(?:if|whether) {_EVENT}"),
    ("exists", rf"(?P<event>(?:{AUXILIARY}|any(?:one|body|thing)?) .+)"),
)
