"""What stands for a text: the key phrases of a section, and a digest of its own sentences.

Plain functions without models or downloads. The same text always gives the same answer: a node that
runs twice (a redelivery, a retry) must not contradict itself.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations

import networkx

from .passages import sentences
from .vocabulary import SPEECH, STOPWORDS

__all__ = ["digest", "keywords"]

_Words = tuple[str, ...]
_BLANKS = re.compile(r"\s+")

_UNTOLD = STOPWORDS | SPEECH  # words no phrase is made of
_WORD = re.compile(r"[A-Za-z\u00c0-\u024f]+(?:['\u2019-][A-Za-z\u00c0-\u024f]+)*")
_BREAK = re.compile(r"""[.,;:!?()\[\]"\u201c\u201d\u2014]|--+|\s'|'\s""")


def _content(text: str) -> list[str]:
    """The words that carry meaning, in lower case, without a possessive ending."""
    found = (match.group().lower() for match in _WORD.finditer(text.replace("--", " ")))
    bare = (word[:-2] if word.endswith(("'s", "\u2019s")) else word for word in found)
    return [word for word in bare if len(word) > 2 and word not in STOPWORDS]


def keywords(section: str, count: int = 8) -> list[str]:
    """The key phrases of a section, best first: one to three words that it keeps coming back to.

    Candidates are found as RAKE finds them, between stopwords and punctuation. RAKE's score prefers long
    phrases that occur once, though, and in prose those are accidents ("wrinkled velvet collar"): here
    recurrence counts first.
    """
    times: Counter[_Words] = Counter()
    written: dict[_Words, Counter[str]] = defaultdict(Counter)
    for run in _content_runs(section):
        for size in (1, 2, 3):
            for at in range(len(run) - size + 1):
                phrase = run[at : at + size]
                key = tuple(word.lower() for word in phrase)
                times[key] += 1
                written[key][" ".join(phrase)] += 1

    def score(key: _Words) -> float:
        if times[key] > 1 or len(key) == 1:
            return times[key] * len(key)
        return sum(times[word,] for word in key) / len(key) ** 2

    chosen: list[_Words] = []
    for key in sorted(times, key=lambda key: (-score(key), -len("".join(key)), key)):
        if len(chosen) == count:
            break
        # A phrase inside another, or around it, says nothing new.
        if not any(set(key) <= set(other) or set(other) <= set(key) for other in chosen):
            chosen.append(key)
    # Equal counts are settled by spelling, so that the answer does not hang on the order of a dict.
    return [max(written[key], key=lambda form: (written[key][form], form)) for key in chosen]


def _content_runs(text: str) -> Iterator[list[str]]:
    """Content words that stand side by side."""
    for clause in _BREAK.split(_BLANKS.sub(" ", text)):
        run: list[str] = []
        for match in _WORD.finditer(clause):
            word = re.sub(r"['\u2019]s$", "", match.group())
            if len(word) > 2 and word.lower() not in _UNTOLD:
                run.append(word)
            elif run:
                yield run
                run = []
        if run:
            yield run


def digest(sections: Sequence[str], count: int) -> Iterator[str]:
    """About `count` sentences that stand for the whole, in the order of the story.

    TextRank. Each section is ranked alone: the first sentences come out while later sections have not been
    looked at, and the cost grows with the length of the text, not with its square.
    """
    total = max(1, sum(map(len, sections)))
    seen = 0
    taken = 0
    for section in sections:
        seen += len(section)
        # A share by length. Rounding the running sum, not each share, makes the shares add up to `count`.
        share = round(count * seen / total) - taken
        chosen = _best(section, share) if share > 0 else []
        taken += len(chosen)  # a section too poor for its share leaves the rest to the next
        yield from chosen


def _best(section: str, count: int) -> list[str]:
    candidates: list[tuple[str, frozenset[str]]] = []
    for sentence in sentences(section):
        bag = frozenset(_content(sentence))
        # Shorter says too little to be read alone, longer is half a page; a heading has no full stop.
        if len(bag) >= 4 and len(sentence) <= 320 and re.search(r"[.!?][\"')]*$", sentence):
            candidates.append((sentence, bag))
    rank = networkx.pagerank(_similar([bag for _, bag in candidates]))
    best = sorted(range(len(candidates)), key=lambda at: (-rank[at], at))[:count]
    return [_balanced(candidates[at][0]) for at in sorted(best)]


def _balanced(sentence: str) -> str:
    """With the quote that opened in an earlier sentence, or closes in a later one."""
    first = sentence.find('"')
    if first > 0 and not sentence[first - 1].isspace() and sentence[first - 1] not in "-(":
        sentence = '"' + sentence
    return sentence + '"' if sentence.count('"') % 2 == 1 else sentence


def _similar(bags: Sequence[frozenset[str]]) -> "networkx.Graph[int]":
    """How much each two sentences have in common, as weighted edges.

    By way of an index of words: only sentences that share a word are ever compared.
    """
    holders: dict[str, list[int]] = defaultdict(list)
    for at, bag in enumerate(bags):
        for word in sorted(bag):  # sets have no order across processes, and float sums depend on it
            holders[word].append(at)
    weights: dict[tuple[int, int], float] = defaultdict(float)
    for at_all in holders.values():
        rarity = math.log(len(bags) / len(at_all))
        for pair in combinations(at_all, 2):
            weights[pair] += rarity
    size = [math.log(1 + len(bag)) for bag in bags]
    graph: networkx.Graph[int] = networkx.Graph()
    graph.add_nodes_from(range(len(bags)))
    graph.add_weighted_edges_from((a, b, weight / (size[a] + size[b])) for (a, b), weight in weights.items())
    return graph
