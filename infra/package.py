"""`bin/package`: what CloudFormation deploys, checked before it gets there.

DIR gets deployment.zip, sam.json (for `aws cloudformation package`) and cfn.json, the same after
the SAM transform, whose code is expected as deployment.zip in the bucket of parameter CodeBucket.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DEPLOYED = ("app.py", "chalicelib", ".chalice", "requirements.txt")
# What Lambda takes, unzipped, layers included.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
UNZIPPED_BYTES = 250 * 1024 * 1024
# Chalice says this, leaves the dependency out, and exits with 0.
LEFT_OUT = "Could not install dependencies"
# Chalice, the transform and the linter ask for a region, and look only at its partition.
REGION = ("AWS_DEFAULT_REGION", "us-east-1")


class PackageError(Exception):
    """What came out must not be deployed."""


@dataclass(frozen=True, slots=True)
class Size:
    """Of the deployment package, in bytes."""

    zipped: int
    unzipped: int


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bin/package", description=__doc__)
    parser.add_argument("--stage", required=True, help="a stage of .chalice/config.json")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--arch", choices=["arm64", "x86_64"], help="instead of the stage's own")
    parsed = parser.parse_args(arguments)
    os.environ.setdefault(*REGION)  # noqa: TID251 for the programs that this one runs
    try:
        size = package(parsed.stage, parsed.out, parsed.arch)
    except PackageError as error:
        sys.stderr.write(f"bin/package: {error}\n")
        return 1
    template = json.loads((parsed.out / "sam.json").read_text())
    functions = _functions(template)
    architecture = next(iter(functions.values()))["Properties"]["Architectures"][0]
    sys.stdout.write(
        f"{parsed.out}  stage {parsed.stage}  {architecture}  {len(functions)} functions  "
        f"{size.zipped / 1e6:.2f} MB zipped  {size.unzipped / 1e6:.2f} MB unzipped\n"
    )
    return 0


def package(stage: str, out: Path, arch: str | None = None) -> Size:
    """Package a stage into a folder, which is made anew. Raises: PackageError."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        for name in DEPLOYED:
            _copy(ROOT / name, project / name)
        if arch:
            _set_architecture(project / ".chalice" / "config.json", stage, arch)
        shutil.rmtree(out, ignore_errors=True)
        _run_chalice(project, stage, out.resolve())
        config = json.loads((project / ".chalice" / "config.json").read_text())
    sam = json.loads((out / "sam.json").read_text())
    check(sam, config["stages"][stage])
    (out / "cfn.json").write_text(json.dumps(_transformed(sam), indent=2) + "\n")
    for name in ("sam.json", "cfn.json"):
        _lint(out / name)
    return _measured(out / "deployment.zip")


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__", "deployments", "deployed", "venv")
        shutil.copytree(source, target, ignore=ignored)
    else:
        shutil.copy(source, target)


def _set_architecture(path: Path, stage: str, arch: str) -> None:
    config = json.loads(path.read_text())
    config["stages"][stage]["lambda_architecture"] = arch
    path.write_text(json.dumps(config))


def _run(command: Sequence[str], **arguments: Any) -> str:
    """What a command says; PackageError with it when it fails."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **arguments
    )
    if done.returncode:
        raise PackageError(f"{Path(command[0]).name} {command[1]} failed:\n{done.stdout}")
    return done.stdout


def _run_chalice(project: Path, stage: str, out: Path) -> None:
    template = ROOT / "infra" / "resources.json"
    command = [_beside("chalice"), "package", "--stage", stage]
    said = _run([*command, "--merge-template", str(template), str(out)], cwd=project)
    refuse_leftovers(said)


def refuse_leftovers(said: str) -> None:
    """Raises: PackageError, if Chalice said that it left dependencies out."""
    if LEFT_OUT in said:
        raise PackageError(said[said.index(LEFT_OUT) :])


# -- What must be in it ---------------------------------------------------------------------------


def check(sam: dict[str, Any], stage: dict[str, Any]) -> None:
    """Raises: PackageError, if a merge went astray or a function has no policy of its own."""
    resources = sam["Resources"]
    stray = [name for name, each in resources.items() if "Type" not in each]
    if stray:
        raise PackageError(f"infra/resources.json changes what is not there: {', '.join(stray)}")
    functions = _functions(sam)
    declared = {_logical(name) for name in stage["lambda_functions"]}
    if declared != set(functions):
        different = ", ".join(sorted(declared ^ set(functions)))
        raise PackageError(f"the stage's lambda_functions and app.py differ in {different}")
    roles = [each["Properties"]["Role"]["Fn::GetAtt"][0] for each in functions.values()]
    if len(set(roles)) != len(functions):
        raise PackageError("functions share a role")
    for name, each in functions.items():
        for source, event in each["Properties"].get("Events", {}).items():
            if "Type" not in event:
                raise PackageError(f"{name} has no event source {source}")


def _functions(template: dict[str, Any]) -> dict[str, Any]:
    kind = "AWS::Serverless::Function"
    return {name: each for name, each in template["Resources"].items() if each["Type"] == kind}


def _logical(function: str) -> str:
    """A function's name in the template, as Chalice makes it."""
    if function == "api_handler":
        return "APIHandler"
    return "".join(word.capitalize() for word in function.split("_"))


def _measured(path: Path) -> Size:
    with zipfile.ZipFile(path) as archive:
        unzipped = sum(each.file_size for each in archive.infolist())
    if unzipped > UNZIPPED_BYTES:
        raise PackageError(f"{unzipped} bytes unzipped, Lambda takes {UNZIPPED_BYTES}")
    return Size(path.stat().st_size, unzipped)


# -- After the transform --------------------------------------------------------------------------


def _transformed(sam: dict[str, Any]) -> dict[str, Any]:
    """What CloudFormation would make of it: plain resources, without the SAM transform."""
    from samtranslator.translator.transform import transform

    class NoManagedPolicies:
        """All policies are our own."""

        def load(self) -> dict[str, str]:
            return {}

    copy = json.loads(json.dumps(sam))
    for function in _functions(copy).values():
        function["Properties"]["CodeUri"] = {"Bucket": "code-bucket", "Key": "deployment.zip"}
    plain: dict[str, Any] = transform(copy, {}, NoManagedPolicies())
    plain["Parameters"]["CodeBucket"] = {
        "Type": "String",
        "Description": "The S3 bucket that deployment.zip was uploaded to",
    }
    for each in plain["Resources"].values():
        if each["Type"] == "AWS::Lambda::Function":
            each["Properties"]["Code"]["S3Bucket"] = {"Ref": "CodeBucket"}
    return plain


def _lint(path: Path) -> None:
    _run([_beside("cfn-lint"), str(path)])


def _beside(program: str) -> str:
    """The program of this interpreter's environment."""
    return str(Path(sys.executable).with_name(program))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
