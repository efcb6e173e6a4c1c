"From a row, an artifact or a figure back to its sources; and every way in which a finished run can be torn, found and named."
import json
import os
import re
import shutil
import subprocess
import sys
import time

import pytest
from conftest import PROBE, hala, made

from hala.core.pipeline import RESULTS
from hala.core.store import read_rows


def traced(runs, what, *more): return json.loads(hala('status', '--runs', runs, '--trace', what, '--json', *more))


def rows(folder): return [r for f in sorted(folder.glob('*.parquet')) for r in read_rows(f)]


def test_trace_of_a_row_by_the_start_of_its_id(runs):
    "Every corpus row, by four rows: its source, revision, source row and licence, and the model that translated it."
    corpus = made(runs, '04_corpus')
    for r in rows(corpus)[::1000]:
        t = traced(runs, r['id'][:10], '--size', 'probe')
        assert {k: t['row'][k] for k in ('id', 'source', 'source_id', 'revision', 'licence')} == {
            k: r[k] for k in ('id', 'source', 'source_id', 'revision', 'licence')} and r['revision'] and r['licence'] == 'Unicode-3.0'
        assert t['made_by'] == f"03_translator {made(runs, '03_translator').name}" and t['forbids'] == []
        assert {f['artifact'] for f in t['found']} >= {'text', '04_corpus'} and t['story']['key'] == corpus.name
        assert t['story']['inputs']['translator']['inputs']['pairs']['artifact'] == '02_bilingual'


def test_trace_is_read_on_one_screen(runs):
    first = rows(made(runs, '04_corpus'))[0]
    for what in (first['id'], '08_release', made(runs, '07_evaluate').name[:8], 'translator_chrf'):
        said = hala('status', '--runs', runs, '--size', 'probe', '--trace', what).rstrip('\n').splitlines()
        assert len(said) <= 50 and max(map(len, said)) <= 150, what
        assert any(line.startswith('source ') for line in said) and said[-1] == 'nothing is forbidden, by the names of these licences'


@pytest.mark.parametrize('name', RESULTS)
def test_trace_of_every_figure(runs, name):
    "The rows behind a figure are there, and can be traced themselves where they are rows of a text artifact."
    from hala.core.provenance import trace
    t = trace(name, runs, runs/'probe/probe/main')
    figures = json.loads((runs/'probe/probe/main/results.json').read_text())
    assert round(t['metric']['value'], 4) == figures[name] and t['rows'], name
    assert sum(f['rows'] for f in t['rows']) >= t['metric']['n']
    if t['rows'][0]['file'].endswith('.parquet'): assert trace(t['rows'][0]['examples'][0], runs)['row']['licence']


@pytest.mark.parametrize('what, says', [('nothing', 'is called'), ('05_sfd', 'is called'), ('abc', 'at least four characters')])
def test_trace_of_what_is_not_there(runs, what, says):
    said = hala('status', '--runs', runs, '--size', 'probe', '--trace', what, code=1)
    assert says in said and len(said.strip().splitlines()) == 1


def test_trace_and_verify_import_nothing_heavy(runs):
    asked = [['--trace', what] for what in ('04_corpus', 'translator_chrf', 'tuned_ar_acc', made(runs, '05_sft').name, rows(made(runs, '04_corpus'))[0]['id'])]
    code = ('import sys; from hala.cli import main\n'
            f'for what in {[*asked, ["--verify"]]}: main(["status", "--runs", {str(runs)!r}, "--size", "probe", *what])\n'
            'assert not {"torch", "transformers", "datasets", "pandas"} & set(sys.modules), "heavy"')
    subprocess.run([sys.executable, '-c', code], check=True, env={**os.environ, 'HALA_RECIPES': str(PROBE)}, stdout=subprocess.DEVNULL)


def test_a_finished_run_is_as_it_was_made(runs):
    for more in ((), ('--size', 'probe')):
        assert re.match(r'13 artifacts, \d+ files, [\d.]+ MB: all as it was made', hala('status', '--runs', runs, '--verify', *more))


