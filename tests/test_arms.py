"Arms: what each learns from, what is refused, and a table that comes from manifests alone."
import shutil
from collections import Counter

import pytest
from conftest import PROBE, hala, made

from hala.core.arms import (ANSWERS, arm_comparisons, arm_plans, arm_row, arm_rows, arm_translations, begin, line_of, make_side_by_side, need_success,
                            note_runs, overrides, seed, to_make)
from hala.core.pipeline import Job
from hala.core.recipe import HalaError, recipe
from hala.core.store import making, manifest, read_rows, write_rows
from hala.core.text import content
from hala.core.world import facts, letters, questions, reference
from hala.sft import exchanged, to_learn


def test_enough_questions_and_no_fact_on_both_sides():
    asked = questions()
    for lang in ('en', 'ar'):
        ids = {split: {q['id'] for q in asked if (q['lang'], q['split']) == (lang, split)} for split in ('test', 'validation')}
        assert len(ids['test']) >= 320 and len(ids['validation']) >= 160 and not ids['test'] & ids['validation']


def test_every_option_is_right_once_in_its_group():
    "So that no preference for an option, and no letter, scores more than a quarter."
    for found in (questions(), letters()):
        groups = {}
        for q in found: groups.setdefault((q['lang'], q['group']), []).append(q)
        for some in groups.values():
            assert sorted(q['answer'] for q in some) == [0, 1, 2, 3] and len({tuple(q['choices']) for q in some}) == 1


def test_letters_ask_the_same_facts_as_text():
    told = {q['id']: q for q in questions()}
    for q in letters():
        text = told[q['id'].removesuffix('/letters')]
        assert q['split'] == text['split'] and f"{q['answer_text']}. {text['answer_text']}\n" in q['question']


def test_a_territory_is_held_out_with_all_that_tells_where_it_lies():
    where = {}
    for f in facts():
        if f.relation in ('continent', 'time'): where.setdefault(f.territory, set()).add(f.group)
    assert len(where) > 100 and all(len(groups) == 1 for groups in where.values())


def test_exchanged_answers_keep_the_words_and_lose_the_facts():
    rows = reference()
    mixed = exchanged(rows, 1)
    def side(of, i): return [r['messages'][i]['content'] for r in of]
    assert side(mixed, 0) == side(rows, 0) and Counter(side(mixed, 1)) == Counter(side(rows, 1))
    assert sum(a == b for a, b in zip(side(mixed, 1), side(rows, 1), strict=True)) < .05*len(rows)
    for split in ('train', 'validation'):
        before, after = (Counter(r['messages'][1]['content'] for r in of if r['split'] == split) for of in (rows, mixed))
        assert before == after


def test_what_arms_learn_from(runs):
    inputs = dict(corpus=made(runs, '04_corpus'), text=made(runs, 'text'))
    corpus, english = to_learn('machine', inputs, 1), to_learn('english', inputs, 1)
    assert corpus == read_rows(inputs['corpus']/'corpus.parquet')
    assert english and all(r['messages'] == r['messages_source'] for r in english)
    assert [r['id'] for r in to_learn('shuffled', inputs, 1)] == [r['id'] for r in corpus]


def test_a_row_of_the_table_is_what_the_manifest_says(runs):
    metrics = manifest(made(runs, '07_evaluate'))['metrics']
    tuned = next(m for m in metrics if (m['name'], m['task'], m['lang'], m['model']) == ('acc', 'seen', 'ar', 'tuned'))
    row = arm_row('main', metrics)
    assert row['S'] == {k: tuned[k] for k in ('value', 'low', 'high', 'n')} and {'S spoken', 'H', 'chrF++'} <= set(row)
    assert arm_row('base', metrics, 'base')['S'] != {} and 'arm' in row


@pytest.mark.parametrize(('override', 'says'), [('sft.data=french', 'shuffled'), ('sft.data=reference', 'sources.reference')])
def test_data_that_cannot_be_is_refused_in_one_line(tmp_path, override, says):
    said = hala('run', '--size', 'probe', '--runs', tmp_path/'runs', '--set', override, code=1)
    assert says in said and len(said.strip().splitlines()) == 1 and not (tmp_path/'runs').exists()


def test_unknown_arms_are_refused_with_what_there_is(tmp_path):
    assert 'claim' in hala('run', '--size', 'probe', '--runs', tmp_path/'runs', '--arms', 'luck', code=1)
    with pytest.raises(HalaError, match='claim'): arm_plans('1M', which='luck')


