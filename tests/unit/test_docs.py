"""Links of the documents lead somewhere, and the glossary explains what it refers to."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _prose(path: Path) -> str:
    """The text without code, whose brackets are no links and whose comments are no headings."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"(?<!\[)`[^`\n]*`(?!\])", "", text)


def _anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", _prose(page)):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name} links to {target}, which does not exist"
        assert not anchor or anchor in _anchors(path), f"{page.name} links to {target}, which has no such heading"


def test_every_page_is_on_the_list_of_the_readme() -> None:
    listed = (ROOT / "README.md").read_text(encoding="utf-8").partition("## More")[2]
    missing = [path.name for path in (ROOT / "docs").glob("*.md") if f"](docs/{path.name})" not in listed]
    assert missing == ["state-machine.md"], "which the README links to from where it explains it"


def test_the_glossary_explains_every_word_that_it_refers_to() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    entries = {word.strip() for row in re.findall(r"^\| \*\*(.+?)\*\*", text, re.MULTILINE) for word in row.split(",")}
    referred = set(re.findall(r"(?<!\*)\*([a-z ]+)\*(?!\*)", text))
    assert len(entries) > 50
    assert sorted(word for word in referred if not {word, word.removesuffix("s")} & entries) == []
