"""The page for those who run a server keeps up with what the server says."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]


def sentences() -> set[str]:
    """What the server logs, at level info and above, as far as it stands in the code as it is logged."""
    found = set()
    for file in [*(ROOT / "jefe").rglob("*.py"), *(ROOT / "hexput").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="info" | "warning" | "error"), args=[ast.Constant(str(text))]
                ):
                    found.add(text)
    return found


def test_every_line_of_the_log_is_explained() -> None:
    page = (ROOT / "docs" / "how-to" / "operations.md").read_text()
    known = sentences()
    assert "a child died" in known
    assert [text for text in sorted(known) if f"`{text.partition(': each')[0]}" not in page] == []