def test_an_arm_makes_what_its_figures_need_and_nothing_twice(copied, monkeypatch):
    "Two arms side by side on a finished run; one process is killed first, and the same call goes on."
    monkeypatch.setenv('HALA_RECIPES', str(PROBE))
    some = {name: o for name, o in overrides('claim', 'probe', '').items() if name in ('main', 'shuffled')}
    plans = {name: p for name, p in arm_plans('probe', str(copied)).items() if name in some}
    assert 'reference' not in overrides('claim', 'probe', '') # this family has no exact Arabic
    assert list(to_make(plans).values()) == [('main', ANSWERS), ('shuffled', '05_sft'), ('shuffled', ANSWERS)]
    with pytest.raises(HalaError, match='not evaluated yet: hala run --size probe --arms'): arm_rows(plans)
    child, words, _ = begin(plans['shuffled'], '05_sft', some['shuffled'])
    child.kill(); child.wait()
    with pytest.raises(HalaError, match='killed by signal 9'): need_success(child, words, 'shuffled, 05_sft')
    before = {p: p.stat().st_mtime_ns for p in copied.rglob('manifest.json')}
    make_side_by_side(plans, some, 2)
    note_runs(plans)
    assert (copied/'probe/probe/05_sft/current').read_text().strip() == plans['main'].keys['05_sft'] != plans['shuffled'].keys['05_sft']
    assert to_make(plans) == {} and all(p.stat().st_mtime_ns == t for p, t in before.items())
    rows = arm_rows(plans); told = manifest(made(copied, '07_evaluate'))['metrics']
    assert [r['arm'] for r in rows] == ['base', 'main', 'shuffled'] and rows[1]['learned'] > 0
    assert rows[1] == dict(arm_row('main', told), learned=rows[1]['learned']) # the same model, asked the same by another process
    assert rows[0] == arm_row('base', [m for m in told if m['name'] != 'chrf'], 'base')
    found = arm_comparisons(plans)
    assert {(c['arm'], c['against'], c['task']) for c in found} == {('shuffled', 'main', task) for task in ('seen', 'unseen', 'nowhere')}
    assert all(c['p_holm'] >= c['p'] for c in found) and arm_translations(plans) == [] # they share a translator


def test_translators_of_arms_are_tested_sentence_by_sentence(copied, monkeypatch):
    "An arm with a translator of its own: its chrF++ beside the product's, paired."
    monkeypatch.setenv('HALA_RECIPES', str(PROBE))
    plans = {name: p for name, p in arm_plans('probe', str(copied), which='ablation').items() if name in ('main', 'human-only')}
    main, arm = (plans[name].folder('03_translator') for name in ('main', 'human-only'))
    shutil.copytree(main, arm); rows = read_rows(arm/'translations.parquet')
    refs = {r['id']: content(r['messages']) for r in read_rows(made(copied, 'text')/'translation.parquet')}
    def better(r): return dict(r, messages=[dict(role='user', content=refs[r['id']])]) if r['model'] == 'translator' else r
    write_rows(arm/'translations.parquet', list(map(better, rows)))
    found, = arm_translations(plans)
    assert (found['arm'], found['against'], found['task'], found['metric'], found['n']) == ('human-only', 'main', 'unseen', 'chrf', 8)
    was = next(m for m in manifest(main)['metrics'] if (m['model'], m['task'], m['name']) == ('translator', 'unseen', 'chrf'))
    assert found['a'] == pytest.approx(100) and found['b'] == pytest.approx(was['value']) and found['low'] <= found['delta'] <= found['high']
    assert found['mark'] == '' and found['p'] < .05


def test_an_arm_that_cannot_be_made_says_why(tmp_path, monkeypatch):
    monkeypatch.setenv('HALA_RECIPES', str(PROBE))
    plans = arm_plans('probe', str(tmp_path)); main = {'main': plans['main']}
    child, words, _ = begin(plans['main'], '05_sft', '')
    child.wait()
    with pytest.raises(HalaError, match='arm main, 05_sft: 05_sft needs base-probe') as e: need_success(child, words, 'main, 05_sft')
    assert '\n' not in str(e.value) and [a for _, a in to_make(main).values()][-1] == ANSWERS


def test_ablations_change_one_thing_each(monkeypatch):
    monkeypatch.setenv('HALA_RECIPES', str(PROBE))
    plans = arm_plans('probe', which='ablation')
    assert len(plans) == 18 and {line_of(n) for n in plans} == {'main', 'teacher-only', 'human-only', 'judge-off', 'loss-on-all', 'packing-off'}
    for name in ('loss-on-all', 'packing-off'): assert plans[name].keys['04_corpus'] == plans['main'].keys['04_corpus']
    for name in ('teacher-only', 'human-only', 'judge-off'):
        assert plans[name].keys['01_compress'] == plans['main'].keys['01_compress'] and plans[name].keys['02_bilingual'] != plans['main'].keys['02_bilingual']
    assert len({p.keys['05_sft'] for p in plans.values()}) == 18
    for name, p in plans.items(): # a seed is one of the translator too, and the product of the same seed has the same
        assert (p.recipe.translator.seed, p.recipe.sft.seed) == (int(seed(name)), int(seed(name)))
        if line_of(name) in ('loss-on-all', 'packing-off'): assert p.keys['04_corpus'] == plans[name.replace(line_of(name), 'main')].keys['04_corpus']
    assert len({p.keys['03_translator'] for p in plans.values()}) == 4*3



def test_pairs_of_a_kind_that_is_none_are_refused():
    with pytest.raises(HalaError, match="holds 'teacher', 'human' or both"): recipe('1M', "bilingual.take=['judge']")


@pytest.mark.parametrize('take', ['teacher', 'human'])
def test_pairs_of_one_kind_alone(runs, tmp_path, monkeypatch, take):
    from hala.bilingual import make
    monkeypatch.setenv('HALA_RECIPES', str(PROBE))
    r = recipe('probe', f"bilingual.take=['{take}']; bilingual.pairs=4; bilingual.human=4")
    inputs = dict(text=made(runs, 'text'), teacher=made(runs, '01_compress'), benchmarks=made(runs, 'benchmarks'))
    with making(tmp_path/'02_bilingual', 'k', {}, together=True) as (part, report): make(Job(r, '02_bilingual', inputs, part, report, ()))
    there = tmp_path/'02_bilingual'/'k'
    rows = [x for table in ('pairs', 'rejects') for f in there.glob(f'{table}*.parquet') for x in read_rows(f)]
    assert len(rows) == manifest(there)['rows']['in'] == 4 and {x['source'].startswith('world/human') for x in rows} == {take == 'human'}
