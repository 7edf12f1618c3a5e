"""bin/package as a person runs it, for both architectures."""

import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = json.loads((ROOT / ".chalice" / "config.json").read_text())


def package(out: Path, arch: str) -> str:
    done = subprocess.run(
        [ROOT / "bin" / "package", "--stage", "prod", "--arch", arch, "--out", out],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def kinds(template: dict[str, Any]) -> list[str]:
    return sorted(each["Type"] for each in template["Resources"].values())


# The second of each pair is e_machine in the header of an ELF file:
# https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
@pytest.mark.parametrize(("arch", "machine"), [("arm64", 183), ("x86_64", 62)])
def test_a_stage_is_packaged_whole(tmp_path: Path, arch: str, machine: int) -> None:
    said = package(tmp_path / "out", arch)

    functions = len(CONFIG["stages"]["prod"]["lambda_functions"])
    assert f"{arch}  {functions} functions" in said
    assert "MB zipped" in said
    with zipfile.ZipFile(tmp_path / "out" / "deployment.zip") as archive:
        names = archive.namelist()
        compiled = [archive.read(name)[:20] for name in names if name.endswith(".so")]
    assert {"app.py", "chalicelib/bootstrap.py", "chalice/app.py"} <= set(names)
    assert not [name for name in names if name.startswith(("boto", "localgateway", "tests"))]
    assert {int.from_bytes(header[18:20], "little") for header in compiled} == {machine}

    deployed = kinds(json.loads((tmp_path / "out" / "cfn.json").read_text()))
    assert deployed.count("AWS::Lambda::Function") == functions
    assert deployed.count("AWS::IAM::Role") == functions
    assert deployed.count("AWS::ApiGatewayV2::Route") == 3


def test_no_policy_allows_more_than_aws_makes_necessary(tmp_path: Path) -> None:
    package(tmp_path / "out", "arm64")

    template = json.loads((tmp_path / "out" / "cfn.json").read_text())
    statements = [
        statement
        for each in template["Resources"].values()
        if each["Type"] == "AWS::IAM::Role"
        for policy in each["Properties"]["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
    ]
    assert statements
    for statement in statements:
        assert "*" not in json.dumps(statement["Action"]), statement
        # Connection ids cannot be known beforehand; everything else is named.
        assert "*" not in json.dumps(statement["Resource"]).replace("/@connections/*", "")
