"""Builds the wheel, installs it into a clean environment, and uses it there as the README does.

    python tests/check_wheel.py [--folder=FOLDER]

Any Python that levit_tf is for can run this; nothing has to be installed in it. The wheel is built
of a copy of the sources, so that nothing of an earlier build gets in, and commands run outside the
repository. Prints a table; the exit code is 0 if every check passes. Takes some minutes and 4 GB,
in a temporary folder unless one is given.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("levit_common", "levit_lite", "levit_tf", "converters", "training", "serving")
EXTRAS = "tflite,onnx,train,serve"
# Seconds of processor time that `import levit_tf` may take beyond `import keras`: the quickest of
# some runs of each, in turns, so that other work on the machine counts for little.
IMPORT_LIMIT = 1.0
IMPORT_RUNS = 5
# The training run leaves a model behind for the others.
_RUN = "runs/digits"
_MODEL = f"--model={_RUN}/final.keras"
COMMANDS = (
    f"training.main --output={_RUN} --config=digits --set=epochs=3 --set=warmup_epochs=1",
    f"levit_tf.classify {_MODEL} {_RUN}/predictions.png",
    f"converters.to_tflite {_MODEL} --recipe=fp32 --output=fp32.tflite",
    f"converters.to_tflite {_MODEL} --recipe=int8 --calibration=digits --output=int8.tflite",
    f"levit_tf.classify --model=int8.tflite {_RUN}/predictions.png",
    f"converters.to_saved_model {_MODEL} --output=saved_model",
    f"converters.to_onnx {_MODEL} --output=model.onnx",
    f"serving.export {_MODEL} --name=digits --repository=models",
    "serving.server --version",
)
# In a project that has a `training` and a `serving` of its own, which must not be run.
_OUTSIDE = f"../outside/{_RUN}"
SCRIPTS = (
    "levit-train --output=run --config=digits --set=epochs=3 --set=warmup_epochs=1",
    f"levit-evaluate --model={_OUTSIDE}/final.keras --dataset=digits",
    f"levit-classify --model={_OUTSIDE}/final.keras {_OUTSIDE}/predictions.png",
    "levit-convert",
    f"levit-convert to-tflite --model={_OUTSIDE}/final.keras --recipe=fp32 --output=fp32.tflite",
    "levit-convert report fp32.tflite",
    f"levit-export --model={_OUTSIDE}/final.keras --name=digits --repository=models",
    "levit-serve --version",
    "levit-client --help",
    f"levit-edge --model=fp32.tflite {_OUTSIDE}/predictions.png",
    "levit-batch --help",
    "levit-web-app --help",
)


class FailedCheckError(Exception):
    """What was checked is not so."""


class Wheel:
    """A wheel on its way into an environment.

    Attributes:
      path: of the wheel, once built.
      python: of the environment, which has only pip at first.
      outside: a folder that is not in the repository, for commands to run in.
      project: another one, with a `training` and a `serving` of its own.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self.path: Path | None = None
        self.python = folder / "environment" / "bin" / "python"
        self.outside = folder / "outside"
        self.outside.mkdir(parents=True)
        self.project = folder / "project"
        for package in ("training", "serving"):
            (self.project / package).mkdir(parents=True)
            (self.project / package / "__init__.py").write_text(
                "raise SystemExit('this is the package of the current folder')\n"
            )
        venv.create(folder / "environment", with_pip=True)

    def run(self, *arguments: str) -> str:
        """Runs Python with arguments, and returns what it writes to stdout.

        Raises:
          FailedCheckError: The exit code is not 0; with the end of what was written.
        """
        return _output([str(self.python), *arguments], self.outside)

    def run_script(self, name: str, *arguments: str) -> str:
        """Runs a console script in `project`; the rest is as for `run`."""
        return _output([str(self.python.with_name(name)), *arguments], self.project)

    def build(self) -> str:
        """Builds it; its version must be the one of `levit_tf.__version__`."""
        sources, built = self._folder / "sources", self._folder / "dist"
        sources.mkdir()
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, sources)
        for package in PACKAGES:
            shutil.copytree(
                ROOT / package, sources / package, ignore=shutil.ignore_patterns("__pycache__")
            )
        self.run(*f"-m pip wheel --quiet --no-deps --wheel-dir={built}".split(), str(sources))
        (self.path,) = built.glob("*.whl")
        text = (ROOT / "levit_tf" / "__init__.py").read_text(encoding="utf-8")
        version = re.search(r'^__version__ = "(.+)"', text, re.MULTILINE).group(1)
        if self.path.name.split("-")[1] != version:
            raise FailedCheckError(f"{self.path.name} is not of version {version}")
        return f"{self.path.name}, {self.path.stat().st_size // 1000} kB"

    def check_content(self) -> str:
        """Every file of the packages must be in it, but BUILD files, and nothing else."""
        sources = self._folder / "sources"
        expected = {
            path.relative_to(sources).as_posix()
            for package in PACKAGES
            for path in (sources / package).rglob("*")
            if path.is_file() and path.name != "BUILD"
        }
        with zipfile.ZipFile(self.path) as archive:
            found = {name for name in archive.namelist() if ".dist-info/" not in name}
        if expected != found:
            missing, strange = sorted(expected - found), sorted(found - expected)
            raise FailedCheckError(f"missing: {missing}; not of the sources: {strange}")
        return f"{len(found)} files"

    def install(self) -> str:
        """Installs it with extras, in the versions of constraints.txt."""
        pip = ("-m", "pip", "--disable-pip-version-check")
        constraints = str(ROOT / "constraints.txt")
        self.run(*pip, "install", "--quiet", "-c", constraints, f"{self.path}[{EXTRAS}]")
        return f"{len(self.run(*pip, 'list').splitlines()) - 2} packages"

    def check_dependencies(self) -> str:
        """Packages must agree with each other."""
        return self.run("-m", "pip", "check").strip()

    def check_import(self) -> str:
        """Importing it must not warn, and must find it in the environment."""
        place = self.run("-W", "error", "-c", "import levit_tf; print(levit_tf.__file__)").strip()
        if not Path(place).is_relative_to(self.python.parent.parent):
            raise FailedCheckError(f"imported from {place}")
        return "no warning"

    def check_import_time(self) -> str:
        """Importing it must take little longer than importing Keras."""
        times: dict[str, list[float]] = {"keras": [], "levit_tf": []}
        for _ in range(IMPORT_RUNS):
            for module, seconds in times.items():
                start = _processor_time()
                self.run("-c", f"import {module}")
                seconds.append(_processor_time() - start)
        keras, levit = min(times["keras"]), min(times["levit_tf"])
        text = (
            f"processor time: keras {keras:.2f} s, levit_tf {levit:.2f} s, {levit - keras:+.2f} s"
        )
        if levit - keras > IMPORT_LIMIT:
            raise FailedCheckError(f"{text}, over {IMPORT_LIMIT} s")
        return text

    def check_readme(self) -> str:
        """The README's first Python block must run."""
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        block = re.search(
            r"^```python\n(.*?import levit_tf.*?)^```", readme, re.MULTILINE | re.DOTALL
        )
        if not block:
            raise FailedCheckError("README.md has no block of Python that imports levit_tf")
        self.run("-c", block.group(1))
        return f"{len(block.group(1).splitlines())} lines"


