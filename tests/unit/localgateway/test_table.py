"""The table of statements in docs/localgateway.md and the tests agree."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
FOLDERS = (ROOT / "tests/unit/localgateway", ROOT / "tests/integration/localgateway")


def test_each_statement_names_exactly_its_tests() -> None:
    written = {
        int(number): set(re.findall(r"`(test_\w+)`", tests))
        for number, tests in re.findall(
            r"^\| (\d+) \|.*\|([^|]*)\|$", (ROOT / "docs/localgateway.md").read_text(), re.M
        )
    }
    found: dict[int, set[str]] = {}
    for folder in FOLDERS:
        for file in folder.glob("test_*.py"):
            for name, number in re.findall(r"^def (test_(\d+)_\w+)\(", file.read_text(), re.M):
                found.setdefault(int(number), set()).add(name)

    assert sorted(written) == list(range(1, 53))
    assert found == written


def test_every_setting_is_in_the_readme() -> None:
    settings = (ROOT / "localgateway/settings.py").read_text()
    chaos = (ROOT / "localgateway/chaos.py").read_text()
    readme = (ROOT / "localgateway/README.md").read_text()
    names = re.findall(r"^    ([a-z]\w+): ", settings + chaos.partition("class Chaos")[2], re.M)

    assert [name for name in names if f"`{name}`" not in readme] == []
