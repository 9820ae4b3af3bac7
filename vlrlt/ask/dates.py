"""Days that a question names: "last Tuesday", "in August", "on 13 August 2024", in the local time of this machine.

A day of the week or a month without a year is the latest that has begun. What is no date stays in the question.
"""

import re
from dataclasses import dataclass
from datetime import date, timedelta

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_DAY, _MONTH, _YEAR = "|".join(_DAYS), "|".join(_MONTHS), r"(?:19|20)\d\d"
_NUMBER = r"(?P<day>[0-3]?\d)(?:st|nd|rd|th)?"
_AGO = {"today": 0, "yesterday": 1, "the day before yesterday": 2}
_DATES = (
    rf"(?P<word>{'|'.join(reversed(_AGO))})",
    rf"(?:on |last |this |last week )(?P<weekday>{_DAY})",
    r"(?P<which>this|last) (?P<period>week|month|year)",
    rf"on (?:the )?{_NUMBER}(?: of)? (?P<month>{_MONTH})(?:,? (?P<year>{_YEAR}))?",
    rf"on (?P<month>{_MONTH}) {_NUMBER}(?:,? (?P<year>{_YEAR}))?",
    rf"(?:in|during|last|this) (?P<month>{_MONTH})(?: (?:of )?(?P<year>{_YEAR}))?",
    r"on (?P<iso>(?:19|20)\d\d-\d\d-\d\d)",
    rf"(?:in|during) (?P<year>{_YEAR})",
)
_PATTERNS = tuple(re.compile(rf"(?:^|(?<=\s)){pattern}(?=$|[\s,?!.])", re.IGNORECASE) for pattern in _DATES)


@dataclass(frozen=True)
class Days:
    """The days from the first up to, and without, the one after."""

    first: date
    after: date

    @property
    def wording(self) -> str:
        """For answers: "on 2024-08-13", "from 2024-08-01 to 2024-08-31"."""
        last = self.after - timedelta(days=1)
        return f"on {self.first}" if last == self.first else f"from {self.first} to {last}"


def take_days(text: str, *, today: date) -> tuple[str, Days | None]:
    """The question without the days that it names, and the days; None: it names none, or such a day never was."""
    for pattern in _PATTERNS:
        match = pattern.search(text)
        days = None if match is None else _days({key: said.lower() for key, said in match.groupdict("").items()}, today)
        if match is not None and days is not None:
            rest = f"{text[: match.start()].rstrip(' ,')} {text[match.end() :].lstrip(' ,')}"
            return " ".join(rest.split()), days
    return text, None


def _days(said: dict[str, str], today: date) -> Days | None:
    try:
        if said.get("iso"):
            return _one(date.fromisoformat(said["iso"]))
        if said.get("word"):
            return _one(today - timedelta(days=_AGO[said["word"]]))
        if said.get("weekday"):
            ago = (today.weekday() - _DAYS.index(said["weekday"])) % 7 or 7
            return _one(today - timedelta(days=ago))
        if said.get("period"):
            return _period(said["period"], today, back=said["which"] == "last")
        if said.get("day"):
            return _one(_latest(said, today, day=int(said["day"])))
        if said.get("month"):
            return _month(_latest(said, today, day=1))
        return Days(date(int(said["year"]), 1, 1), date(int(said["year"]) + 1, 1, 1))
    except ValueError:
        return None


def _latest(said: dict[str, str], today: date, *, day: int) -> date:
    """The day of the year that is named, else the latest that is not after today."""
    month = _MONTHS.index(said["month"]) + 1
    if said.get("year"):
        return date(int(said["year"]), month, day)
    this = date(today.year, month, day)
    return this if this <= today else date(today.year - 1, month, day)


def _period(period: str, today: date, *, back: bool) -> Days:
    if period == "week":
        monday = today - timedelta(days=today.weekday() + 7 * back)
        return Days(monday, monday + timedelta(days=7))
    if period == "month":
        first = today.replace(day=1)
        return _month((first - timedelta(days=1)).replace(day=1) if back else first)
    return Days(date(today.year - back, 1, 1), date(today.year - back + 1, 1, 1))


def _month(first: date) -> Days:
    return Days(first, (first + timedelta(days=31)).replace(day=1))


def _one(day: date) -> Days:
    return Days(day, day + timedelta(days=1))
