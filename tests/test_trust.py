"Tokens stay out of what is written, foreign code is not run, and the text of a data set is nothing but text."
import ast
import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import PROBE, ROOT, hala, made

from hala.core.pipeline import Job, plan, run_stage
from hala.core.recipe import HalaError
from hala.core.store import read_rows

TOKEN = 'hf_' + 'Zq7'*11  # of the right shape, and nobody's


def holding(folder, text): return [p for p in folder.rglob('*') if p.is_file() and text.encode() in p.read_bytes()]


@pytest.mark.parametrize('arguments', [['--set', f'sources.teacher.id={TOKEN}'], ['--set', f'sft.loss_on={TOKEN}'], ['--name', TOKEN], ['--size', TOKEN]])
def test_token_in_a_parameter_is_refused(tmp_path, arguments):
    said = hala('run', *([] if '--size' in arguments else ['--size', 'probe']), '--runs', tmp_path, *arguments, code=1)
    assert 'holds what looks like a token' in said and TOKEN not in said and len(said.strip().splitlines()) == 1
    assert not list(tmp_path.rglob('*'))


def test_password_of_the_environment_is_refused_by_its_value(tmp_path):
    said = hala('run', '--size', 'probe', '--runs', tmp_path, '--set', 'release.namespace=swordfish-7', code=1, ARCHIVE_PASSWORD='swordfish-7')
    assert 'holds what looks like a token or a password' in said and 'swordfish-7' not in said


def test_token_in_a_recipe_file_is_refused(tmp_path):
    (tmp_path/'own.py').write_text(f'from dataclasses import replace\nimport importlib.util\n'
        f'spec = importlib.util.spec_from_file_location("probe", {str(PROBE)!r}); probe = importlib.util.module_from_spec(spec)\n'
        f'spec.loader.exec_module(probe); r = probe.RECIPES[0]\n'
        f'RECIPES = [replace(r, release=replace(r.release, namespace="{TOKEN}"))]\n')
    said = hala('status', '--size', 'probe', '--recipes', tmp_path/'own.py', '--runs', tmp_path, code=1)
    assert 'the recipe of probe holds what looks like a token' in said and TOKEN not in said


def test_token_as_a_notebook_parameter_is_refused(tmp_path):
    given = dict(size='probe', runs=tmp_path/'runs', override=f'sources.teacher.id={TOKEN}')
    done = subprocess.run([sys.executable, '-m', 'papermill', 'nbs/05_sft.ipynb', tmp_path/'05.ipynb', *(x for k, v in given.items() for x in ('-p', k, v))],
                          cwd=ROOT, capture_output=True, text=True, env={**os.environ, 'HALA_RECIPES': str(PROBE)})
    assert done.returncode != 0 and 'holds what looks like a token' in done.stderr and not (tmp_path/'runs').exists()


def test_manifest_with_a_token_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setenv('HALA_RECIPES', str(PROBE))
    def adopt(job): job.report['adopted'] = dict(id=f'https://user:{TOKEN}@hub.example/model')
    with pytest.raises(HalaError, match='the manifest of text holds what looks like a token') as e:
        run_stage('00', dict(text=adopt), 'probe', str(tmp_path))
    assert TOKEN not in str(e.value) and not list(tmp_path.rglob('manifest.json'))


def test_secrets_in_an_executed_notebook_are_blanked(copied, tmp_path):
    "A recipe file that prints them, in the notebook too: a token by its shape, a password by the name of its variable."
    (tmp_path/'loud.py').write_text(f"import os\nexec(open({str(PROBE)!r}).read())\nprint(os.environ['SHOP_SECRET'], os.environ['DEMO'], 'harmless')\n")
    shutil.rmtree(made(copied, '08_release'))
    said = hala('run', '--size', 'probe', '--recipes', tmp_path/'loud.py', '--runs', copied, '--from', '08', SHOP_SECRET='a-b-c-1-2-3', DEMO=TOKEN)
    assert '08_release.ipynb showed a secret: blanked' in said
    shown = (copied/'probe/probe/main/08_release.ipynb').read_text()
    assert '[secret] [secret] harmless' in shown and not holding(copied, TOKEN) and not holding(copied, 'a-b-c-1-2-3')


