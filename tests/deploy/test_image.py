"""The image's steps in a clean environment: what the Dockerfile copies is installed from there alone, and does the work.

What the image's constraints bring is what the environment of the tests has.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from pipelines.verify.verify import verify
from tests.small_corpus import overrides, write_corpus

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that has gone through the steps."""
    work, image = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("image") / "venv"
    for line in (ROOT / "deploy/Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            source, target = line.split()[1:-1], line.split()[-1]
            for name in source:
                copy(ROOT / name, work / target / Path(name).name if len(source) > 1 else work / target)
    venv.create(image)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    quiet = ["--no-deps", "--no-index"]  # nothing is fetched
    told(*pip, "wheel", *quiet, "--no-build-isolation", "--wheel-dir", str(work / "dist"), ".", cwd=work)
    [wheel] = (work / "dist").iterdir()
    told(*pip, "--python", str(image / "bin/python"), "install", *quiet, str(wheel), cwd=work)
    packages = next((image / "lib").iterdir()) / "site-packages"
    (packages / "rest.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    shutil.rmtree(work)
    return image / "bin"


def told(*command: str, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def test_the_installed_project_is_whole_without_its_checkout(image: Path, tmp_path: Path) -> None:
    corpus, out = write_corpus(tmp_path / "corpus", 6), tmp_path / "out"
    sets = [part for value in overrides(corpus, **{"run.workers": 0}) for part in ("--set", value)]
    told(str(image / "speechmill"), "data", "corpus", "-o", str(out), *sets, cwd=tmp_path)
    assert (out / "report/index.html").stat().st_size > 10_000
    assert verify(str(out), reencode=0).ok
    where = told(str(image / "python"), "-c", "import pipelines; print(pipelines.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(image.parent)