def cut(path): path.write_bytes(path.read_bytes()[:-1-path.stat().st_size//3])
def empty(path): path.write_bytes(b'')
def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data)//2] ^= 1
    path.write_bytes(data)
def delete(path): path.unlink()


@pytest.mark.parametrize('tear', [cut, empty, flip, delete])
def test_every_torn_file_is_named(copied, tear):
    "One file of every artifact at a time, its own names in the line; put back, all is well again."
    from hala.core.provenance import verify
    artifacts = [d.parent for d in sorted(copied.rglob('manifest.json'))]
    for d in artifacts:
        files = sorted(f for f in d.rglob('*') if f.is_file() and f.stat().st_size)
        path = next((f for f in files if f.suffix in ('.parquet', '.safetensors', '.jsonl')), files[0])
        whole = path.read_bytes()
        tear(path)
        found = verify(copied)['differences']
        path.write_bytes(whole)
        assert [x['where'] for x in found] == [d.relative_to(copied).as_posix()] and found[0]['what'].startswith(f'{path.relative_to(d)} '), (path, found)
    assert not verify(copied)['differences']


def test_verify_names_each_difference_and_ends_with_1(copied):
    corpus, sft, home = made(copied, '04_corpus'), made(copied, '05_sft'), copied/'probe/probe/main'
    (corpus/'notes.txt').write_text('mine')
    cut(corpus/'manifest.json')
    man = json.loads((sft/'manifest.json').read_text())
    (sft/'manifest.json').write_text(json.dumps({**man, 'recipe': {**man['recipe'], 'learning_rate': 1.0}}))
    results = json.loads((home/'results.json').read_text())
    (home/'results.json').write_text(json.dumps({**results, 'merged_ar_acc': 0.99}))
    shutil.rmtree(made(copied, 'benchmarks'))
    said = hala('status', '--runs', copied, '--verify', code=1).splitlines()
    assert any(line.startswith(f'probe/04_corpus/{corpus.name}  manifest.json is not JSON') for line in said)
    assert any(line.startswith(f'probe/probe/05_sft/{sft.name}  manifest.json is not what was written') for line in said)
    for reader in ('06_merge', '07_evaluate'): assert any(f'{reader}/' in line and 'made from benchmarks' in line for line in said)
    assert said[-1].startswith('hala: ') and f'{len(said)-1} differences in 12 artifacts' in said[-1]
    as_data = hala('status', '--runs', copied, '--verify', '--json', code=1)
    assert len(json.loads(as_data[:as_data.rindex('}')+1])['differences']) == len(said)-1


def test_figures_that_no_manifest_says(copied):
    home = copied/'probe/probe/main'
    results = json.loads((home/'results.json').read_text())
    (home/'results.json').write_text(json.dumps({**results, 'merged_ar_acc': 0.99}))
    assert f"results.json: merged_ar_acc is 0.99, the manifests say {results['merged_ar_acc']}" in hala('status', '--runs', copied, '--verify', code=1)


def test_status_with_a_size_stays_quick(runs):
    hala('status', '--size', 'probe', '--runs', runs, '--trace', '04_corpus')  # once, for the files' sake
    start = time.perf_counter()
    hala('status', '--size', 'probe', '--runs', runs, '--trace', '04_corpus')
    assert time.perf_counter() - start < 5


def test_a_changed_prompt_makes_exactly_its_rows_stale(runs):
    "And a changed threshold none, though the artifact is made again."
    def stale(change): return {r['artifact']: (r['rows']['stale'], r['rows']['why']) for r in
                               json.loads(hala('status', '--size', 'probe', '--runs', runs, '--json', '--set', change)) if r['rows']}
    generated = {a: sum(g['rows'] for g in json.loads((made(runs, a)/'manifest.json').read_text())['generated']) for a in ('02_bilingual', '04_corpus')}
    assert stale('corpus.seed=1') == dict.fromkeys(generated, (0, []))
    assert stale('corpus.most.empty=0') == dict.fromkeys(generated, (0, []))
    assert stale('corpus.max_tokens=9') == {'02_bilingual': (0, []), '04_corpus': (generated['04_corpus'], ['max_tokens changed'])}
    said = hala('status', '--size', 'probe', '--runs', runs, '--set', 'corpus.max_tokens=9')
    assert f"04_corpus: {generated['04_corpus']} of {generated['04_corpus']} rows are stale (max_tokens changed)" in said
    prompt = stale('bilingual.prompt=Into Arabic: {x}')
    assert prompt['02_bilingual'][0] > 0 and 'prompt changed' in prompt['02_bilingual'][1]
