"""English words and phrases of questions, as regular expressions."""

from vlrlt.index.library.words import IRREGULAR_PARTICIPLES

WHO = (
    r"(?:i|you|we|they|he|she|it|me|us|him|them|one|someone|somebody|anyone|anybody|people|"
    r"(?:a|the|any|this) (?:person|user|wearer|camera wearer)|the camera|this|that)"
)
AUXILIARY = r"(?:do|does|did|is|are|am|was|were|has|have|had|can|could|will|would|may|might|must|should)"
SCENE = (
    r"(?:moments?|times?|scenes?|bits?|anything|points?|places?|parts?|instances?|occurrences?|appearances?|shots?|timestamps?|"
    r"footage|evidence|videos?|clips?|films?|recordings?|files?|movies?|pictures?)"
)
CONNECTIVE = r"(?:when|where|that shows?|that|(?:in|at) which|of|with|showing|containing)"
"""What joins a scene and what it shows: "the moment when", "a video of"."""
DETERMINER = r"(?:the|a|an|any|some|my|your|his|her|their|our)"
PARTICIPLE = (
    r"(?!(?:red|bed|shed|seed|feed|weed|reed|sled|speed|hundred)\b)"
    rf"(?:\w{{2,}}ed|{'|'.join(sorted(IRREGULAR_PARTICIPLES))})\b"
)
FILMS = r"(?:videos?|films?|recordings?|files?|movies?|footage)"

EVENT = r"(?P<event>.+?)"
OTHER = r"(?P<other>.+?)"
HAPPENS = (
    r"(?:(?:had )?happen(?:s|ed)?|(?:is|was) happening|occur(?:s|red)?|goes on|went on|(?:is|was) going on|"
    r"takes place|took place|comes|came|lies|lay)"
)
SOMEBODY = rf"(?:{WHO}|(?:the|a|my) [\w-]+)"
DOES = (
    rf"(?:{AUXILIARY} {SOMEBODY} (?:do|doing|done|been doing)|{SOMEBODY} (?:do|does|did)|"
    rf"(?:is|was|gets|got) (?:being )?done|(?:is|was) shown|can be seen|{AUXILIARY} (?:i|you|we) see)"
)
ACTION = r"(?:action|activity|event|step|thing)s?"
NEXT = r"(?: (?:next|then|first|last))?"
WHAT = (
    rf"(?:(?:what|which)(?: {ACTION})?(?: else)? (?:{HAPPENS}|{DOES})|"
    rf"what (?:is|was) the (?:first|next|last|previous) {ACTION}(?: (?:that )?(?:{HAPPENS}|{DOES}))?){NEXT}"
)
JUST = r"(?:(?:right|just|immediately|directly|shortly|a moment|moments|(?:a few |some )?seconds) )?"
BEFORE = rf"{JUST}(?:before|prior to)"
AFTER = rf"{JUST}(?:after|once|following|since|as soon as)"
TAKES = r"(?:take|takes|took|taken|need|needed|last|lasts|lasted)"
SAYS = r"(?:say|says|said|saying|(?:tell|told)(?: us| me| them)?|talk|talked|mention|mentioned|explain|explained)"
WRITTEN_ON = r"(?:signs?|labels?|slides?|screens?|posters?|displays?|plates?|banners?)"
TIMES = r"(?:(?:separate |different )?times|moments|scenes|clips|parts)"
THING = r"(?:what(?: objects?| things?| items?| all)?|which (?:object|thing|item)s?)(?: else)?"
MOMENTS = r"(?:moments?|times?|scenes?|bits?|points?|places?|parts?|minutes?|seconds?|clips?|timestamps?)"
SHOWS = r"(?:shows?|contains?|has|have|features?|includes?|(?:is|are) about)"
FIND = (
    r"(?:(?:show|find|get)(?: me| us)?|(?:search|look|looking|searching) for|(?:jump|go|skip|take me|bring me) to)"
    r"(?: (?:the|every|all|each|a|an|any|some|my|exact))*"
)
LIST = rf"(?:{FIND}|(?:give|list)(?: me| us)?(?: (?:the|every|all|each|any|some|my))*)"
WHEN = (
    rf"(?:when|where|how long ago|(?:at|in|around|from) (?:what|which) (?:{MOMENTS}|{FILMS})|"
    rf"(?:what|which) (?:time|minute|{FILMS}))"
)
