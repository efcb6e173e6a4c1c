"What stages 01, 06 and 07 say of their figures, and `hala compare`, on a finished run."
import importlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from conftest import PROBE, ROOT, hala, made
from safetensors.torch import load_file

from hala.core.arabic import BENCHMARKS, COLUMNS, benchmark_metrics, compare_benchmarks
from hala.core.compare import PUBLISHED, PUBLISHED_TRANSLATION
from hala.core.metrics import interval, mcnemar, non_inferiority
from hala.core.pipeline import Job
from hala.core.plan import weights_in
from hala.core.recipe import HalaError, recipe
from hala.core.store import manifest, read_rows, write_rows
from hala.core.tables import read_jsonl
from hala.core.text import content
from hala.core.world import toy


@pytest.fixture
def job(runs, tmp_path, monkeypatch):
    "A job on the finished run's inputs, in a folder of its own."
    monkeypatch.setenv('HALA_RECIPES', str(PROBE))
    def of(artifact, inputs, **stage):
        r = recipe('probe')
        for name, fields in stage.items(): r = replace(r, **{name: replace(getattr(r, name), **fields)})
        return Job(r, artifact, {role: made(runs, a) for role, a in inputs.items()}, tmp_path, {}, ())
    return of


def test_fp8_is_tested_and_told_in_the_manifest(runs):
    there = made(runs, '01_compress'); told = manifest(there); said = told['non_inferiority']
    references = {r['id']: content(r['messages']) for r in read_rows(made(runs, 'text')/'translation.parquet')}
    rows = read_rows(there/'translations.parquet')
    by = {m: {r['id']: content(r['messages']) for r in rows if r['model'] == m} for m in ('teacher_fp8', 'teacher_float')}
    assert list(by['teacher_fp8']) == list(by['teacher_float']) and {r['source'] for r in rows} == {'world/catalog', 'world/unseen'}
    again = non_inferiority(*(list(x.values()) for x in by.values()), [references[i] for i in by['teacher_fp8']], 50.)
    assert said['met'] and (said['n'], said['asked'], said['margin']) == (8, 8, 50.) and said['low'] == again.low and said['power'] == again.power
    q, weights = told['quantised'], load_file(there/'model'/'model.safetensors')
    assert {n for n, w in weights.items() if w.dtype == torch.float8_e4m3fn} == set(q['matrices']) and not set(q['matrices']) & set(q['left'])
    assert set(q['error_by_layer']) == {'0', '1'} and all(0 < e < 1/16 for e in q['error_by_layer'].values())
    assert q['bytes']['teacher_fp8'] == (there/'model'/'model.safetensors').stat().st_size < q['bytes']['teacher_float']


def test_each_matrix_by_itself_has_the_error_of_both_models_whole(runs):
    "The figures of the run, to the bit, from all tensors at once."
    before, after = (load_file(made(runs, a)/'model'/'model.safetensors') for a in ('teacher', '01_compress'))
    said = json.loads((made(runs, '01_compress')/'errors.json').read_text())
    assert {e['name'] for e in said} == {n for n, w in after.items() if w.dim() > 1 and not n.endswith('_scale')}
    for e in said:
        if (w := after[e['name']]).dtype != torch.float8_e4m3fn: assert e['error'] is None; continue
        exact = before[e['name']].float(); rounded = w.float()*after[e['name']+'_scale'].float()
        assert e['error'] == ((rounded-exact).norm()/exact.norm()).item()


