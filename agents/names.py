"""Finds the people and the places of a text, by how names are written and what stands around them.

Every run of capitalised words is a mention. What a mention is follows from its own words (an honorific, a
street suffix), from what stands around it ("said X", "in X") and from the text's other mentions of it:
"Holmes" alone at the start of a sentence is a name because "Sherlock Holmes" is one.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from .lexicon import (
    ACTING,
    AMBIGUOUS_PLACES,
    BEING,
    DOTTED,
    FEMALE_NAMES,
    FEMALE_TITLES,
    FIRST_NAMES,
    GAZETTEER,
    GIVEN_BY,
    IN_PLACE,
    INSTITUTIONS,
    MALE_NAMES,
    MALE_TITLES,
    NOT_NAMES,
    PARTICLES,
    PLACE_SUFFIXES,
    RANKS,
    SHIPS,
    TITLES,
    TO_PLACE,
    VOCATIVE,
)
from .passages import sentences
from .vocabulary import SPEECH, STOPWORDS

__all__ = ["people", "places"]

_Words = tuple[str, ...]

# The longer of two alternatives stands first: "Mr" would be found in "Mrs.".
_TITLE = r"(?:Messrs|Mrs|Mr|Mme|Mlle|Ms|Dr|Prof|Rev)\b\.?"
_CAPITALISED = r"(?:St\.\s)?(?:[OD]')?[A-Z\u00c0-\u00de]\w+(?:-\w+)*"
_INITIAL = r"[A-HJ-Z]\.(?=\s[A-Z])"  # not "I."
_PARTICLE = rf"(?i:{'|'.join(sorted(PARTICLES))})\s"
# The possessive belongs to the name of a place only: "Pope's Court", but "Holmes's chair".
_OF_PLACE = rf"['\u2019]s(?=\s(?:{'|'.join(sorted(PLACE_SUFFIXES))})\b)"
_PART = rf"(?:{_TITLE}|(?:{_PARTICLE})?{_CAPITALISED}|{_INITIAL})(?:{_OF_PLACE})?"
_TOKEN = re.compile(_PART)
_MENTION = re.compile(rf"\b{_PART}(?:\s{_PART}){{0,9}}")  # no name is longer
_RANKED = re.compile(rf"\b(?:{'|'.join(sorted(RANKS))})\sof\s{_CAPITALISED}(?:\s{_CAPITALISED})*")
_SMALL = re.compile(r"(?<![\w'-])[a-z]+(?![\w'-])")
# From the start of the line, or of a sentence or speech within it, up to a name there is no word.
_OPENING = re.compile(r"""(?:^|[.!?]["'\u2019\u201d]*\s)[^\w]*$|(?:^|[\s(-])["'\u201c\u2018]+$""")
_BEFORE = re.compile(r"([\w']+)([^\w]*)$")
_AFTER = re.compile(r"(?:['\u2019]s?\b)?([^\w]*)([\w']+)?")


@dataclass
class _Name:
    """What all mentions of one run of words say together."""

    words: _Words
    first_at: int
    count: int = 0
    inside: int = 0  # mentions in mid-sentence, where a capital is no accident of position
    person: int = 0  # this and the next two: what speaks for each
    place: int = 0
    thing: int = 0
    common: bool = False  # whether its last word is written small elsewhere
    titles: Counter[str] = field(default_factory=Counter)


def people(text: str) -> list[str]:
    """Who is named in the text, most often named first.

    "Mr. Wilson" counts as "Jabez Wilson" where the text names him in full somewhere.
    """
    names, ranked = _names(text)
    surnames = _surnames(names)
    persons = {words: name for words, name in names.items() if _is_person(name, surnames)}
    full = {words: name for words, name in persons.items() if len(words) > 1}
    tally: Counter[str] = Counter()
    first: dict[str, int] = {}

    def add(shown: str, count: int, at: int) -> None:
        tally[shown] += count
        first[shown] = min(at, first.get(shown, at))

    for words, name in full.items():
        add(" ".join(words), name.count, name.first_at)
    for (word, *more), name in persons.items():
        if more:
            continue
        bare = name.count - name.titles.total()
        # A bare surname is the man's ("Toller" beside "Mrs. Toller") unless the woman is named more often.
        own = [title for title in name.titles if title not in FEMALE_TITLES or name.titles[title] >= bare]
        usual = min(own, key=lambda title: (-name.titles[title], title), default="")
        for title, count in [*sorted(name.titles.items()), ("", bare)]:
            owner = _owner(word, title, full)
            if count and owner is not None:
                add(" ".join(owner), count, name.first_at)
            elif count:
                add(_with_title(title or usual, word), count, name.first_at)
    for shown, (count, at) in ranked.items():
        add(shown, count, at)
    return sorted(tally, key=lambda shown: (-tally[shown], first[shown], shown))


def places(text: str) -> list[str]:
    """Which places are named in the text, most often named first."""
    names, _ = _names(text)
    surnames = _surnames(names)
    found = [name for name in names.values() if _is_place(name, surnames)]
    return [" ".join(name.words) for name in sorted(found, key=lambda name: (-name.count, name.first_at, name.words))]


def _names(text: str) -> tuple[dict[_Words, _Name], dict[str, tuple[int, int]]]:
    """All mentions, gathered by their words.

    And apart from them the persons named by rank ("King of Bohemia"), with the number of mentions and the
    line of the first.
    """
    lines = [line for line in sentences(text) if not _is_heading(line)]
    # What the text also writes small is an ordinary word, large at the start of a sentence or in a headline.
    small = frozenset(word for line in lines for word in _SMALL.findall(line))
    names: dict[_Words, _Name] = {}
    ranked: dict[str, tuple[int, int]] = {}
    for at, line in enumerate(lines):
        for match in _RANKED.finditer(line):
            count, first_at = ranked.get(match.group(), (0, at))
            ranked[match.group()] = (count + 1, first_at)
        for match in _MENTION.finditer(line):
            for run in _runs(line, match):
                _record(names, small, line, run, at)
    _fold_plurals(names)
    return names, ranked


def _is_heading(line: str) -> bool:
    words = re.findall(r"[A-Za-z]{4,}", line)
    return len(words) > 1 and all(word[0].isupper() for word in words) and line[-1] not in ".!?\"'"


def _runs(line: str, mention: re.Match[str]) -> Iterator[list[re.Match[str]]]:
    """The mention in pieces, cut at words that are in no name, as in "Tragedy Near Waterloo Bridge"."""
    run: list[re.Match[str]] = []
    for token in _TOKEN.finditer(line, mention.start(), mention.end()):
        if _in_no_name(token.group(), after=run[-1].group() if run else ""):
            if run:
                yield run
            run = []
        else:
            run.append(token)
    if run:
        yield run


def _is_title(token: str) -> bool:
    return token.rstrip(".") in TITLES


def _in_no_name(token: str, *, after: str) -> bool:
    if len(token) > 2 and token.isupper():  # SHOUTED, in a headline or for emphasis
        return True
    if _is_title(after) or _is_title(token) or token in FIRST_NAMES or (after and token in PLACE_SUFFIXES):
        return False
    _, dash, rest = token.partition("-")
    if dash and rest.islower():  # "Irish-setter", but "Farm-house"
        return rest.capitalize() not in PLACE_SUFFIXES
    return token.lower() in STOPWORDS


def _record(names: dict[_Words, _Name], small: frozenset[str], line: str, run: list[re.Match[str]], at: int) -> None:
    start, end = run[0].start(), run[-1].end()
    opening = bool(_OPENING.search(line, max(0, start - 16), start))
    tokens = [token.group() for token in run]
    while tokens and opening and _is_ordinary(tokens[0], small):
        tokens.pop(0)
        opening = False
        start = run[-len(tokens)].start() if tokens else end
    titles: list[str] = []
    # "King Edward Street" is no king's.
    while tokens and _is_title(tokens[0]) and tokens[-1] not in PLACE_SUFFIXES:
        titles.append(tokens.pop(0).rstrip("."))
    while len(tokens) > 1 and (tokens[-1] in NOT_NAMES or _is_title(tokens[-1])):
        tokens.pop()
    if not tokens or (len(tokens) == 1 and (tokens[0] in NOT_NAMES or len(tokens[0].rstrip(".")) < 2)):
        return
    words = tuple(tokens)
    name = names.setdefault(words, _Name(words, at, common=words[-1].lower() in small))
    name.count += 1
    name.inside += not opening
    if titles:
        name.titles[titles[-1]] += 1
    else:
        _weigh(name, line, start, end)


def _is_ordinary(token: str, small: frozenset[str]) -> bool:
    if token in FIRST_NAMES or _is_title(token):
        return False
    return token.lower() in small or token.lower() in SPEECH


def _weigh(name: _Name, line: str, start: int, end: int) -> None:
    """Count what stands around this mention and speaks for a person, a place or a mere thing."""
    before = _BEFORE.search(line, max(0, start - 40), start)
    previous, gap = (before.group(1).lower(), before.group(2).strip()) if before else ("", "")
    after = _AFTER.match(line, end)
    distance, following = (after.group(1).strip(), (after.group(2) or "").lower()) if after else ("", "")
    beside = gap == ""
    if previous in SHIPS or (beside and previous in {"the", "a", "an", "this", "that"}):
        name.thing += 2
    if gap.endswith("'") and distance.startswith(("'", "!'")):  # a cry, a title, a sign
        name.thing += 2
    speaks = (beside and previous in SPEECH) or (distance == "" and following in ACTING)
    introduced = previous in GIVEN_BY or (beside and previous in VOCATIVE)
    # The last holds for "Come, Watson, come", but also for "in Kent, England."
    hint = (
        (distance == "" and following in BEING)
        or (distance == "," and not before and len(name.words) > 1)
        or (gap == "," and distance[:1] in {",", ".", "?", "!"})
    )
    if speaks or introduced:
        name.person += 2
    elif hint:
        name.person += 1
    if beside and previous in IN_PLACE:
        name.place += 2
    elif beside and previous in TO_PLACE:
        name.place += 1
    if distance == "," and following == "near":
        name.place += 2


def _fold_plurals(names: dict[_Words, _Name]) -> None:
    """The Rucastles are nobody beside Mr. Rucastle."""
    for words in [words for words, name in names.items() if words[-1].endswith("s") and not name.titles]:
        one = names.get((*words[:-1], words[-1][:-1]))
        if one is not None:
            one.count += names.pop(words).count


def _is_place(name: _Name, surnames: frozenset[_Words]) -> bool:
    words, whole = name.words, " ".join(name.words)
    if name.titles:
        return False
    if len(words) > 1 and (words[-1] in PLACE_SUFFIXES or words[-1].partition("-")[2].capitalize() in PLACE_SUFFIXES):
        return words[0] not in FIRST_NAMES or name.person == 0
    if whole in GAZETTEER:
        return whole not in AMBIGUOUS_PLACES or name.place > name.person
    if words[-1] in INSTITUTIONS or any(word in FIRST_NAMES for word in words) or words in surnames:
        return False
    return name.place >= (2 if len(words) > 1 else 4) and name.place > 2 * name.person and name.place > name.thing


def _is_person(name: _Name, surnames: frozenset[_Words]) -> bool:
    words = name.words
    if name.titles:
        return True
    if _is_place(name, surnames) or words[0] in NOT_NAMES or words[-1] in INSTITUTIONS | PLACE_SUFFIXES:
        return False
    if len(words) > 1:
        if words[0] in FIRST_NAMES:
            return name.thing == 0 or name.person > 0
        return (
            name.thing == 0 and name.place <= name.person + 1 and (name.person or (name.inside and not name.common)) > 0
        )
    if words[0].startswith("St. "):
        return False  # a church, a saint's day; as a person the name has a title or a first name
    if words[0] in FIRST_NAMES:
        return name.inside + name.person > 0 and name.place <= name.person
    if words in surnames:
        return True
    return name.person >= 2 and name.person > name.thing + name.place and not name.common


def _surnames(names: dict[_Words, _Name]) -> frozenset[_Words]:
    """The endings of the names that have a first name or a title in the text."""
    known = [words for words, name in names.items() if words[0] in FIRST_NAMES or name.titles]
    return frozenset(words[at:] for words in known for at in range(1, len(words)))


def _owner(word: str, title: str, full: dict[_Words, _Name]) -> _Words | None:
    """The full name that a surname or a first name stands for, or None where its title forbids every one."""
    fitting = [words for words, name in full.items() if word in (words[0], words[-1]) and _may_be(title, name)]
    return min(
        fitting,
        key=lambda words: (-full[words].titles[title], -full[words].count, full[words].first_at, words),
        default=None,
    )


def _may_be(title: str, name: _Name) -> bool:
    female = name.words[0] in FEMALE_NAMES or (
        name.words[0] not in MALE_NAMES and bool(FEMALE_TITLES & name.titles.keys())  # "Mrs. Henry Baker"
    )
    if title in FEMALE_TITLES:
        # "Mrs. Wilson" is not Jabez, nor is she Miss Alice Wilson.
        return female and (title in name.titles or not name.titles)
    return not (title in MALE_TITLES and female)


def _with_title(title: str, word: str) -> str:
    return f"{title}{'.' if title in DOTTED else ''} {word}" if title else word
