"""The arrows between modules, held as one table."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CORE = ROOT / "chalicelib"

# Which of our packages a deployed module may import, by the first part of its name that matches.
_BASE = ("errors", "limits", "logs", "model", "ports", "protocol")
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "errors": (),
    "limits": (),
    "logs": (),
    "model": ("errors",),
    "capabilities": ("limits",),
    "channels": ("capabilities", "errors", "limits"),
    "tokens": ("capabilities", "errors", "limits", "logs"),
    "apikeys": ("capabilities", "errors", "limits"),
    "settings": ("apikeys", "channels", "errors", "tokens"),
    "ports": ("model",),
    "protocol": ("errors", "limits", "model", "protocol"),
    "endpoint": _BASE,
    "streams": (*_BASE, "channels"),
    "connections": _BASE,
    "fanout": (*_BASE, "channels", "connections", "streams"),
    "presence": (*_BASE, "channels", "fanout"),
    "subscriptions": (*_BASE, "channels", "connections", "presence", "streams", "tokens"),
    "notifier": (
        *_BASE,
        *("channels", "connections", "fanout", "presence", "streams", "subscriptions"),
    ),
    "rpc": ("errors", "model", "notifier"),
    "hub": (
        *_BASE,
        *("capabilities", "channels", "connections", "notifier", "rpc", "subscriptions", "tokens"),
    ),
    "store": (*_BASE, "store"),
    "transport": ("model", "ports", "transport"),
    "sweep": (*_BASE, "channels", "connections", "fanout"),
    "dispatch": (*_BASE, "dispatch", "fanout"),
    "bootstrap": ("*",),
    "api": (*_BASE, "api", "apikeys", "bootstrap", "hub", "notifier", "settings"),
}
NEVER_DEPLOYED = {"localgateway", "devstack", "infra", "bench", "tests", "boto3_stubs"}
BOTO3_PLACES = {"store/table.py", "transport/sigv4.py", "dispatch/sqs.py"}
MODULES = sorted(CORE.rglob("*.py"))


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "chalicelib":
                found |= {f"chalicelib.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found - {"chalicelib"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(CORE)))
def test_a_module_imports_only_what_stands_below_it(path: Path) -> None:
    name = path.relative_to(CORE).parts[0].removesuffix(".py")
    allowed = MAY_IMPORT.get(name, ())
    ours = {i.split(".")[1] for i in _imports(path) if i.startswith("chalicelib.")}

    assert "*" in allowed or ours <= set(allowed)


@pytest.mark.parametrize("path", [ROOT / "app.py", *MODULES], ids=lambda path: path.name)
def test_nothing_deployed_imports_what_is_not(path: Path) -> None:
    assert not {i.split(".")[0] for i in _imports(path)} & NEVER_DEPLOYED


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(CORE)))
def test_boto3_stays_in_its_places(path: Path) -> None:
    uses = {i.split(".")[0] for i in _imports(path)} & {"boto3", "botocore"}

    assert not uses or str(path.relative_to(CORE)) in BOTO3_PLACES


def test_the_local_gateway_knows_nothing_of_carillon() -> None:
    for path in (ROOT / "localgateway").rglob("*.py"):
        roots = {i.split(".")[0] for i in _imports(path)}
        assert not roots & {"chalicelib", "devstack", "app"}, path


def test_every_module_has_its_row_in_the_table() -> None:
    names = {path.relative_to(CORE).parts[0].removesuffix(".py") for path in MODULES}

    assert names - {"__init__"} == set(MAY_IMPORT)
