"""infra/resources.json, read for those who make its resources without CloudFormation."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).parent / "resources.json"
# The stack that `chalice deploy` needs: app.py names its queues and its topic after it.
STACK = "carillon"
VARIABLE = re.compile(r"\$\{([^}]+)\}")

Attribute = Callable[[str, str], str]  # logical name and attribute → its value


def read() -> dict[str, Any]:
    template: dict[str, Any] = json.loads(TEMPLATE.read_text())
    return template


def declared(kind: str) -> list[tuple[str, dict[str, Any]]]:
    """The resources of a type, in the template's order: logical name and raw properties."""
    resources = read()["Resources"].items()
    return [(name, each["Properties"]) for name, each in resources if each.get("Type") == kind]


def resolve(value: Any, known: Mapping[str, str], attribute: Attribute) -> Any:
    """A value of the template without its intrinsics.

    Args:
        known: What a Ref gives, by name; parameters that have a default need not be there.
        attribute: What Fn::GetAtt gives.

    Raises: KeyError for a reference that nothing is known of, or another intrinsic.
    """
    if isinstance(value, list):
        return [resolve(each, known, attribute) for each in value]
    if not isinstance(value, dict):
        return value
    if "Ref" in value:
        return _reference(value["Ref"], known)
    if "Fn::GetAtt" in value:
        return attribute(*value["Fn::GetAtt"])
    if "Fn::Sub" in value:
        return VARIABLE.sub(lambda found: _substitute(found[1], known, attribute), value["Fn::Sub"])
    if unknown := [key for key in value if key.startswith("Fn::")]:
        raise KeyError(f"{unknown[0]} cannot be resolved here")
    return {key: resolve(each, known, attribute) for key, each in value.items()}


def _reference(name: str, known: Mapping[str, str]) -> Any:
    if name in known:
        return known[name]
    return read()["Parameters"][name]["Default"]


def _substitute(name: str, known: Mapping[str, str], attribute: Attribute) -> str:
    if "." in name:
        return attribute(*name.split(".", 1))
    return str(_reference(name, known))