def test_package_runs_no_foreign_code():
    "No eval, exec, pickle or shell anywhere in the package, and nobody trusts remote code."
    forbidden = {'eval', 'exec', 'os.system', 'os.popen', 'pickle.load', 'pickle.loads', 'torch.load', 'yaml.load', 'joblib.load', 'marshal.loads'}
    for path in sorted((ROOT/'hala').rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if not isinstance(node, ast.Call): continue
            assert ast.unparse(node.func) not in forbidden, f'{path}, line {node.lineno}'
            said = {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert said.get('shell', 'False') == 'False' and said.get('trust_remote_code', 'False') == 'False', f'{path}, line {node.lineno}'


def test_model_with_code_or_pickles_is_not_run(tmp_path, runs):
    "Code beside the weights stays there; weights that can run code are refused."
    from hala.core.recipe import Pretrained
    from hala.sources import take
    model = shutil.copytree(made(runs, '03_translator')/'model', tmp_path/'model')
    (model/'evil.py').write_text(f'open({str(tmp_path/"ran")!r}, "w")\nclass Model: pass\n')
    config = json.loads((model/'config.json').read_text())
    (model/'config.json').write_text(json.dumps({**config, 'auto_map': {'AutoModelForCausalLM': 'evil.Model'}}))
    job = Job(None, 'teacher', {}, tmp_path/'out', {}, ())
    job.out.mkdir()
    take(Pretrained(str(model)), 'sources.teacher', job)
    assert not list(job.out.rglob('*.py')) and job.report['licences'] == ['unknown']
    from hala.core.engine import load
    load(model)
    assert not (tmp_path/'ran').exists()
    (model/'model.safetensors').rename(model/'pytorch_model.bin')
    with pytest.raises(HalaError, match='other formats can run code'): take(Pretrained(str(model)), 'sources.teacher', job)


HOSTILE = ["zqxw; touch zqxw", "$(touch zqxw) `touch zqxw`", "../../../zqxw", "__import__('os').system('touch zqxw')", "{x} {0} %s zqxw",
           "zqxw\x00\x1b[2J\u202e"]
WATCHED = """
import json, sys
from pathlib import Path
def heard(event, args): # Python tells of every file that is opened, command that is run and text that is compiled
    if event != 'import' and 'zqxw' in repr(args): raise SystemExit(f'{event}: {args!r}')
sys.addaudithook(heard)
from hala.core.pipeline import Job, plan
from hala.core.store import making, write_manifest
from hala import bilingual, corpus, sources
runs, text, out = map(Path, sys.argv[1:])
p = plan('own', str(runs))
sources.make_text(Job(p.recipe, 'text', {}, text, {}, ()))
write_manifest(text, dict(licences=['unknown'], inputs={}))
made = {a: next(d for d in (runs/'probe'/a).iterdir() if d.is_dir()) for a in ('01_compress', '03_translator', 'benchmarks')}
at = {'text': text, 'benchmarks': made['benchmarks'], 'teacher': made['01_compress'], 'translator': made['03_translator']}
for module, name in ((bilingual, '02_bilingual'), (corpus, '04_corpus')):
    with making(out/name, '0'*16, {}, together=True) as (part, report): module.make(Job(p.recipe, name, at, part, report, ()))
try: open('zqxw')
except SystemExit: print('the hook hears')
"""


def test_text_of_a_data_set_is_only_text(runs, tmp_path):
    "Rows that would like to be a command, a path or a program go through 00, 02 and 04 under Python's audit hook, and come out as they were."
    data = tmp_path/'data.jsonl'
    data.write_text(''.join(json.dumps({'en': h, 'ar': h})+'\n' for h in HOSTILE))
    (tmp_path/'own.py').write_text(f"""from dataclasses import replace
import importlib.util
from hala.core.recipe import Folder
spec = importlib.util.spec_from_file_location('probe', {str(PROBE)!r}); probe = importlib.util.module_from_spec(spec); spec.loader.exec_module(probe)
r = probe.RECIPES[0]; one = (Folder({str(data)!r}, (('user', 'en'),)),)
both = (Folder({str(data)!r}, (('user', 'en'), ('arabic', 'ar'))),)
RECIPES = [r, replace(r, size='own', sources=replace(r.sources, instructions=one, pairs=one, human=both))]
""")
    text = tmp_path/'r/probe/text'/('0'*16)
    text.mkdir(parents=True)
    done = subprocess.run([sys.executable, '-c', WATCHED, runs, text, tmp_path/'r/probe'], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, 'HALA_RECIPES': str(tmp_path/'own.py'), 'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0 and 'the hook hears' in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
    assert not [p for p in tmp_path.rglob('*') if 'zqxw' in p.name]
    read, lost = read_rows(text/'instructions.parquet'), [r for r in read_rows(text/'rejects.parquet') if not r['messages']]
    assert [r['messages_source'][0]['content'] for r in read] == HOSTILE[:-1]
    assert {(r['messages_source'][0]['content'], r['reason']) for r in lost} == {(HOSTILE[-1], 'control characters')}
    made_of = [r for f in (tmp_path/'r/probe/04_corpus').rglob('*.parquet') for r in read_rows(f)]
    assert {r['id'] for r in made_of} == {r['id'] for r in read}


def test_trace_of_a_hostile_row_cannot_move_the_cursor(tmp_path):
    from hala.cli import shown
    assert shown(HOSTILE[-1]) == 'zqxw [2J'


def test_plan_names_no_token_in_its_error():
    with pytest.raises(HalaError) as e: plan('1M', override=f'sft.{TOKEN}=1')
    assert TOKEN not in str(e.value)
