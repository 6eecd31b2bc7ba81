"""The demo's text functions, on the twelve stories that the demo reads."""

import importlib
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

AGENTS = Path(__file__).parents[2] / "agents"
STORIES = sorted((AGENTS / "data" / "sherlock").glob("*.txt"))


def load() -> SimpleNamespace:
    # By location: `agents` is the content of a deployment and no installed package.
    package = ModuleType("demo_agents")
    package.__path__ = [str(AGENTS)]
    sys.modules[package.__name__] = package
    parts = [importlib.import_module(f"demo_agents.{name}") for name in ("passages", "summary", "names")]
    return SimpleNamespace(**{name: getattr(part, name) for part in parts for name in part.__all__})


text = load()


def story(number: int) -> str:
    return STORIES[number - 1].read_text(encoding="utf-8")


@pytest.fixture(params=STORIES, ids=lambda path: path.stem)
def any_story(request: pytest.FixtureRequest) -> str:
    path: Path = request.param
    return path.read_text(encoding="utf-8")


def test_the_twelve_stories_are_there() -> None:
    assert len(STORIES) == 12


# --- Sections


def test_numbered_parts_are_the_sections() -> None:
    sections = text.sections(story(1))
    assert len(sections) == 3
    assert sections[0].startswith("A Scandal In Bohemia\n\nI.\n\nTo Sherlock Holmes")
    assert sections[1].startswith("II.\n\nAt three o'clock")
    assert sections[2].startswith("III.\n\nI slept at Baker Street")


def test_sections_lose_and_move_nothing(any_story: str) -> None:
    assert " ".join(text.sections(any_story)).split() == any_story.split()


@pytest.mark.parametrize("number", range(2, 13))
def test_other_stories_are_cut_at_paragraphs_into_pieces_of_about_five_kib(number: int) -> None:
    sections = text.sections(story(number))
    assert 7 <= len(sections) <= 11
    assert all(len(section) <= 6 * 1024 for section in sections)
    assert all(len(section) > 3 * 1024 for section in sections[:-1])
    paragraphs = {" ".join(paragraph.split()) for paragraph in story(number).split("\n\n")}
    assert all(" ".join(section.split("\n\n")[0].split()) in paragraphs for section in sections)


def test_a_text_without_paragraphs_is_cut_at_sentences() -> None:
    sections = text.sections("This sentence has exactly seven short words. " * 400)
    assert len(sections) > 2
    assert all(section.endswith("words.") and len(section) <= 6 * 1024 for section in sections)


def test_nothing_has_no_sections() -> None:
    assert text.sections("") == text.sections(" \n\n ") == []


# --- Sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["Mr. Holmes met Dr. Watson and Mrs. St. Clair in Baker St. on Monday.", "It rained."],
        ["He lives at No. 31 Lyon Place.", "She does not."],
        ["The answer is No.", "He left."],
        ['"Is it you?" Holmes asked.', '"Yes!"', "I turned."],
        ['"Is it you?" said he.', "Who else?"],
        ["He paused... and went on.", "Then he stopped...", "Nothing."],
        ["Francis H. Moulton came from the U. S. A. to England.", "He stayed."],
        ["'Well!'", "He rose."],
    ],
)
def test_sentences(sentences: list[str]) -> None:
    assert text.sentences(" ".join(sentences)) == sentences


def test_a_sentence_is_one_line_and_ends_with_its_paragraph() -> None:
    assert text.sentences("A Title\n\nIt was\nlate. He\nslept.") == ["A Title", "It was late.", "He slept."]


def test_no_sentence_ends_with_a_title(any_story: str) -> None:
    endings = ("Mr.", "Mrs.", "Dr.")
    assert [sentence for sentence in text.sentences(any_story) if sentence.endswith(endings)] == []


# --- Keywords


