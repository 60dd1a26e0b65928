"""Every link between pages, to a heading, or from code to a page leads somewhere; none goes outside."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
ROOMS = ("child", "docs", "examples", "hexput", "jefe", "scripts", "tests")
CODE = sorted(
    path
    for room in ROOMS
    for path in (ROOT / room).rglob("*")
    if path.is_file() and path.suffix in ("", ".py", ".md", ".lark", ".js", ".mjs", ".sh", ".service")
)
OUTSIDE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
LINK = re.compile(
    r"(?<!!)\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|^\[[^\]]+\]:\s+(\S+)", re.MULTILINE
)
PAGE_NAME = re.compile(r"(?<![\w/.-])docs/[\w./-]*\.md(?:#[\w-]+)?")
FILE_NAME = re.compile(
    rf"(?<![\w/.~$-])(?:{'|'.join(ROOMS)})/[\w/-]+(?:\.[\w-]+)*\.(?:py|md|lark|js|mjs|txt|service)\b"
)


def prose(text: str) -> str:
    """A page without its programs, in which brackets and parentheses mean something else."""
    text = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"(?<=\n)\n(?:    .*\n)+", "\n", text)
    return re.sub(r"`[^`\n]*`", "code", text)


def anchors(text: str) -> set[str]:
    """What the headings of a page are called in links, by GitHub's rule."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(
        r"^#{1,6}\s+(.+?)\s*#*$",
        re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL),
        re.MULTILINE,
    ):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found | set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))


def missing(page: Path, link: str) -> str | None:
    """What is not there, of what a link on a page leads to."""
    name, _, anchor = unquote(link).partition("#")
    target = (page.parent / name).resolve() if name else page
    if not target.is_relative_to(ROOT) or not target.exists():
        return f"{link}: there is no such file"
    if anchor and (target.suffix != ".md" or anchor not in anchors(target.read_text())):
        return f"{link}: there is no such heading"
    return None


def links(text: str) -> Iterator[str]:
    for inline, defined in LINK.findall(prose(text)):
        if not OUTSIDE.match(link := inline or defined):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert [problem for link in links(page.read_text()) if (problem := missing(page, link))] == []


def test_every_page_that_code_names_is_there() -> None:
    """Docstrings, comments, and what is printed: `docs/reference/protocols.md`, from the root."""
    named = [(path, name) for path in CODE for name in PAGE_NAME.findall(path.read_text())]
    assert len(named) > 20
    problems = [
        f"{path.relative_to(ROOT)}: {problem}"
        for path, name in named
        if (problem := missing(ROOT / "x", name))
    ]
    assert problems == []


def test_every_file_that_a_page_names_is_there() -> None:
    named = [(page, name) for page in PAGES for name in FILE_NAME.findall(page.read_text())]
    assert len(named) > 20
    assert [f"{page.relative_to(ROOT)}: {name}" for page, name in named if not (ROOT / name).exists()] == []


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / link.partition("#")[0]).resolve() for link in links(index.read_text())}
    assert [
        str(page) for page in PAGES if page.is_relative_to(index.parent) and page not in listed | {index}
    ] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[a](pipe.md)", None),
        ("[a](pipe.md#what-to-know)", None),
        ("[a](../reference/protocols.md#figures-)", None),
        ("[a]\n\n[a]: nothing.md", "nothing.md: there is no such file"),
        ("[a](nothing.md)", "nothing.md: there is no such file"),
        ("[a](pipe.md#nothing)", "pipe.md#nothing: there is no such heading"),
        ("[a](#nothing)", "#nothing: there is no such heading"),
        ("[a](../../../etc)", "../../../etc: there is no such file"),
    ],
)
def test_a_wrong_link_is_found(text: str, problem: str | None) -> None:
    page = ROOT / "docs" / "how-to" / "oaf.md"
    assert [missing(page, link) for link in links(text)] == [problem]
    assert list(links(f"```\n{text}\n```\n")) == []
