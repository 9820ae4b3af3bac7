"""What exists in the toy kitchen: verbs, nouns, colours, and which of them go together."""

from dataclasses import dataclass

Rgb = tuple[int, int, int]

COLOURS: dict[str, Rgb] = {
    "red": (206, 58, 56),
    "blue": (62, 112, 196),
    "green": (92, 164, 90),
    "yellow": (242, 200, 70),
    "white": (242, 240, 234),
    "black": (58, 60, 68),
    "orange": (238, 142, 58),
    "pink": (236, 148, 172),
    "silver": (188, 196, 204),
    "wooden": (196, 146, 94),
    "brown": (198, 140, 100),
    "purple": (142, 92, 164),
}


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb class: `key`, the dashed synonyms that narrations use (first = commonest), EPIC category."""

    key: str
    synonyms: tuple[str, ...]
    category: str
    min_s: float
    """Shortest duration of the action in seconds."""
    max_s: float
    """Longest duration of the action in seconds."""


@dataclass(frozen=True, slots=True)
class Noun:
    """One noun class: `key` and `synonyms` in EPIC's `head:modifier` spelling, and the looks it comes in."""

    key: str
    category: str
    synonyms: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()
    """Colours it comes in; empty: one fixed colour."""
    num_shapes: int = 2
    named_by_colour: bool = False
    """True when people say the colour ("red cup")."""
    movable: bool = True

    @property
    def instances(self) -> tuple[str, ...]:
        """All spellings of this noun, the key first."""
        return (self.key, *self.synonyms)


VERBS: tuple[Verb, ...] = (
    Verb("take", ("take", "grab", "pick-up", "get"), "retrieve", 1.0, 1.9),
    Verb("put", ("put", "place", "put-down", "leave"), "leave", 1.0, 1.9),
    Verb("open", ("open", "pull-open"), "access", 1.0, 1.9),
    Verb("close", ("close", "shut"), "block", 1.0, 1.9),
    Verb("wash", ("wash", "rinse", "clean"), "clean", 1.8, 3.0),
    Verb("cut", ("cut", "slice", "chop"), "split", 1.8, 3.0),
    Verb("pour", ("pour", "tip"), "distribute", 1.7, 3.0),
    Verb("stir", ("stir", "mix"), "merge", 1.6, 3.0),
    Verb("turn-on", ("turn-on", "switch-on"), "access", 1.0, 1.9),
    Verb("turn-off", ("turn-off", "switch-off"), "block", 1.0, 1.9),
    Verb("peel", ("peel", "skin"), "split", 1.8, 3.0),
    Verb("shake", ("shake", "jiggle"), "manipulate", 1.4, 2.6),
    Verb("squeeze", ("squeeze", "squash"), "manipulate", 1.5, 2.8),
    Verb("throw", ("throw", "discard", "drop"), "leave", 1.0, 1.8),
)

NOUNS: tuple[Noun, ...] = (
    Noun("tap", "appliances", ("faucet",), movable=False),
    Noun("fridge", "appliances", ("refrigerator",), movable=False),
    Noun("cupboard", "furniture", ("cabinet",), movable=False),
    Noun("drawer", "furniture", movable=False),
    Noun("hob", "appliances", ("stove",), movable=False),
    Noun("oven", "appliances", movable=False),
    Noun("bin", "storage", ("bin:rubbish",), movable=False),
    Noun("microwave", "appliances", movable=False),
    Noun("kettle", "appliances", (), ("silver", "red", "black", "white"), named_by_colour=True),
    Noun("pan", "cookware", ("pan:frying",), ("black", "red", "blue"), named_by_colour=True),
    Noun("pot", "cookware", ("saucepan",), ("silver", "red", "blue", "green"), named_by_colour=True),
    Noun("plate", "crockery", (), ("white", "blue", "green", "yellow"), named_by_colour=True),
    Noun("bowl", "crockery", (), ("white", "blue", "red", "orange"), named_by_colour=True),
    Noun("cup", "crockery", ("mug",), ("red", "blue", "green", "yellow", "white", "black"), named_by_colour=True),
    Noun("glass", "crockery", ("glass:drinking",), ("silver", "blue", "green")),
    Noun("milk", "dairy and eggs", ("carton:milk",), ("blue", "green", "red")),
    Noun("oil", "spices and herbs and sauces", ("bottle:oil",), ("yellow", "green")),
    Noun("ketchup", "spices and herbs and sauces", (), ("red",)),
    Noun("salt", "spices and herbs and sauces", ("shaker:salt",), ("white", "blue", "silver")),
    Noun("knife", "cutlery", (), ("black", "wooden", "red"), named_by_colour=True),
    Noun("spoon", "cutlery", (), ("wooden", "silver", "red"), named_by_colour=True),
    Noun("board:chopping", "utensils", ("board",), ("wooden", "white", "green"), named_by_colour=True),
    Noun("sponge", "cleaning equipment and material", (), ("yellow", "green", "pink"), named_by_colour=True),
    Noun("tomato", "vegetables", (), ("red",)),
    Noun("carrot", "vegetables", (), ("orange",)),
    Noun("banana", "fruits and nuts", (), ("yellow",)),
    Noun("apple", "fruits and nuts", (), ("red", "green"), named_by_colour=True),
    Noun("onion", "vegetables", (), ("purple", "brown")),
    Noun("egg", "dairy and eggs", (), ("brown", "white"), named_by_colour=True),
    Noun("bread", "baked goods and grains", ("loaf",), ("brown",)),
    Noun("lemon", "fruits and nuts", (), ("yellow",)),
)

