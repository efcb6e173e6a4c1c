"The cards of a finished run: what they must say, and that the hub's own classes read them back."
import random

import pytest
from conftest import PROBE, made
from hala.core.cards import LIMITS, compute, data_card, eval_results, markdown_table, model_card, steps, with_hours
from hala.core.provenance import trace
from hala.core.recipe import recipe
from hala.core.store import manifest, read_rows, write_manifest, write_rows
from hala.core.tables import read_jsonl
from hala.core.text import arabic_share, content
from hala.release import answered
from huggingface_hub import DatasetCard, ModelCard


@pytest.fixture
def probe(monkeypatch):
    monkeypatch.setenv('HALA_RECIPES', str(PROBE))
    return recipe('probe')


@pytest.fixture
def merged(runs, probe):
    "Card and metrics of the merged model."
    metrics = [m for m in manifest(made(runs, '07_evaluate'))['metrics'] if m['model'] == 'merged' and m['split'] == 'test']
    return model_card(probe, 'hala/probe', 'A model.', answered(made(runs, '07_evaluate'), 'merged'), metrics, made(runs, '06_merge')), metrics


def test_model_card_round_trips_with_every_score(merged, tmp_path):
    card, metrics = merged
    card.save(tmp_path/'README.md')
    again = ModelCard.load(tmp_path/'README.md')
    assert again.data.to_dict() == card.data.to_dict()
    want = {(m['task'], m['lang'], m['name']): m for m in metrics if '/' not in m['name']}
    found = {(*e.dataset_type.rsplit('-', 1), e.metric_type): e for e in again.data.eval_results}
    assert found.keys() == want.keys() and len(want) > 3
    for k, e in found.items():
        assert e.metric_value == round(want[k]['value'], 4) and e.metric_args['n'] == want[k]['n'] and e.dataset_split == 'test'
        assert e.metric_args['low'] == round(want[k]['low'], 4) and e.metric_args['high'] == round(want[k]['high'], 4)


def test_model_card_says_what_went_in_and_what_it_took(merged, runs, probe):
    text = merged[0].text
    asked = text.split('## Scores')[1].split('## Settings')[0]
    for task in ('seen', 'unseen', 'nowhere', 'letters'): assert f'| {task} | ' in asked and f'`{task}`' in asked, 'each task of ours is explained'
    assert 'chance is 0.25' in asked
    for m in steps(made(runs, '06_merge')):
        assert f"`{m['artifact']}` {m['key']}" in text
        assert f"| {m['artifact']} | {m['seconds']/3600:.3g} |" in with_hours(text, compute(made(runs, '06_merge')))
    counts = manifest(made(runs, '04_corpus'))['rows']
    assert f"| 04_corpus | {counts['in']} | {counts['kept']} |" in text
    assert probe.translator.prompt in text and probe.bilingual.prompt in text and '2509.14008' in text
    assert '| world/orca | babel' in text and 'Unicode-3.0' in text and merged[0].data.license == 'apache-2.0'


def test_each_model_shows_what_it_really_said(runs):
    "The first right and the first wrong answer of the test, letter by letter as they were kept, and how many were right."
    release = made(runs, '08_release')
    answers = [a for a in read_jsonl(made(runs, '07_evaluate')/'answers.jsonl') if (a['model'], a['lang']) == ('merged', 'ar')]
    sentences = [r for r in read_rows(made(runs, '03_translator')/'translations.parquet') if (r['model'], r['split']) == ('translator', 'test')]
    for name, said in (('probe', [a['answer'] for a in answers]), ('translator', [content(r['messages']) for r in sentences])):
        text = (release/f'probe-{name}'/'README.md').read_text(encoding='utf-8')
        table = [row.split(' | ') for row in text.split('| asked | it said | right would be |')[1].split('\n\n')[0].splitlines()[2:]]
        assert table and f' of {len(said)} test prompts' in text
        assert all(shown in [markdown_table([[s]])[2:].split(' |')[0] for s in said] for _, shown, _ in table)


@pytest.mark.parametrize('what', ['hala', 'data'])
def test_limits_are_said_in_both_languages(merged, runs, probe, what):
    card = merged[0] if what == 'hala' else data_card(probe, 'hala/probe-corpus', made(runs, '04_corpus'))
    text = card.text.split('## Limits and risks')[1].split('## Citation')[0]
    english, arabic = text.split('<div dir="rtl" lang="ar">')
    assert arabic_share(english) == 0 and arabic_share(arabic.replace('div', '')) > .9
    assert all(line in english for line in LIMITS[what][0]) and all(line in arabic for line in LIMITS[what][1])


