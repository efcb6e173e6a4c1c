"One run of the `probe` family, all nine stages by `hala run`, for every test that looks at what a run leaves."
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
PROBE = ROOT/'tests'/'probe.py'


def hala(*arguments, cwd=ROOT, code=0, **environment):
    "The command line in a process of its own; its standard output and error together."
    done = subprocess.run([sys.executable, '-m', 'hala.cli', *map(str, arguments)], cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          env={**os.environ, 'HALA_RECIPES': str(PROBE), **environment})
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    return said


def files(folder):
    "Every file of an artifact but what tells of time and machine: relative path -> bytes."
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(Path(folder).rglob('*')) if p.is_file() and p.name != 'manifest.json'}


def made(runs, artifact, size='probe'):
    "The folder of an artifact of the run `main`."
    key = json.loads((runs/'probe'/size/'main'/'run.json').read_text())[artifact]
    return next(p for p in (runs/'probe'/artifact/key, runs/'probe'/size/artifact/key) if p.exists())


@pytest.fixture(scope='session')
def runs(tmp_path_factory):
    "The folder of a finished probe run, made by the first process of the tests that asks for it. Read it; to change it, take `copied`."
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base)/'probe-run'
    home.mkdir(exist_ok=True)
    with FileLock(home/'lock'):
        if not (home/'said').exists():
            shutil.rmtree(home/'runs', ignore_errors=True)
            said = hala('run', '--size', 'probe', '--runs', home/'runs')
            (home/'said').write_text(said)
    return home/'runs'


@pytest.fixture
def copied(runs, tmp_path):
    "A copy of the finished run that a test may break."
    return shutil.copytree(runs, tmp_path/'runs')


def without(folder, *artifacts):
    "Take finished artifacts out of a run, so that they are made again; return what they held."
    held = {}
    for artifact in artifacts:
        there = made(folder, artifact)
        held[artifact] = files(there)
        shutil.rmtree(there)
    return held


# What takes minutes, first: one process makes the probe run, the other does meanwhile what needs none, and both end together.
LONG = 'test_run', 'test_train', 'test_packing', 'test_shapes', 'test_crash', 'test_restart', 'test_workers', 'test_adopt', 'test_arms', 'test_record'


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))