def test_stage_01_fails_where_a_loss_of_the_margin_is_not_ruled_out(job, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from hala.compress import make
    j = job('01_compress', dict(text='text', teacher='teacher'), compress=dict(margin=1e-6, sentences=200))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(j.inputs['teacher']/'model'), AutoTokenizer.from_pretrained(j.inputs['teacher']/'model')
    torch.manual_seed(3)
    for name, p in model.named_parameters(): # one that says something else each time, so that rounding changes what it says
        if p.dim() == 2 and 'embed' not in name: p.data.normal_(0, .5)
    for part in (model, tokenizer): part.save_pretrained(tmp_path/'loud'/'model')
    j.inputs['teacher'] = tmp_path/'loud'
    with pytest.raises(HalaError, match=r'NOT met.*compress\.margin') as e: make(j)
    assert '\n' not in str(e.value) and not j.report
    assert len(read_rows(j.out/'translations.parquet')) == 400 and not json.loads((j.out/'non_inferiority.json').read_text())['met']


@pytest.mark.parametrize('override, says', [
    ('compress.margin=0', 'above 0'), ('merge.choose=worst', "'fixed'"), ('merge.t=2', 'from 0'), ('merge.sweep=[0.5,-1]', 'from 0')])
def test_a_recipe_that_cannot_be_is_refused_before_anything_runs(override, says):
    with pytest.raises(HalaError, match=says): recipe('1M', override)


def test_the_best_merge_is_the_one_with_the_best_validation_score(runs, job):
    from hala.merge import make, merge
    roles = dict(base='base-probe', tuned='05_sft', benchmarks='benchmarks')
    j = job('06_merge', roles, merge=dict(choose='best', sweep=(.25, .75)))
    make(j)
    score = {}
    for p in json.loads((j.out/'front.json').read_text()):
        assert p['low'] <= p['value'] <= p['high']
        if p['method'] == 'slerp': score[p['t']] = score.get(p['t'], 0)+p['value']
    t = j.report['chosen']['t']
    assert set(score) == {.25, .5, .75} and score[t] == max(score.values()) and all(m['split'] == 'validation' for m in j.report['metrics'])
    again = merge(j.inputs['base']/'model', j.inputs['tuned']/'model', t, j.out/'again')
    one, other = (load_file(d/'model.safetensors') for d in (j.out/'model', again))
    assert all(torch.equal(one[n], other[n]) for n in one)
    table = json.loads((j.out/'linear.json').read_text())
    assert len(table) == 6 and all(c['low'] <= c['delta'] <= c['high'] for c in table)
    assert manifest(made(runs, '06_merge'))['chosen'] == dict(t=.5, method='slerp', choose='fixed')


def test_every_cell_has_an_interval_and_every_pair_a_test(runs):
    for artifact in ('03_translator', '07_evaluate'):
        for m in manifest(made(runs, artifact))['metrics']: assert m['low'] <= m['value'] <= m['high'], m
    there = made(runs, '07_evaluate'); said = manifest(there)['comparisons']
    items = read_jsonl(there/'items.jsonl')
    pairs = {(c['a_model'], c['b_model'], c['task'], c['lang']): c for c in said['answers']}
    assert len(pairs) == 3*(2*4+1)
    for (a, b, task, lang), c in pairs.items():
        assert c['p_holm'] >= c['p'] and (c['mark'] == 'indistinguishable') == (c['p_holm'] >= .05)
        if 'own words' not in task:
            of = ([o for o in items if (o['model'], o['task'], o['lang']) == (m, task, lang)] for m in (a, b))
            assert c['p'] == mcnemar(*of)[2]
    assert {(c['a_model'], c['b_model'], c['task'], c['lang'], c['n'], c['left_out']) for c in said['translations']} == {
        (a, b, task, lang, n, alone) for task in ('catalog', 'unseen')
        for a, b, lang, n, alone in (('translator', 'translator_base', 'ar', 8, 0), ('teacher_fp8', 'translator', 'ar', 4, 4),
                                     ('teacher_fp8', 'teacher_float', 'ar', 4, 0), ('teacher_fp8', 'teacher_float', 'en', 4, 0))}
    def english(d): return {(m['model'], m['task']): m['value'] for m in manifest(d)['metrics'] if (m['name'], m['lang']) == ('chrf', 'en')}
    assert english(there) == english(made(runs, '01_compress')) and len(english(there)) == 4  # Arabic to English: the figures of stage 01
    each = read_jsonl(there/'translation_scores.jsonl')
    assert len(each) == 2*2*(8+4) and {k for s in each for k in s} == {'id', 'model', 'task', 'lang', 'chrf', 'bleu', 'rouge', 'exact'}


def test_test_rows_that_were_held_out_of_training_data_are_scored_too(runs, tmp_path, capsys):
    "A recipe that holds out training data has test rows in a second table: 07 finds their references there, and names rows that one model lacks."
    from hala.evaluate import both_ways, translation_comparisons, translation_metrics
    text, folders = tmp_path/'text', [made(runs, '01_compress'), made(runs, '03_translator')]
    rows = read_rows(made(runs, 'text')/'translation.parquet'); text.mkdir()
    lone = next(r['id'] for r in read_rows(folders[0]/'translations.parquet') if r['split'] == 'test')
    write_rows(text/'translation.parquet', [r for r in rows if r['id'] != lone]); write_rows(text/'held_out.parquet', [r for r in rows if r['id'] == lone])
    done, references = both_ways(folders, text)
    found, each = translation_metrics(done, references)
    of = {(m['name'], m['model'], m['task'], m['lang']): m['value'] for m in manifest(made(runs, '07_evaluate'))['metrics']}
    assert {s['lang'] for s in each if s['id'] == lone} >= {'ar'} and all(m['value'] == of[m['name'], m['model'], m['task'], m['lang']] for m in found)
    capsys.readouterr()
    less = translation_comparisons([r for r in done if (r['id'], r['model']) != (lone, 'teacher_float')], references)
    short = [c for c in less if c['left_out'] and (c['b_model'], c['lang']) == ('teacher_float', 'ar')]
    assert [(c['n'], c['left_out']) for c in short] == [(3, 1)]
    assert f'1 rows are of teacher_fp8 or teacher_float alone and left out of their comparison, first {lone}' in capsys.readouterr().out


def test_the_papers_t_is_scored_whatever_the_sweep_and_chosen_only_where_named(job):
    from hala.merge import make
    j = job('06_merge', dict(base='base-probe', tuned='05_sft', benchmarks='benchmarks'), merge=dict(choose='best', t=.25, sweep=()))
    make(j)
    assert {p['t'] for p in json.loads((j.out/'front.json').read_text()) if p['method'] == 'slerp'} == {.25, .5} and j.report['chosen']['t'] == .25


def test_a_model_without_a_chat_template_is_named(tmp_path):
    from hala.core.engine import Sampling, engine
    from hala.evaluate import lighteval
    model, tokenizer = toy()
    tokenizer.chat_template = None; model.save_pretrained(tmp_path/'bare'); tokenizer.save_pretrained(tmp_path/'bare')
    (tmp_path/'q.jsonl').write_text(json.dumps(dict(id='1', question='q', choices=['a', 'b'], answer=0)))
    with pytest.raises(HalaError, match='bare: no chat template'): lighteval(tmp_path/'bare', {'q': tmp_path/'q.jsonl'}, tmp_path/'out')
    with engine('hf', tmp_path/'bare') as e:
        with pytest.raises(HalaError, match='bare: no chat template'): e.generate([[dict(role='user', content='q')]], Sampling(2))


def test_compare(runs, tmp_path):
    same = hala('compare', 'probe', 'probe/main', '--runs', runs)
    assert same.startswith('the same artifacts') and '39 more figures are equal' in same, same
    for words, says in ((['probe', 'other'], "'other' is no run"), (['probe'], 'two runs'), ([made(runs, 'text'), made(runs, '05_sft')], 'nothing is in both')):
        said = hala('compare', *words, '--runs', runs, code=1)
        assert says in said and len(said.strip().splitlines()) == 1
    cut = shutil.copytree(made(runs, '07_evaluate'), tmp_path/'07_evaluate'/'cut')
    lines = (cut/'items.jsonl').read_text().splitlines(); gone = json.loads(lines.pop(3))
    (cut/'items.jsonl').write_text('\n'.join(lines))
    said = hala('compare', made(runs, '07_evaluate'), cut, code=1)
    assert '1 questions were asked of one model only' in said and str(gone['item']) in said


def compared(a, b):
    return json.loads(hala('compare', a, b, '--json'))


def test_compare_reads_the_arabic_benchmarks(runs, tmp_path):
    "Two versions of stage 07 that differ in what the tuned model makes of them, one of which was asked one more."
    def version(key, names, right):
        there = shutil.copytree(made(runs, '07_evaluate'), tmp_path/'07_evaluate'/key)
        items = [dict(model='tuned', task=n, subset=s, column=c, lang='ar', split='test', item=str(i), gold=0, correct=i < right)
                 for n in names for s in BENCHMARKS[n].subsets for c in COLUMNS for i in range(4)]
        (there/'arabic_items.jsonl').write_text(''.join(json.dumps(o)+'\n' for o in items))
        return there, items
    (a, x), (b, y) = version('a', ('aratrust', 'arabic_exams'), 1), version('b', ('aratrust', 'arabic_exams', 'madinah_qa'), 3)
    said = compared(a, b); found = {c['task']: c for c in said['figures']}
    assert set(found) == {'aratrust', 'arabic_exams', 'mean of 2'} and all((c['a'], c['b'], c['delta']) == (.25, .75, .5) for c in found.values())
    corrected = [[o for o in s if (o['column'], o['task']) == ('corrected', 'aratrust')] for s in (y, x)]
    assert found['aratrust']['p'] == compare_benchmarks(*corrected, ('aratrust',))['aratrust'].p
    ends = {m['task']: (m['low'], m['high']) for m in benchmark_metrics(x, ('arabic_exams', 'aratrust')) if m['name'] == 'corrected'}
    assert (found['aratrust']['a_low'], found['aratrust']['a_high']) == ends['aratrust']
    assert said['alone'] == [dict(side='B', model='tuned', task='madinah_qa', lang='ar')]
    assert 'only in B: tuned (madinah_qa ar)' in hala('compare', a, b)


def test_compare_reads_translations_both_ways_and_added_references(copied):
    "Into English as into Arabic; and a test sentence among the references that were added for stage 01."
    one, text = made(copied, '01_compress'), made(copied, 'text')
    row = read_rows(text/'translation.parquet')[0]
    added = dict(row, id='added', split='test', source='world/added')
    write_rows(text/'held_out.parquet', [added])
    rows = read_rows(one/'translations.parquet')
    write_rows(one/'translations.parquet', [*rows, *(dict(added, model=m) for m in ('teacher_float', 'teacher_fp8'))])
    other = shutil.copytree(one, one.parent/'f00f00f00f00f00f')
    back = read_rows(other/'translations_en.parquet')
    write_rows(other/'translations_en.parquet', [dict(r, messages=r['messages_source']) if r['model'] == 'teacher_fp8' else r for r in back])
    said = compared(one, other)
    assert {(c['model'], c['lang'], c['metric']) for c in said['figures']} == {('teacher_fp8', 'en', 'chrf')} and said['alone'] == []
    asked = {r['id']: content(r['messages_source']) for r in read_rows(text/'translation.parquet')}
    for c in said['figures']:
        texts = {r['id']: content(r['messages']) for r in back if (r['model'], r['source'].rsplit('/', 1)[-1]) == ('teacher_fp8', c['task'])}
        value, *ends = interval(list(texts.values()), [asked[i] for i in texts], 'chrf')
        assert c['a'] == pytest.approx(value) and [c['a_low'], c['a_high']] == ends and c['b_low'] <= c['b'] <= c['b_high']
    assert said['same'] == 2*3+2 # the Arabic of both on three sets, the added one among them; the English of the float teacher


def test_compare_names_what_only_one_side_has(copied):
    one = made(copied, '04_corpus'); other = shutil.copytree(one, one.parent/'f00f00f00f00f00f')
    rows = read_rows(other/'corpus.parquet'); gone = rows.pop()
    for name in ('corpus', 'rejects'):
        for f in other.glob(f'{name}*.parquet'): f.unlink()
    write_rows(other/'corpus.parquet', rows); write_rows(other/'more.parquet', [dict(gone, id='new')])
    found = {c['table']: c for c in compared(one, other)['rows']}
    assert (found['corpus']['only_a'], found['corpus']['alone']) == (1, [gone['id']]) and (found['more']['only_b'], found['more']['alone']) == (1, ['new'])
    first, second = copied/'probe'/'probe'/'main', copied/'probe'/'probe'/'less'
    shutil.copytree(first, second)
    there = json.loads((second/'run.json').read_text()); there.pop('06_merge'); (second/'run.json').write_text(json.dumps(there))
    assert 'only in A: 06_merge' in hala('compare', 'probe/main', 'probe/less', '--runs', copied)


def test_only_figures_with_a_source_are_published(runs):
    said = hala('compare', 'probe', '--published', '--runs', runs)
    assert 'Hala-9B' in said and 'translator_base' in said
    for name in ('Llama-3.2', 'Qwen2-', 'Qwen3', 'gemma', 'SILMA', 'Saka', 'command', 'Command', 'LFM2-350M', 'LFM2-700M'): assert name not in said, name
    assert 'ROUGE' not in said and list(PUBLISHED_TRANSLATION.values()) == [(16., 43.2), (48.2, 64.2)]
    assert all(len(row) == 6 for row in PUBLISHED.values())
    for means in ('Yehia-7B-preview 63.9', 'Yehia-7B-Reasoning-preview 64.2', 'Fanar-1-9B-Instruct 69.2', 'Qwen2.5-7B-Instruct 56.9'):
        name, mean = means.split(); line = next(x for x in said.splitlines() if x.startswith(f'{name} ')); assert line.split()[-2] == mean
    unseen = next(m for m in manifest(made(runs, '07_evaluate'))['metrics'] if (m['model'], m['task'], m['name']) == ('translator', 'unseen', 'chrf'))
    line = next(x for x in said.splitlines() if x.startswith('translator ') and ' unseen ' in x)
    assert f"{unseen['value']:.1f} ({unseen['low']:.1f} to {unseen['high']:.1f})" in line


def test_plan(runs, tmp_path):
    def asked(*words): return {r['artifact']: r for r in json.loads(hala('plan', '--size', 'probe', '--runs', runs, '--json', *words))['artifacts']}
    for a, r in asked().items(): assert r['actual'] == manifest(made(runs, a))['seconds'], a
    shorter, was = asked('--set', 'sft.max_steps=10')['05_sft'], manifest(made(runs, '05_sft'))
    assert shorter['actual'] is None and shorter['of'] == f'05_sft/{was["key"][:6]}' and shorter['tokens'] == min(10*1024, was['tokens'])
    assert shorter['seconds'] == pytest.approx(was['seconds']*shorter['tokens']/was['tokens'])
    assert shorter['parameters'] == weights_in(made(runs, '05_sft')) # counted by a formula, and in the file
    said = hala('plan', '--size', 'probe', '--runs', runs, '--price', 2)
    assert 'at 2 an hour' in said and 'memory' in said
    refused = hala('plan', '--size', 'probe', '--runs', tmp_path, code=1)
    assert 'nothing like text' in refused and len(refused.strip().splitlines()) == 1
    assert 'reference' in hala('plan', '--size', '1M', '--runs', tmp_path)


def test_a_calibration_measures_this_machine_and_later_plans_know(tmp_path, runs):
    from hala.core.pipeline import plan
    from hala.core.plan import calibrate, planned, reference
    p = plan('1M', str(tmp_path))
    said = calibrate(p, span=.1)['tiny']
    there = reference()['artifacts']; rates = reference()['calibration']
    assert said['parameters'] == there['base-1M']['parameters'] == rates['parameters'] and said['machine']['cores'] > 0 and 0 < said['seconds']
    assert json.loads((tmp_path/'calibration.json').read_text()) == {'tiny': said}
    rows = {r['artifact']: r for r in planned(p)}
    assert rows['05_sft']['seconds'] == pytest.approx(there['05_sft']['seconds']*rates['train']/said['train'])
    assert rows['07_evaluate']['seconds'] == pytest.approx(there['07_evaluate']['seconds']*rates['generate']/said['generate'])
    assert rows['05_sft']['of'].startswith('reference x ')
    refused = hala('plan', '--size', 'probe', '--runs', runs, '--calibrate', code=1)
    assert 'one finished size of it is its calibration' in refused and len(refused.strip().splitlines()) == 1 and not (runs/'calibration.json').exists()


def test_what_published_models_will_cost(tmp_path):
    "By arithmetic from published rates, where no run is at hand; the largest cost is where it must be."
    told = json.loads(hala('plan', '--size', '9B', '--runs', tmp_path, '--json'))
    rows = {r['artifact']: r for r in told['artifacts']}
    assert {r['of'] for r in rows.values()} == {'published'} and rows['05_sft']['tokens'] == 3*2*250*4_500_000
    assert rows['05_sft']['seconds'] == pytest.approx(6*9e9*rows['05_sft']['tokens']/(.4*989e12))
    assert rows['02_bilingual']['seconds'] > rows['04_corpus']['seconds']
    need = {a: r['memory'] for a, r in rows.items()} # 01 opens a teacher of 111 billion in float, 02 the same in FP8; 05 trains
    assert [need[a] for a in ('01_compress', '02_bilingual', '05_sft', '08_release')] == pytest.approx([1+1.25*222, 1+1.25*111, 1+16*9, 0])
    assert told['totals']['memory'] == need['01_compress'] and 100 < told['totals']['disk'] < 600
    assert 'memory 278.5 GB (01_compress)' in hala('plan', '--size', '9B', '--runs', tmp_path)
    low = json.loads(hala('plan', '--size', '9B', '--runs', tmp_path, '--json', '--set', 'sft.lora=16'))['artifacts']
    assert {r['artifact']: r['memory'] for r in low}['05_sft'] == pytest.approx(1+1.25*2*9) # the weights as they lie


def test_the_engine_asks_for_what_the_plan_said(runs):
    "The memory of 01, as planned from the parameters, and as the engine counts it by the heads of the teacher's files."
    from hala.core.engine import memory_needed
    told = {r['artifact']: r for r in json.loads(hala('plan', '--size', 'probe', '--runs', runs, '--set', 'compress.sentences=7', '--json'))['artifacts']}
    opened = memory_needed(made(runs, 'teacher')/'model')
    assert told['01_compress']['memory'] == pytest.approx(1 + opened/1e9, rel=1e-6) and told['text']['memory'] == 0


def recorded(name):
    return json.loads((ROOT/'docs'/'results'/f'{name}.json').read_text(encoding='utf-8'))


def test_the_reference_is_of_the_recipe_that_is_recorded():
    "Where nothing was made, a plan of 1M foresees the tokens that 1M's recorded trainings took."
    from hala.core.plan import reference
    there = reference()['artifacts']
    for a, took in recorded('tiny-1M')['trained'].items(): assert there[a]['tokens'] == took['tokens'], a


def test_a_plan_was_within_a_fifth_of_what_a_run_took():
    "As bench/plan.py recorded it, on a machine that was measured for two minutes."
    said = recorded('plan'); rows, total = said['artifacts'], said['total']
    assert list(rows) == list(recorded('plan-reference')['artifacts'])
    for k in ('by_reference', 'calibrated', 'actual'): assert sum(r[k] for r in rows.values()) == pytest.approx(total[k], abs=.1)
    assert abs(total['calibrated']/total['actual']-1) < .2
    assert total['calibrated_off_percent'] == pytest.approx(100*(total['calibrated']/total['actual']-1), abs=.1)


def test_a_run_is_recorded_beside_its_plan_and_as_the_next_reference(runs, tmp_path, monkeypatch):
    "bench/plan.py on a finished run: of a family whose finished size is its calibration it says so; of artifacts, all of them."
    monkeypatch.setenv('HALA_RECIPES', str(PROBE)); monkeypatch.syspath_prepend(ROOT/'bench')
    module = importlib.import_module('plan')
    actual, where = module.made('probe', str(runs))
    assert {a: r['seconds'] for a, r in actual.items()} == {a: manifest(made(runs, a))['seconds'] for a in actual} and where['cores'] > 0
    assert actual['05_sft']['parameters'] == weights_in(made(runs, '05_sft'))
    with pytest.raises(HalaError, match='nothing like text'): module.compared('probe', str(runs), .1) # no reference is of this family
    with pytest.raises(SystemExit, match='not finished, text is missing'): module.made('1M', str(tmp_path))


def test_a_wheel_carries_the_reference(tmp_path):
    "Beside the notebooks, where a plan outside a checkout looks for it."
    shutil.copytree(ROOT, tmp_path/'copy', ignore=shutil.ignore_patterns('.git', '.venv*', 'runs', '_build', '__pycache__'))
    subprocess.run([sys.executable, 'setup.py', 'build', '--build-lib', tmp_path/'lib'], cwd=tmp_path/'copy', check=True, capture_output=True)
    (tmp_path/'away').mkdir()
    said = subprocess.run([sys.executable, '-m', 'hala.cli', 'plan', '--size', '1M', '--runs', tmp_path/'none'], cwd=tmp_path/'away', text=True,
                          capture_output=True, env={**os.environ, 'PYTHONPATH': str(tmp_path/'lib')})
    assert said.returncode == 0 and 'reference' in said.stdout, said.stderr


def test_the_teachers_are_scored_from_arabic_to_english_too(runs):
    there = made(runs, '01_compress')
    back, each = read_rows(there/'translations_en.parquet'), read_jsonl(there/'scores_en.jsonl')
    assert len(back) == len(each) == 2*(4+4) and {k for s in each for k in s} == {'id', 'model', 'task', 'lang', 'chrf', 'bleu', 'rouge', 'exact'}
    asked = {r['id']: r for r in read_rows(made(runs, 'text')/'translation.parquet')}
    assert all(r['messages_source'] == asked[r['id']]['messages'] for r in back)
    told = {(m['model'], m['task'], m['name']) for m in manifest(there)['metrics'] if m['lang'] == 'en'}
    assert told == {(m, t, n) for m in ('teacher_float', 'teacher_fp8') for t in ('unseen', 'catalog') for n in ('chrf', 'bleu', 'rouge', 'exact')}