def _output(command: Sequence[str], folder: Path) -> str:
    # Neither sources nor packages from anywhere but the environment.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        end = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise FailedCheckError(f"{shlex.join(command)}: exit code {done.returncode}\n{end}")
    return done.stdout


def _processor_time() -> float:
    """Seconds that processes used which this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def checks(wheel: Wheel) -> Iterator[tuple[str, Callable[[], str]]]:
    """What is checked, in the order in which it can be: names and functions."""
    yield "pip wheel --no-deps .", wheel.build
    yield "files of the wheel", wheel.check_content
    yield f"pip install -c constraints.txt levit_tf[{EXTRAS}]", wheel.install
    yield "pip check", wheel.check_dependencies
    yield "python -W error -c 'import levit_tf'", wheel.check_import
    yield f"import levit_tf, at most {IMPORT_LIMIT:g} s beyond Keras", wheel.check_import_time
    yield "README.md, the first block of Python", wheel.check_readme
    for command in COMMANDS:
        yield f"python -m {command}", lambda command=command: _ran(wheel.run, f"-m {command}")
    for command in SCRIPTS:
        yield command, lambda command=command: _ran(wheel.run_script, command)


def _ran(run: Callable[..., str], command: str) -> str:
    run(*command.split())
    return ""


def check(folder: Path) -> bool:
    """Runs the checks and prints a line for each; without a wheel that installs, no more of them.

    Args:
      folder: to work in, which must be empty or missing.

    Returns:
      Whether all passed.
    """
    failed = []
    wheel = Wheel(folder)
    needed = {wheel.build, wheel.install}
    rows = list(checks(wheel))
    width = max(len(name) for name, _ in rows) + 2
    print(f"{'check':<{width}}{'result':<8}{'time':>8}")
    for name, function in rows:
        start = time.perf_counter()
        try:
            result, detail = "passed", function()
        except FailedCheckError as error:
            result, detail = "FAILED", ""
            failed.append(f"{name}: {error}")
        seconds = time.perf_counter() - start
        print(f"{name:<{width}}{result:<8}{seconds:>6.1f} s  {detail}", flush=True)
        if result == "FAILED" and function in needed:
            break
    for message in failed:
        print(f"\n{message}", file=sys.stderr)
    return not failed


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 if every check passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="Kept afterwards; must be empty or missing.")
    folder = parser.parse_args(argv).folder
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            return 0 if check(Path(temporary)) else 1
    if folder.exists() and any(folder.iterdir()):
        print(f"error: {folder} is not empty", file=sys.stderr)
        return 1
    return 0 if check(folder.resolve()) else 1


if __name__ == "__main__":
    sys.exit(main())