def test_keywords_name_what_a_section_is_about() -> None:
    first, second, third = text.sections(story(1))
    assert {"Irene Adler", "photograph", "Majesty"} <= set(text.keywords(first))
    assert {"Briony Lodge", "Godfrey Norton", "fire"} <= set(text.keywords(second))
    assert "photograph" in text.keywords(third)
    league = itertools.chain.from_iterable(map(text.keywords, text.sections(story(2))))
    assert {"Red-headed League", "John Clay", "Encyclopaedia Britannica", "cellar"} <= set(league)


def test_keywords_are_as_many_as_asked_for_and_distinct(any_story: str) -> None:
    for section in text.sections(any_story):
        keywords = text.keywords(section)
        assert len(keywords) == len({keyword.lower() for keyword in keywords}) <= 8
        assert text.keywords(section, 3) == keywords[:3]
    assert text.keywords("") == []


# --- Digest


def test_a_digest_is_sentences_of_the_story_in_its_order(any_story: str) -> None:
    sections = text.sections(any_story)
    digest = list(text.digest(sections, 12))
    assert len(digest) == 12
    whole = " ".join(any_story.split())
    at = [whole.find(sentence.strip("\"'")) for sentence in digest]
    assert -1 not in at
    assert at == sorted(at)


def test_a_digest_streams() -> None:
    sections = text.sections(story(2))
    read: list[str] = []

    class Watched(list[str]):
        def __iter__(self) -> Iterator[str]:
            for section in super().__iter__():
                read.append(section)
                yield section

    next(text.digest(Watched(sections), 12))
    assert read == [*sections, sections[0]]  # one pass adds up the lengths; then only what the sentence needs


def test_a_digest_of_little_is_little() -> None:
    assert list(text.digest([], 5)) == []
    assert list(text.digest([""], 5)) == []
    assert list(text.digest(["Too short."], 5)) == []


# --- People and places

PEOPLE = {
    1: {
        "Sherlock Holmes",
        "Irene Adler",
        "Dr. Watson",
        "Godfrey Norton",
        "King of Bohemia",
        "Count Von Kramm",
    },
    2: {"Sherlock Holmes", "Jabez Wilson", "Vincent Spaulding", "Duncan Ross", "John Clay", "Peter Jones"},
    3: {"Mary Sutherland", "Hosmer Angel", "James Windibank"},
    4: {"James McCarthy", "Charles McCarthy", "John Turner", "Mr. Lestrade"},
    5: {"John Openshaw", "Elias", "James Calhoun"},
    6: {"Neville St. Clair", "Mrs. St. Clair", "Hugh Boone", "Isa Whitney", "Inspector Bradstreet"},
    7: {
        "Henry Baker",
        "James Ryder",
        "John Horner",
        "Countess of Morcar",
        "Mr. Breckinridge",
        "Mrs. Oakshott",
    },
    8: {"Helen Stoner", "Grimesby Roylott", "Julia", "Percy Armitage"},
    9: {"Victor Hatherley", "Lysander Stark", "Mr. Ferguson"},
    10: {"Robert St. Simon", "Hatty Doran", "Flora Millar", "Aloysius Doran", "Francis Hay Moulton"},
    11: {"Alexander Holder", "Arthur", "Mary Holder", "George Burnwell", "Lucy Parr"},
    12: {"Violet Hunter", "Mr. Rucastle", "Alice Rucastle", "Mrs. Toller", "Mr. Fowler"},
}
PLACES = {
    1: {"Baker Street", "London", "Briony Lodge", "Serpentine Avenue", "Bohemia", "Warsaw"},
    2: {"Baker Street", "London", "Saxe-Coburg Square", "Fleet Street", "Pope's Court"},
    3: {"Leadenhall Street", "France", "Tottenham Court Road"},
    4: {"Boscombe Pool", "Boscombe Valley", "Hatherley Farm", "Ross", "Ballarat"},
    5: {"Horsham", "Pondicherry", "Dundee", "Savannah", "Waterloo Bridge"},
    6: {"Upper Swandam Lane", "Lee", "Kent"},
    7: {"Covent Garden", "Brixton Road", "Alpha Inn"},
    8: {"Stoke Moran", "Leatherhead", "Crown Inn"},
    9: {"Eyford", "Reading", "Victoria Street"},
    10: {"San Francisco", "Hanover Square", "Lancaster Gate"},
    11: {"Streatham", "Threadneedle Street"},
    12: {"Winchester", "Copper Beeches", "Southampton"},
}