def test_data_card_round_trips_and_counts(runs, probe, tmp_path):
    folder = made(runs, '04_corpus')
    card = data_card(probe, 'hala/probe-corpus', folder)
    card.save(tmp_path/'README.md')
    assert DatasetCard.load(tmp_path/'README.md').data.to_dict() == card.data.to_dict()
    rows = read_rows(folder/'corpus.parquet')
    for source in {r['source'] for r in rows}:
        for split in {r['split'] for r in rows if r['source'] == source}:
            assert f"| {source} | {split} | {sum((r['source'], r['split']) == (source, split) for r in rows)} |" in card.text
    assert f'| all |  | {len(rows)} |' in card.text and card.data.size_categories == '1K<n<10K'
    assert all(f'| {c} | ' in card.text for c in rows[0])


def test_a_source_that_forbids_trade_shows_in_head_and_text(copied, probe):
    where = made(copied, 'text')
    write_manifest(where, dict(manifest(where), adopted=dict(id='org/set', revision='a'*40), licences=['cc-by-nc-4.0']))
    card = data_card(probe, 'hala/probe-corpus', made(copied, '04_corpus'))
    assert card.data.license == 'cc-by-nc-4.0' and '**not for commercial use: because of org/set (cc-by-nc-4.0)**' in card.text


@pytest.mark.parametrize('kind', ['translation', 'held_out', 'instructions'])
def test_terms_of_a_test_set_do_not_reach_what_was_not_trained_on_it(copied, probe, kind):
    "A set that is only measured with stands among the sources; the corpus holds instructions of the test split, so theirs hold."
    text = made(copied, 'text'); table = text/f'{kind}.parquet'
    rows = read_rows(table) if table.exists() else []
    flores = dict(read_rows(text/'translation.parquet')[0], source='org/flores', revision='b'*40, licence='cc-by-sa-4.0', split='test')
    write_rows(table, [*rows, flores])
    for card in (data_card(probe, 'hala/probe-corpus', made(copied, '04_corpus')),
                 model_card(probe, 'hala/probe', 'A model.', [], [], made(copied, '06_merge'))):
        line = next(x for x in card.text.splitlines() if x.startswith('| org/flores '))
        learned = kind == 'instructions'
        assert ('tests only' in line) == (not learned) and card.data.license == ('cc-by-sa-4.0' if learned else 'apache-2.0')
        assert ('only under the licence of its source' in card.text) == learned
        assert ('org/flores' in (card.data.to_dict().get('datasets') or card.data.to_dict().get('source_datasets') or [])) == learned
    told = trace('04_corpus', copied)
    assert 'org/flores' in {s['name'] for s in told['sources']} and bool(told['restrictions']) == learned


def test_many_results_survive_the_hubs_grouping():
    "The hub groups results by task and data set; none is lost or mixed up."
    draw = random.Random(1)
    metrics = [dict(name=name, task=f't{k}', lang=lang, split='test', model='m', value=draw.random(), n=draw.randrange(1, 99), low=None, high=None,
                    signature='') for k in range(5) for lang in ('ar', 'en') for name in ('acc', 'chrf', 'generate')]
    from huggingface_hub import ModelCardData
    want = eval_results(metrics)
    again = ModelCard(f'---\n{ModelCardData(model_name="a/b", eval_results=want).to_yaml()}\n---\n').data.eval_results
    def order(e): return e.dataset_type, e.metric_type
    assert sorted(again, key=order) == sorted(want, key=order)


def test_names_of_others_cannot_break_a_table():
    rows = markdown_table([['a', 'b'], ['x|y\nz', '<b>']]).splitlines()
    assert len(rows) == 3 and rows[2].replace('\\|', '').count('|') == 3


def test_a_model_that_was_asked_nothing_claims_no_answer(runs, probe):
    "An adopted model's card shows how to ask, in the words that it is trained on."
    use = model_card(probe, 'hala/probe-translator', 'A model.', [], [], made(runs, '03_translator')).text.split('## Use')[1].split('## Scores')[0]
    assert 'it said' not in use and repr(probe.translator.prompt.replace('{x}', 'Hello, how are you?')) in use


def test_of_an_adopted_translator_everything_says_so(copied, probe):
    "A commit of the hub: in the command, in the words, and no prompt of a stage that never ran."
    where = made(copied, '03_translator')
    write_manifest(where, dict(manifest(where), recipe={}, inputs={}, adopted=dict(id='org/model', revision='a'*40), licences=['mit']))
    said = f"adopted, not made here: org/model, revision {'a'*40}"
    corpus = data_card(probe, 'hala/probe-corpus', made(copied, '04_corpus')).text
    model = model_card(probe, 'hala/probe-translator', 'A model of ours.', [], [], where).text
    for card in (corpus, model):
        assert said in card.replace('Adopted', 'adopted') and f"--adopt 03_translator=org/model@{'a'*40}" in card and LIMITS['adopted'][1][0] in card
        assert probe.bilingual.reverse not in card and 'teacher as judge' not in card
    assert probe.translator.prompt in corpus.split('## Prompts')[1] and '## Prompts' not in model and 'A model of ours' not in model
    assert 'translated by a machine' in corpus, 'that was done here'
    assert trace('03_translator', copied)['story']['adopted'] == dict(id='org/model', revision='a'*40)
