"What is generated equals its source, and the floors stay apart: hala/ and README.md, clean notebooks, light imports, no stage in another's code."
import ast
import json
import os
import shutil
import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from importlib.util import resolve_name
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

root = Path(__file__).resolve().parents[1]
stages = 'sources', 'compress', 'bilingual', 'translator', 'corpus', 'sft', 'merge', 'evaluate', 'release'
core = 'recipe', 'store', 'pipeline', 'trust', 'licences', 'provenance', 'text', 'world', 'engine', 'quality', 'train', 'metrics'
settings = ConfigParser(interpolation=None)
settings.read(root/'settings.ini', encoding='utf-8')


def run(*command, cwd=root):
    "The output of `command` in a process of its own, which sees hala from this checkout; it must succeed."
    environment = {**os.environ, 'PYTHONPATH': str(root)}
    environment.pop('IN_TEST', None)    # nbdev-export does nothing where it is set
    done = subprocess.run([sys.executable, *map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f'{done.stdout}{done.stderr}'
    return done.stdout


def nbdev(command, cwd):
    module = {'nbdev-export': 'nbdev.doclinks', 'nbdev-clean': 'nbdev.clean'}[command]
    return run('-c', f'from {module} import {command.replace("-", "_")} as main; main()', cwd=cwd)


@pytest.fixture
def checkout(tmp_path):
    "The notebooks and the configuration of this checkout, without hala/."
    shutil.copytree(root/'nbs', tmp_path/'nbs', ignore=shutil.ignore_patterns('.ipynb_checkpoints', '_proc'))
    shutil.copy(root/'pyproject.toml', tmp_path)
    return tmp_path


def files(folder, pattern):
    found = [path for path in folder.rglob(pattern) if '.ipynb_checkpoints' not in path.parts]
    return {path.relative_to(folder): path.read_bytes() for path in found}


def test_notebooks_are_clean(checkout):
    nbdev('nbdev-clean', checkout)
    before, after = files(root/'nbs', '*.ipynb'), files(checkout/'nbs', '*.ipynb')
    assert before and [str(path) for path in before if before[path] != after[path]] == []


def test_export_equals_package(checkout):
    (checkout/'hala').mkdir()
    shutil.copy(root/'hala/__init__.py', checkout/'hala')    # the one file of hala/ that no notebook writes
    nbdev('nbdev-export', checkout)
    committed, fresh = files(root/'hala', '*.py'), files(checkout/'hala', '*.py')
    assert {str(path) for path in committed.keys() | fresh.keys() if committed.get(path) != fresh.get(path)} == set()


def test_readme_equals_index(): run('docs/readme.py', '--check')


def imported(path):
    "Absolute names of everything that the code in `path` imports, inside functions too."
    package = '.'.join(path.relative_to(root).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import): yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            module = resolve_name('.'*node.level + (node.module or ''), package) if node.level else node.module
            yield module
            yield from (f'{module}.{alias.name}' for alias in node.names)


@pytest.mark.parametrize('name', [*stages, *(f'core.{name}' for name in core)])
def test_no_stage_is_imported(name):
    "Stages meet only in artifacts; what they stand on knows none of them; nobody imports the command line."
    above = {f'hala.{other}' for other in (*stages, 'cli')}
    assert sorted(above & set(imported(root/'hala'/(name.replace('.', '/') + '.py')))) == []


@pytest.mark.parametrize('name', ['cli', *(f'core.{name}' for name in core if name not in ('engine', 'quality', 'train', 'metrics'))])
def test_imports_light(name):
    "`hala status` answers at once."
    loaded = json.loads(run('-c', f'import sys, json, hala.{name}; print(json.dumps(list(sys.modules)))'))
    assert {'torch', 'transformers', 'datasets', 'pandas', 'matplotlib'} & set(loaded) == set()


def distributions(requirements, found):
    "Names of the installed distributions that `requirements` bring with them, added to `found`."
    for text in requirements:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if name in found or requirement.marker and not requirement.marker.evaluate({'extra': ''}): continue
        try: needs = distribution(name).requires or []
        except PackageNotFoundError: continue
        found.add(name)
        asked = ' '.join(f'extra == "{extra}"' for extra in requirement.extras)
        distributions([need.partition(';')[0] if asked and asked in need.replace("'", '"') else need for need in needs], found)
    return found


def required(key): return [line for line in settings['DEFAULT'][key].splitlines() if line]


@pytest.mark.parametrize('name', ['cli', 'core.engine', 'core.quality', 'core.metrics'])
def test_core_requirements_are_enough(name):
    "What `hala translate` imports is there after `pip install hala` alone: every other installed package is hidden."
    kept = distributions(required('requirements'), {'hala'})
    hidden = [module for module, owners in packages_distributions().items() if not kept & {canonicalize_name(owner) for owner in owners}]
    hide = f'import sys; sys.modules.update(dict.fromkeys({hidden!r}))'    # importing a module that is None raises ModuleNotFoundError
    run('-c', f'{hide}\nimport hala.{name}')


def test_constraints_satisfy_every_requirement():
    lines = [line for line in (root/'constraints.txt').read_text(encoding='utf-8').splitlines() if line and not line.startswith('#')]
    exact = {canonicalize_name(name): version for name, _, version in (line.partition('==') for line in lines)}
    wanted = [Requirement(line) for key in settings['DEFAULT'] if key.endswith('requirements') for line in required(key)]
    assert [str(each) for each in wanted if not each.specifier.contains(exact[canonicalize_name(each.name)])] == []
    assert '+' not in ''.join(lines) and '/' not in ''.join(lines)    # versions that every index has, no path of one machine