@pytest.mark.parametrize("number", PEOPLE)
def test_people_of_the_stories(number: int) -> None:
    assert set(text.people(story(number))) >= PEOPLE[number]


@pytest.mark.parametrize("number", PLACES)
def test_places_of_the_stories(number: int) -> None:
    assert set(text.places(story(number))) >= PLACES[number]


def test_people_and_places_are_not_mixed_up(any_story: str) -> None:
    people, places = text.people(any_story), text.places(any_story)
    assert not set(people) & set(places)
    assert not {"London", "Baker Street", "England", "Charing Cross", "Scotland Yard"} & set(people)
    assert not {"Sherlock Holmes", "Watson", "Dr. Watson"} & set(places)
    assert not {"God", "Monday", "English", "Then", "Majesty", "Red-headed League"} & {*people, *places}


def test_the_one_named_most_comes_first() -> None:
    assert text.people(story(1))[:2] == ["Sherlock Holmes", "Irene Adler"]
    assert text.people(story(2))[:2] == ["Sherlock Holmes", "Jabez Wilson"]


@pytest.mark.parametrize(
    ("sentence", "name"),
    [
        ("Zebulon Quackenbush said that he would call.", "Zebulon Quackenbush"),
        ("Zebulon Quackenbush, a dealer in hats, had called.", "Zebulon Quackenbush"),
        ('"Never!" cried Zebulon Quackenbush.', "Zebulon Quackenbush"),
        ("It was Mr. Quillfeather who came.", "Mr. Quillfeather"),
        ("Mr. Quillfeather's umbrella was wet.", "Mr. Quillfeather"),
        ("Then we asked Dr. Ottoline Ångström.", "Ottoline Ångström"),
    ],
)
def test_an_invented_name_is_found_in_every_story(any_story: str, sentence: str, name: str) -> None:
    assert name in text.people(sentence)
    assert name in text.people(f"{sentence}\n\n{any_story}")
    assert name in text.people(any_story.replace("\n\n", f"\n\n{sentence} ", 5))


def test_nobody_and_nowhere() -> None:
    assert text.people("") == text.places("") == []
    assert text.people("It rained. Then it stopped. Nobody said a word.") == []


# --- All of them


def test_the_same_text_gives_the_same_answer_in_every_process() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); s = open(sys.argv[2], encoding='utf-8').read();"
        "from agents.passages import sections; from agents.summary import digest, keywords;"
        "from agents.names import people, places; c = sections(s);"
        "print([keywords(x) for x in c], list(digest(c, 12)), people(s), places(s))"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", program, str(AGENTS.parent), str(STORIES[5])],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(answers) == 1


@pytest.mark.parametrize(
    "hostile",
    [
        "Aa " * 60_000,
        "Mr. " * 60_000,
        "." * 100_000 + "'" * 100_000,
        ". " * 100_000,
        "I.\n" * 20_000,
        "a" * 200_000,
        '"' * 200_000,
        " \n" * 100_000,
    ],
    ids=["names", "titles", "dots", "spaced dots", "headings", "one word", "quotes", "blank lines"],
)
def test_no_text_is_too_much(hostile: str) -> None:
    """What is quadratic somewhere takes minutes at this length."""
    sections = text.sections(hostile)
    assert len(list(text.digest(sections, 12))) <= 12
    assert all(len(text.keywords(section)) <= 8 for section in sections)
    assert len(text.people(hostile)) < 100
    assert len(text.places(hostile)) < 100
