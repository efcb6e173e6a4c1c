"Arms: what each learns from, what is refused, and a table that comes from manifests alone."
from collections import Counter

import pytest
from conftest import hala, made

from hala.core.arms import arm_plans, arm_row
from hala.core.recipe import HalaError
from hala.core.store import manifest, read_rows
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