NOUN_BY_KEY: dict[str, Noun] = {noun.key: noun for noun in NOUNS}
VERB_BY_KEY: dict[str, Verb] = {verb.key: verb for verb in VERBS}
NOUN_CLASS: dict[str, int] = {noun.key: index for index, noun in enumerate(NOUNS)}
VERB_CLASS: dict[str, int] = {verb.key: index for index, verb in enumerate(VERBS)}

MOVABLE: tuple[str, ...] = tuple(noun.key for noun in NOUNS if noun.movable)
OPENABLE = ("fridge", "cupboard", "drawer", "oven", "bin", "microwave")
SWITCHABLE = ("tap", "hob", "oven", "microwave", "kettle")
WASHABLE = ("plate", "bowl", "cup", "glass", "pan", "pot", "knife", "spoon", "tomato", "carrot")
CUTTABLE = ("tomato", "carrot", "banana", "apple", "onion", "bread", "lemon")
POURS = (
    ("milk", "bowl"), ("milk", "cup"), ("milk", "glass"), ("oil", "pan"), ("oil", "pot"),
    ("kettle", "cup"), ("kettle", "pot"),
)  # fmt: skip
STIRRABLE = ("pan", "pot", "bowl", "cup")
PEELABLE = ("carrot", "banana", "apple", "onion")
SHAKEABLE = ("salt", "milk", "ketchup", "oil")
SQUEEZABLE = ("lemon", "sponge", "ketchup")
THROWABLE = ("banana", "egg", "onion", "bread", "milk")


def _single(nouns: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    return tuple((noun,) for noun in nouns)


COMBINATIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    "take": _single(MOVABLE),
    "put": _single(MOVABLE),
    "open": _single(OPENABLE),
    "close": _single(OPENABLE),
    "wash": _single(WASHABLE),
    "cut": _single(CUTTABLE),
    "pour": POURS,
    "stir": _single(STIRRABLE),
    "turn-on": _single(SWITCHABLE),
    "turn-off": _single(SWITCHABLE),
    "peel": _single(PEELABLE),
    "shake": _single(SHAKEABLE),
    "squeeze": _single(SQUEEZABLE),
    "throw": tuple((noun, "bin") for noun in THROWABLE),
}
"""Verb key -> the noun tuples it is used with; the first noun is the one that is handled."""


LINKS: dict[str, str] = {"pour": "into", "throw": "into"}
"""Verbs that take a second noun, and the word between the two."""


def verb_instances(verb: Verb) -> tuple[str, ...]:
    """All dashed spellings of a verb in the annotation files, those with a link word included."""
    link = LINKS.get(verb.key)
    return verb.synonyms if link is None else (*verb.synonyms, *(f"{said}-{link}" for said in verb.synonyms))


def spoken(instance: str) -> str:
    """EPIC's `board:chopping` as people say it: `chopping board`."""
    return " ".join(reversed(instance.split(":")))
