"""Cuts a text up: into sections, as its author did or by length, and into sentences."""

import re
from collections.abc import Iterator
from itertools import pairwise

from .vocabulary import SPEECH, wordset

__all__ = ["sections", "sentences"]

_TARGET = 5 * 1024
_LARGEST = 6 * 1024
# A numbered part is the author's own section and stays whole, unless it is so long that ranking its sentences
# against one another, which is quadratic, would hold a worker for seconds.
_LARGEST_PART = 24 * 1024

_ROMAN = r"(?=[IVXLC])(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
_HEADING = re.compile(rf"^[ \t]*(?:(?:PART|CHAPTER|Part|Chapter)[ \t]+)?{_ROMAN}\.?[ \t]*$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")
_BLANKS = re.compile(r"\s+")


def sections(text: str) -> list[str]:
    """The parts under roman-numeral headings where there are such, else runs of paragraphs of about 5 KiB.

    No word is lost or moved: joined again, the sections read as the text did.
    """
    text = text.replace("\r\n", "\n").strip()
    starts = [match.start() for match in _HEADING.finditer(text)]
    if len(starts) < 2:
        return _pieces(text)
    if len(text[: starts[0]]) < _TARGET // 10:  # a title, which belongs to the first part
        starts[0] = 0
    borders = sorted({0, *starts, len(text)})
    parts = [text[a:b].strip() for a, b in pairwise(borders)]
    return [piece for part in parts for piece in ([part] if 0 < len(part) <= _LARGEST_PART else _pieces(part))]


def _pieces(text: str) -> list[str]:
    """Whole paragraphs, gathered so that the pieces are about equally long."""
    if not text:
        return []
    target = len(text) / max(1, round(len(text) / _TARGET))
    pieces: list[str] = []
    gathered: list[str] = []
    size = 0
    for paragraph in _paragraphs_within(text, _LARGEST):
        # Close a piece where that lands nearer to the target than taking the paragraph in would.
        if gathered and (size + len(paragraph) / 2 > target or size + len(paragraph) > _LARGEST):
            pieces.append("\n\n".join(gathered))
            gathered, size = [], 0
        gathered.append(paragraph)
        size += len(paragraph) + 2
    if gathered:
        pieces.append("\n\n".join(gathered))
    return pieces


def _paragraphs_within(text: str, limit: int) -> Iterator[str]:
    """Paragraphs, with one above the limit cut at sentence ends: some texts have no blank lines."""
    for paragraph in _BLANK_LINES.split(text):
        if len(paragraph) <= limit:
            yield paragraph
            continue
        gathered = ""
        for sentence in sentences(paragraph):
            if gathered and len(gathered) + len(sentence) > limit:
                yield gathered
                gathered = ""
            gathered = f"{gathered} {sentence}".lstrip()
        yield gathered


_ABBREVIATIONS = wordset(
    "mr mrs ms dr st no nos messrs prof rev capt col gen lieut lt sergt sgt maj hon esq jr sr mme mlle "
    "mdlle vs viz vol pp fig co ltd dept inst ave rd"
)
# Entered only at the first mark of a run and never tried shorter: a page of dots must not take quadratic time.
_END = re.compile(
    r"""(?<![.!?])(?<!\.\s)(?:\.(?:\s?\.)++|[.!?]++)["'\u2019\u201d)\]]*+(?=\s["'\u2018\u201c(\[]*+[A-Z0-9])"""
)
_LAST_WORD = re.compile(r"[\w.&]+$")
_ATTRIBUTION = re.compile(r"\s+((?:[A-Z][\w.'-]*\s+){1,4})([a-z]+)\b")


def sentences(text: str) -> list[str]:
    """The sentences in order, each on one line. A sentence never crosses a blank line."""
    return [sentence for paragraph in _BLANK_LINES.split(text) for sentence in _sentences_of(paragraph)]


def _sentences_of(paragraph: str) -> Iterator[str]:
    line = _BLANKS.sub(" ", paragraph).strip()
    start = 0
    for match in _END.finditer(line):
        if _ends_sentence(line, match):
            yield line[start : match.end()].strip()
            start = match.end()
    if line[start:].strip():
        yield line[start:].strip()


def _ends_sentence(line: str, match: re.Match[str]) -> bool:
    mark = match.group()
    if mark == ".":
        before = _LAST_WORD.search(line, max(0, match.start() - 24), match.start())
        word = before.group() if before else ""
        if word.lower() in _ABBREVIATIONS:
            # "the answer is No. He left": `No.` is an abbreviation only in front of a number.
            return word.lower() in {"no", "nos"} and not line[match.end() :].lstrip()[:1].isdigit()
        # Initials and dotted abbreviations: "H. Moulton", "K. K. K.", "Ph.D."; "I." is rather the pronoun.
        return not ((len(word) == 1 and word.isupper() and word != "I") or "." in word)
    if mark[-1] in "\"\u201d'\u2019":
        # '"You saw it?" Holmes asked.' is one sentence.
        said = _ATTRIBUTION.match(line, match.end())
        return not (said and said.group(2) in SPEECH)
    return True
