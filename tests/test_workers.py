"One artifact filled by many: processes, shards of an array of jobs, tasks of Ray; the bytes are those of one process, whoever dies."
import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import PROBE, ROOT, files, hala, made, without

from hala.core import store, workers
from hala.core.pipeline import plan
from hala.core.recipe import HalaError
from hala.core.store import listing, manifest, parquet, read_rows, write_manifest, write_rows

FEW = ROOT/'tests'/'few.py' # parts of 250 rows: five of them in 04
MODULES = {'02': 'bilingual', '04': 'corpus'}
ARTIFACTS = {'02': '02_bilingual', '04': '04_corpus'}


def module(stage, runs, **environment):
    "A stage in one process."
    done = subprocess.run([sys.executable, '-m', f'hala.{MODULES[stage]}', '--size', 'probe', '--runs', str(runs)], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, 'HALA_RECIPES': str(FEW), **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout


def emptied(runs, folder, stage):
    "A copy of a finished run without the artifact of a stage and without any answer, and with a quarter of the instructions."
    shutil.copytree(runs, folder)
    text = made(folder, 'text')
    write_rows(text/'instructions.parquet', read_rows(text/'instructions.parquet')[::4])
    write_manifest(text, manifest(text) | dict(files=listing(text)))
    shutil.rmtree(folder/'probe'/'rows')
    without(folder, ARTIFACTS[stage])
    return folder


def answers(runs):
    "The row store: key -> what was answered, once or several times; the parts; and the logs that are left."
    rows, found = runs/'probe'/'rows', {}
    for part in rows.glob('*/*.parquet'):
        for r in parquet(part).read().to_pylist(): found.setdefault(r.pop('key'), []).append(r)
    return found, sorted(p.name for p in rows.glob('*/*.parquet')), list(rows.glob('*/*.log'))


@pytest.fixture(scope='module')
def alone(runs, tmp_path_factory):
    "What one process makes of 04: the artifact, and its answers."
    folder = emptied(runs, tmp_path_factory.mktemp('alone')/'runs', '04')
    module('04', folder)
    return files(made(folder, '04_corpus')), answers(folder)


def same(folder, alone, stage='04'):
    """Equal bytes of the artifact, equal answers. Which part holds a sentence that two parts ask for depends on who came first; so it may be asked twice.
    (A model that has learned nothing is asked again for nearly every text, sentence by sentence: 17 % of its answers are there twice.)"""
    (found, parts, logs), (whole, others, _) = answers(folder), alone[1]
    assert files(made(folder, ARTIFACTS[stage])) == alone[0] and len(parts) == len(others) >= 5 and not logs
    assert found.keys() == whole.keys() and all(x == y[0] for key, some in found.items() for x in some for y in [whole[key]])
    assert max(map(len, found.values())) <= 2 # of two workers each asks once


def test_hala_run_with_workers(runs, alone, tmp_path):
    folder = emptied(runs, tmp_path/'runs', '04')
    said = hala('run', '--size', 'probe', '--runs', folder, '--from', '04', '--to', '04', '--workers', '2', HALA_RECIPES=str(FEW))
    assert '04 corpus: 2 workers' in said and 'worker 0' not in said
    same(folder, alone)


def test_02_by_workers_and_by_shards(runs, tmp_path):
    "Its two tables, of which one is scored too, in parts of 50 rows: the bytes of one process, whether two workers take what is free or each its shard."
    smaller = tmp_path/'smaller.py'
    smaller.write_text(f"import runpy\nRECIPES = runpy.run_path({str(FEW)!r})['RECIPES']\nfrom hala.core import store\nstore.SLICE = 50\n")
    def run(folder, *more):
        return hala('run', '--size', 'probe', '--runs', folder, '--from', '02', '--to', '02', *more, HALA_RECIPES=str(smaller))
    one, two, three = (emptied(runs, tmp_path/name/'runs', '02') for name in ('one', 'two', 'three'))
    module('02', one, HALA_RECIPES=str(smaller))
    alone = files(made(one, '02_bilingual')), answers(one)
    said = run(two, '--workers', '2')
    assert '02 bilingual: 2 workers' in said and 'worker 0' not in said
    same(two, alone, '02')
    for n in '01': assert f'02_bilingual: shard {n}/2 is done' in run(three, '--shard', f'{n}/2')
    filled = answers(three)
    run(three)
    assert answers(three) == filled
    same(three, alone, '02')


NOTING = """
import os, runpy, time
from pathlib import Path
from hala.core import engine
RECIPES, notes, plain = runpy.run_path({probe!r})['RECIPES'], Path({notes!r}), engine.Hf.generate
def generate(e, prompts, *more, **how):
    if len(prompts) > 99: # not an example of the notebook
        with open(notes/str(os.getpid()), 'a') as f: f.write(f'{{len(prompts)}}\\n')
        for _ in range(1200): # until the other has begun, too
            if len(list(notes.iterdir())) >= {workers}: break
            time.sleep(.1)
    return plain(e, prompts, *more, **how)
if plain.__module__ != 'noting': generate.__module__ = 'noting'; engine.Hf.generate = generate
"""


def test_a_small_table_is_shared(runs, tmp_path):
    "3,000 short rows and the sizes that everybody has: both workers answer, no text is asked twice, and the bytes are those of one process."
    def run(name, workers):
        folder, notes, recipes = tmp_path/name/'runs', tmp_path/name/'notes', tmp_path/name/'noting.py'
        emptied(runs, folder, '04'), notes.mkdir()
        text = made(folder, 'text')
        rows = [r for r in read_rows(text/'instructions.parquet') if len(r['messages_source']) == 2][:1]*3000
        def short(r, n): return dict(r, id=f'{n}', source_id=f'{n}', messages_source=[dict(m, content=f"{m['role']} {n}") for m in r['messages_source']])
        write_rows(text/'instructions.parquet', [short(r, n) for n, r in enumerate(rows)])
        write_manifest(text, manifest(text) | dict(files=listing(text)))
        recipes.write_text(NOTING.format(probe=str(PROBE), notes=str(notes), workers=workers))
        said = hala('run', '--size', 'probe', '--runs', folder, '--from', '04', '--to', '04', '--workers', workers, HALA_RECIPES=str(recipes))
        return folder, said, [sum(map(int, f.read_text().split())) for f in notes.iterdir()]
    (one, _, [asked]), (two, said, shares) = run('one', 1), run('two', 2)
    assert '04 corpus: 2 workers' in said and 'work for' not in said
    assert len(shares) == 2 and sum(shares) == asked and min(shares) > 500, shares
    same(two, (files(made(one, '04_corpus')), answers(one)))
    assert max(map(len, answers(two)[0].values())) == 1


def test_no_more_workers_than_pieces(runs, monkeypatch, capsys):
    monkeypatch.setenv('HALA_RECIPES', str(PROBE))
    monkeypatch.setenv('HALA_WORKERS', '3')
    p, started = plan('probe', str(runs)), []
    monkeypatch.setattr(workers, 'fill_here', lambda p, stage, override, there: started.append(len(there)))
    workers.fill(p, '02', '') # 100 and 200 pairs
    assert not started and '02 bilingual: there is work for 1 of 3 workers' in capsys.readouterr().out
    monkeypatch.setattr(store, 'SLICE', 120)
    workers.fill(p, '02', '')
    assert started == [2] and '02 bilingual: there is work for 2 of 3 workers' in capsys.readouterr().out


def slurm():
    "The command lines of the tutorial's array script."
    said = ''.join(c for cell in json.loads((ROOT/'nbs/tutorials/gpu_server.ipynb').read_text())['cells'] for c in cell['source'])
    return [line for line in said.splitlines() if line.startswith('hala run') and '--from 04 --to 04' in line and '--on' not in line]


def test_an_array_of_jobs(runs, alone, tmp_path):
    "The lines of the script for Slurm, with the variable that Slurm sets: two jobs instead of eight, then the one that decides."
    folder, commands = emptied(runs, tmp_path/'runs', '04'), slurm()
    assert ['--shard' in c for c in commands] == [True, False]
    def job(command, **variables):
        words = shlex.split(re.sub(r'\$(\w+)', lambda m: variables[m[1]], command).replace('--size 1.2B', '--size probe').replace('/8', '/2'))
        return hala(*words[1:], '--runs', folder, HALA_RECIPES=str(FEW))
    for n in '01':
        said = job(commands[0], SLURM_ARRAY_TASK_ID=n)
        assert f'04_corpus: shard {n}/2 is done' in said and not list((folder/'probe/04_corpus').glob('*/manifest.json'))
    filled = answers(folder)
    job(commands[1])
    assert answers(folder) == filled # who decides asks nothing
    same(folder, alone)


def test_what_a_worker_cannot_do_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv('HALA_RECIPES', str(FEW))
    for words, says in ((['--shard', '9/8', '--from', '04', '--to', '04'], 'write I/N'), (['--shard', '0/8'], 'add --from 04 --to 04'),
                        (['--shard', '0/8', '--from', '04', '--to', '04'], 'which stage 00'),
                        (['--shard', '0/8', '--from', '04', '--to', '04', '--adopt', '03=/nonexistent', '--workers', '2'],
                         'hala: --shard 0/8 only answers rows: give --adopt, --workers to a command without --shard'), (['--workers', '-1'], '--workers -1'),
                        (['--tensor-parallel', '2'], 'hala: --tensor-parallel 2: there is no GPU here\n'),
                        (['--engine', 'gguf'], 'there are hf and vllm'), (['--engine', 'openai'], '--engine openai: a run opens models and asks no server')):
        assert says in hala('run', '--size', 'probe', '--runs', tmp_path, *words, code=1)
    said = hala('run', '--size', 'probe', '--runs', tmp_path, code=1, HALA_ENGINE='openai')
    assert said.startswith('hala: HALA_ENGINE openai: a run') and '--adopt 04=' in said and len(said.splitlines()) == 1
    with pytest.raises(HalaError, match='which stage 00'): workers.fill_here(plan('probe', str(tmp_path)), '04', '', [{}])


def test_who_decides_has_the_engine_of_the_tasks(tmp_path, monkeypatch):
    "vLLM, in an environment of its own, is what GPUs mean: the driver of Ray's tasks knows that when it starts them, as does what it decides with."
    monkeypatch.setenv('HALA_ENGINE', '')
    monkeypatch.setenv('HALA_ON', 'ray')
    monkeypatch.setattr(workers, 'gpus', lambda: ['0'])
    monkeypatch.setattr(workers, 'pythons', lambda: [sys.executable, 'other'])
    monkeypatch.setattr(workers, 'has_vllm', lambda python: python == 'other')
    told = []
    monkeypatch.setattr(workers, 'fill_on_ray', lambda *words: told.append(os.environ['HALA_ENGINE']))
    workers.fill(None, '04', '')
    assert told == ['vllm'] == [os.environ['HALA_ENGINE']]


@pytest.mark.parametrize('dies, why', [('kill -9 $$', workers.Killed), ('exit 1', HalaError)])
def test_a_part_that_was_killed_may_be_tried_elsewhere(runs, tmp_path, monkeypatch, dies, why):
    "By its class, for which Ray starts a task again; what a part says of itself would be said everywhere."
    python = tmp_path/'python'
    python.write_text(f'#!/bin/sh\n{dies}\n')
    python.chmod(0o755)
    monkeypatch.setenv('HALA_RECIPES', str(FEW))
    [spec] = workers.specs(plan('probe', str(runs)), '04', '')[:1]
    monkeypatch.setattr(sys, 'executable', str(python))
    with pytest.raises(HalaError, match='part 0 of 04_corpus') as e: workers.fill_part(spec)
    assert type(e.value) is why is type(pickle.loads(pickle.dumps(e.value)))


@pytest.mark.parametrize('here, theirs, says', [([], 8, 'the cluster has GPUs and this node has none'),
                                                 (['0'], 0, 'the cluster has no GPU and this node has some')])
def test_a_driver_that_would_find_no_answer_is_refused(monkeypatch, here, theirs, says):
    "By Ray's own count, before a task starts; the connection is closed."
    closed = []
    ray = SimpleNamespace(init=lambda **k: None, cluster_resources=lambda: dict(GPU=theirs) if theirs else {}, shutdown=lambda: closed.append(True))
    monkeypatch.setitem(sys.modules, 'ray', ray)
    monkeypatch.setattr(workers, 'gpus', lambda: here)
    with pytest.raises(HalaError, match=f'^--on ray: {says}; answers are known by engine and dtype, so start this on a node like its workers$'):
        workers.fill_on_ray(None, '04', '', 1)
    assert closed
