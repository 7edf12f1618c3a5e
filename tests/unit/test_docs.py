"""The docs name what there is: tests, settings, options, codes, files."""

import ast
import re
from pathlib import Path

import pytest

from chalicelib.channels import Options
from chalicelib.errors import DisconnectCode, ErrorCode, UnsubscribeCode

ROOT = Path(__file__).parents[2]
TEST = re.compile(r"(tests/[\w/]+\.py)::(test_\w+)")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def read(path: str) -> str:
    return (ROOT / path).read_text()


def rows(page: str, heading: str) -> set[str]:
    """The first cells of the tables under a heading, without backquotes."""
    section = re.split(rf"^#+ {heading}$", read(page), flags=re.M)[1]
    section = re.split(r"^## ", section, maxsplit=1, flags=re.M)[0]
    return {cell.strip("` ") for cell in re.findall(r"^\|([^|]+)\|", section, re.M)}


def functions(path: str) -> set[str]:
    tree = ast.parse(read(path))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(
    ("path", "name"), sorted(set(TEST.findall(read("docs/delivery.md")))), ids=lambda each: each
)
def test_a_test_that_delivery_names_exists(path: str, name: str) -> None:
    assert name in functions(path)


def test_every_guarantee_names_what_proves_it() -> None:
    sections = re.split(r"^## ", read("docs/delivery.md"), flags=re.M)
    unproved = [
        section.splitlines()[0]
        for section in sections
        if re.match(r"\d", section)
        and not re.search(f"^- Proved by: `{TEST.pattern}`$", section, re.M)
    ]

    assert unproved == []


def test_every_setting_is_documented() -> None:
    texts = [
        n.value
        for n in ast.walk(ast.parse(read("chalicelib/settings.py")))
        if isinstance(n, ast.Constant) and isinstance(n.value, str)
    ]
    levels = {"DEBUG", "INFO", "WARNING", "ERROR"}
    settings = {text for text in texts if re.fullmatch(r"[A-Z][A-Z0-9_]{2,}", text)} - levels

    assert {"STAGE", "TABLE"} <= settings
    assert settings - rows("docs/settings.md", "Environment variables") == set()


def test_every_channel_option_is_documented() -> None:
    assert set(Options.__struct_fields__) - rows("docs/settings.md", "Channel options") == set()


def test_every_code_is_documented() -> None:
    codes = {
        "Error codes": {each.code for each in ErrorCode},
        "Unsubscribe codes": {each.value for each in UnsubscribeCode},
        "Disconnect codes": {each.code for each in DisconnectCode},
    }

    for heading, all_of_them in codes.items():
        assert {str(code) for code in all_of_them} - rows("docs/clients.md", heading) == set()


@pytest.mark.parametrize(
    "page",
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]
    + sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
)
def test_a_link_leads_somewhere(page: str) -> None:
    links = [link for link in LINK.findall(read(page)) if not link.startswith("//")]

    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []
