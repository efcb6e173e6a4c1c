"The family `hala`: what can be known of it without the hub."
import ast
import json
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import fields, is_dataclass, replace
from itertools import product

import pytest
import torch
from conftest import ROOT, hala
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from hala.core.cards import scores_table
from hala.core.engine import arithmetic, load, memory_needed
from hala.core.pipeline import Job
from hala.core.recipe import CODE_POLICY, ENGLISH_SETS, HUMAN, MMLU, ORCA, TRANSLATION_TESTS, Folder, HalaError, hala_sizes, recipe
from hala.core.store import read_rows
from hala.core.tables import Shape, translate_records
from hala.core.text import test_sets as by_set
from hala.core.world import toy
from hala.evaluate import translation_metrics
from hala.merge import merge
from hala.sources import make_text
from hala.translator import measure

# one record of each set, with the columns that its card or published code has
RECORDS = {
    'Open-Orca/OpenOrca': dict(id='niv.1', system_prompt='', question='What is it?', response='A test.'),
    'NousResearch/Hermes-3-Dataset': dict(conversations=[{'from': 'human', 'value': 'What is it?'}, {'from': 'gpt', 'value': 'A test.'}]),
    'EricLu/SCP-116K': dict(domain='Physics', problem='What is it?', matched_solution='A test.'),
    'GAIR/ReAlign-Alpaca': dict(conversations=[{'from': 'human', 'value': 'What is it?'}, {'from': 'gpt', 'value': 'A test.'}]),
    'MBZUAI/LaMini-instruction': dict(instruction='What is it?', response='A test.', instruction_source='alpaca'),
    'allenai/tulu-3-sft-mixture': dict(id='1', messages=[{'role': 'user', 'content': 'What is it?'}, {'role': 'assistant', 'content': 'A test.'}], source='x'),
    'Dahoas/synthetic-instruct-gptj-pairwise': dict(prompt='What is it?', chosen='A test.', rejected='No.')}


def table(tmp_path, *records):
    path = tmp_path/'set.jsonl'
    path.write_text(''.join(json.dumps(r)+'\n' for r in records))
    return str(path)


@pytest.mark.parametrize('hub', [ORCA, *ENGLISH_SETS], ids=lambda h: h.id)
def test_columns_of_every_set(hub, tmp_path):
    "A local table with the same columns reads as question and answer."
    [row] = Folder(table(tmp_path, RECORDS[hub.id]), hub.columns, without=hub.without, code=hub.code).load()
    assert [(m['role'], m['content']) for m in row['messages_source']] == [('user', 'What is it?'), ('assistant', 'A test.')]
    assert row['verdict'] is None


def test_columns_of_human_pairs(tmp_path):
    [row] = Folder(table(tmp_path, dict(translation=dict(ar='لا', en='No'))), HUMAN).load()
    assert (row['messages_source'][0]['content'], row['messages'][0]['content']) == ('No', 'لا')


def test_programs_and_other_languages_are_left_out(tmp_path):
    "Rejected with the reason, not lost; and a share goes to validation, whatever the limit."
    texts = ['What is the capital of Egypt?', 'Write it:\n```python\nprint(1)\n```', 'Quelle est la capitale de la France et quelle est sa population ?']
    path = table(tmp_path, *(dict(q=t, a='Yes.') for t in texts*50))
    source = Folder(path, (('user', 'q'), ('assistant', 'a')), validation=.2, without=('not English',), code='drop')
    rows = source.load()
    assert [r['reason'] for r in rows[:3]] == [None, 'code', 'not English']
    held = {r['id'] for r in rows if r['split'] == 'validation'}
    assert 10 < len(held) < 50
    assert {r['id'] for r in Folder(path, source.columns, limit=60, validation=.2).load() if r['split'] == 'validation'} == held & {r['id'] for r in rows[:60]}


PROSE, PROGRAM = [dict(role='user', content='Say hi.'), dict(role='assistant', content='Hi.')], 'Run this:\n```\nprint(1)\n```'
TALKS = [PROSE, [PROSE[0], dict(role='assistant', content=PROGRAM)], [dict(role='system', content='import numpy'), *PROSE]]


@pytest.mark.parametrize('code, kept, rejected', [('drop', 1, {'code': 2}), ('translate', 3, {})])
def test_a_policy_for_fields_that_hold_a_program(code, kept, rejected, tmp_path):
    "Whichever message it stands in. Dropped, a conversation is counted and lies among the rejects of stage 00; translated, its program comes through."
    source = Folder(table(tmp_path, *(dict(messages=t) for t in TALKS)), (('messages', 'messages'),), code=code)
    family = hala_sizes()[0]
    family = replace(family, sources=replace(family.sources, human=(), pairs=(), instructions=(source,), translation=()))
    gathered = Job(family, 'text', {}, tmp_path, {}, ())
    make_text(gathered)
    assert gathered.report['rows'] == {'in': 3, 'kept': kept, 'rejected': rejected, 'instructions': kept}
    rejects = read_rows(tmp_path/'rejects.parquet') if rejected else []
    assert [(r['source_id'], r['reason']) for r in rejects] == [('1', 'code'), ('2', 'code')][:len(rejects)] and len(rejects) == sum(rejected.values())
    if code == 'drop': return
    def arabic(texts): return [type('Said', (), dict(text=t.replace('Run this', 'شغّل هذا'), finish='stop', tokens_out=1)) for t in texts]
    row = read_rows(tmp_path/'instructions.parquet')[1]
    [done] = translate_records([dict(messages=row['messages_source'])], Shape('messages', ('messages',)), arabic)
    assert done.record['messages'][1]['content'] == 'شغّل هذا:\n```\nprint(1)\n```' and done.reason is None


def test_only_hermes_drops_programs():
    assert [s.id for s in hala_sizes()[0].sources.instructions if s.code == 'drop'] == ['NousResearch/Hermes-3-Dataset']
    assert {s.code for r in hala_sizes() for s in (*r.sources.pairs, *r.sources.instructions)} == set(CODE_POLICY)


def test_a_file_is_named_by_its_last_two_parts(tmp_path):
    "Rows and cards travel: where a machine keeps a file stays with it."
    [row] = Folder(table(tmp_path, RECORDS[ORCA.id]), ORCA.columns).load()
    assert row['source'] == f'…/{tmp_path.name}/set.jsonl'


def leaves(part, path=''):
    "Every field of a recipe's part that holds no other part: (path, value)."
    for f in fields(part):
        value, there = getattr(part, f.name), f'{path}{f.name}'
        if is_dataclass(value): yield from leaves(value, there+'.')
        else: yield there, value


def spelled(pattern):
    "The paths of `{a,b}.c`."
    return [''.join(p) for p in product(*([one] if n % 2 == 0 else one.split(',') for n, one in enumerate(re.split(r'[{}]', pattern))))]


def same(printed, value):
    "Is it what the table prints?"
    try: return ast.literal_eval(printed) == value
    except (ValueError, SyntaxError): return printed.replace('\\n', '\n') == value


def printed_fields():
    "The table of the notebook: (paths of each pattern, sizes, value, source)."
    cells = json.loads((ROOT/'nbs/core/recipe.ipynb').read_text(encoding='utf-8'))['cells']
    text = next(t for c in cells if (t := ''.join(c['source'])).startswith('## The family `hala`'))
    for line in re.findall(r'^\| (`.*) \|$', text, re.M):
        field, value, source = line.split(' | ')
        sizes = re.search(r'\(([^)]*)\)$', field)
        yield [spelled(p) for p in re.findall('`([^`]*)`', field)], sizes[1].split(', ') if sizes else [r.size for r in hala_sizes()], value, source


def is_source(value): return isinstance(value, tuple) and any(map(is_dataclass, value))


@pytest.mark.parametrize('family', hala_sizes(), ids=lambda r: r.size)
def test_every_field_stands_in_the_docs(family):
    "With its source or \"our choice\", once, and with the value that the recipe has."
    held = {p: v for f in fields(family) if f.name not in ('family', 'size') for p, v in leaves(getattr(family, f.name), f.name+'.')}
    named, told = [], ''
    for patterns, sizes, value, source in printed_fields():
        assert re.search('our (?:choice|guess)|reviews|abstract|card|code|audit|llm-compressor|arXiv', source), source
        if family.size not in sizes: continue
        assert not {p for some in patterns for p in some} - set(held), 'no such field'
        if is_source(held[patterns[0][0]]): # each `name=value` is true of one of them
            told += value
            for name, v in re.findall(r'`(\w+)=([^`]*)`', value): assert any(same(v, getattr(x, name, None)) for x in held[patterns[0][0]]), (name, v)
            named += {patterns[0][0]} - set(named); continue
        values = re.findall('`([^`]*)`', value)[:len(patterns)]
        if patterns == [['bilingual.question']]: values = [held['bilingual.question']] # too long for a table: QUESTION, a few lines below it
        for paths, v in zip(patterns, values, strict=True):
            for path in paths: assert same(v, held[path]), f'{path}: the table says {v}, the recipe {held[path]!r}'
            named += paths
    assert sorted(named) == sorted(held)
    sources = {getattr(x, 'name', None) or x.id for p, v in held.items() if is_source(v) for x in v}
    assert {s for s in sources if f'`{s}`' not in told} == set()


def test_sizes_share_all_but_their_base():
    known = {r.size: r for r in hala_sizes()}
    assert len({(r.bilingual, r.translator, r.corpus, r.sources.pairs, r.sources.teacher) for r in known.values()}) == 1
    assert len({r.sources.base for r in known.values()}) == 5
    assert recipe('9B').sft.shard and recipe('1.2B', 'sft.lora=8').sft.lora == 8


def test_status_lists_it():
    assert json.loads(hala('status', '--json'))['hala'] == ['350M', '700M', '1.2B', '9B', 'lfm2.5-1.2B']
    assert 'judge' in hala('status', '--size', '9B')


@pytest.mark.parametrize('artifact, says', [('text', 'Folder(path)'), ('base-350M', '--set sources.base.id=/path/to/model')])
def test_without_the_hub(artifact, says, tmp_path):
    "One line, with the id and what to do."
    words = ['-m', 'hala.sources', '--size', '350M', '--only', artifact, '--runs', tmp_path]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, env={**os.environ, 'HF_HUB_OFFLINE': '1'})
    said = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and 'Traceback' not in done.stderr and said.startswith('hala: ')
    assert says in said and ('LiquidAI/LFM2-350M' in said or 'Helsinki-NLP/opus-100' in said)


# the published test sets: each table as the hub lays it out, one row that is a test, and what cannot be one
EGYPT = dict(lp='en-ar_EG', domain='news', document_id='d', segment_id=1, is_bad_source=False, source='Hello.', target='مرحبا.', original_target='أهلا.')
FLORES_ROW = dict(id=7, iso_639_3='eng', iso_15924='Latn', text='Hello.', url='', domain='wikinews', topic='', has_image='no', has_hyperlink='no')
TABLES = {
    'Misraj/Tarjama-25': {('', 'train'): [dict(English='Hello.', Arabic='مرحبا.', source='en')]},
    'google/wmt24pp': {('en-ar_EG', 'train'): [EGYPT, dict(EGYPT, is_bad_source=True, segment_id=2)],
                       ('en-ar_SA', 'train'): [dict(EGYPT, lp='en-ar_SA')]},
    'openlanguagedata/flores_plus': {('eng_Latn', 'devtest'): [dict(FLORES_ROW, id=9, text='Alone.'), FLORES_ROW],
                                     ('arb_Arab', 'devtest'): [dict(FLORES_ROW, text='مرحبا.')]},
    'cais/mmlu': {('anatomy', 'test'): [dict(question='Hello.', subject='anatomy', choices=['a', 'b', 'c', 'd'], answer=0)]*12},
    'MBZUAI/human_translated_arabic_mmlu': {('anatomy', 'test'): [dict(question='مرحبا.', choices=['أ', 'ب', 'ج', 'د'], answer=0)]*12}}


def laid_out(folder, id):
    "A folder as `hf download` leaves it: files, and the card that says which configuration and split each is."
    lines = ['---', 'configs:']
    for (config, split), records in TABLES[id].items():
        file = folder/id/(config or 'data')/f'{split}.jsonl'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(''.join(json.dumps(r)+'\n' for r in records))
        lines += [f"- config_name: {config or 'default'}", '  data_files:', f'  - split: {split}', f'    path: {file.relative_to(folder/id)}']
    (folder/id/'README.md').write_text('\n'.join([*lines, '---', '']))


def here(side, folder):
    "The same side of a set, of a folder."
    return replace(side, id=str(folder/side.id))


@pytest.fixture(scope='module')
def local_tests(tmp_path_factory):
    "The test sets of the family as they are, but for where they lie; of MMLU one subject."
    folder = tmp_path_factory.mktemp('hub')
    for id in TABLES: laid_out(folder, id)
    some = [t for t in TRANSLATION_TESTS if t.english.config not in set(MMLU)-{'anatomy'}]
    return tuple(replace(t, english=here(t.english, folder), arabic=here(t.arabic, folder)) for t in some)


@pytest.mark.parametrize('name', ['dtype', 'torch_dtype', None])
def test_a_base_of_any_year_is_merged(name, tmp_path, monkeypatch):
    "Configurations from before transformers 4.56 say `torch_dtype`; the merge and the key of a row read either."
    base, tuned = tmp_path/'base', tmp_path/'tuned'
    for folder in (base, tuned):
        toy()[0].bfloat16().save_pretrained(folder)
        config = json.loads((folder/'config.json').read_text())
        stored = config.pop('dtype')
        (folder/'config.json').write_text(json.dumps(config | ({name: stored} if name else {})))
    merged = load_file(merge(base, tuned, .5, tmp_path/'merged')/'model.safetensors')
    assert {w.dtype for w in merged.values()} == {torch.bfloat16} and merged.keys() == load_file(base/'model.safetensors').keys()
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert arithmetic(base)['dtype'] == ('bfloat16' if name else 'None')


@pytest.mark.parametrize('free, cards, rank, where', [
    (1, 8, None, 'cuda:0'), (.2, 8, None, 'auto'), (.2, 8, '3', None), (.2, 2, None, None), (.9, 1, None, None)])
def test_a_model_too_large_for_one_card_is_spread(free, cards, rank, where, tmp_path, monkeypatch):
    "Over all of them, unless each has a training process; refused where they are too small together. `free`: room on each, in models."
    model, tokenizer = toy()
    model.save_pretrained(tmp_path); tokenizer.save_pretrained(tmp_path)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: cards)
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda: (int(memory_needed(tmp_path)*free), 0))
    monkeypatch.setattr(AutoModelForCausalLM, 'from_pretrained', lambda *_, device_map, **__: seen.append(device_map) or model)
    monkeypatch.delenv('LOCAL_RANK', raising=False)
    if rank: monkeypatch.setenv('LOCAL_RANK', rank)
    seen = []
    with nullcontext() if where else pytest.raises(HalaError, match='needs about'): load(tmp_path)
    assert seen == [where]*bool(where)


NAMES = ['Tarjama-25:test', 'wmt24pp:en-ar_EG', 'wmt24pp:en-ar_SA', 'flores_plus:devtest', 'mmlu (also a benchmark)']


def test_translation_tests_are_named():
    assert list(dict.fromkeys(t.name.rsplit('/', 1)[-1] for t in TRANSLATION_TESTS)) == NAMES
    assert all(set(TRANSLATION_TESTS) < set(r.sources.translation) for r in hala_sizes())


def test_translation_tests_of_every_shape(local_tests):
    "One table, two joined by id, two by place; only tests, and what cannot be one is left out with its reason."
    rows = [r for t in local_tests for r in t.load()]
    sets = by_set([r for r in rows if r['verdict'] is None], 100)
    assert {name: len(some) for name, some in sets.items()} == {**dict.fromkeys(NAMES, 1), NAMES[-1]: 9}
    assert {(r['messages_source'][0]['content'], r['messages'][0]['content']) for some in sets.values() for r in some} == {('Hello.', 'مرحبا.')}
    assert sorted((r['source'], r['reason']) for r in rows if r['verdict']) == [
        ('google/wmt24pp:en-ar_EG', 'bad source'), ('openlanguagedata/flores_plus:devtest', 'one language only')]
    assert {r['split'] for r in rows} == {'test'} and len({r['id'] for r in rows}) == len(rows)


def test_another_schema_is_named(local_tests):
    with pytest.raises(HalaError, match=r"References\('Misraj/Tarjama-25:test'\): no column 'en' in its English table; it has English, Arabic, source"):
        replace(local_tests[0], english=replace(local_tests[0].english, column='en')).load()
    with pytest.raises(HalaError, match="no configuration 'fr' with a split 'train'"):
        replace(local_tests[1], english=replace(local_tests[1].english, config='fr')).load()


def test_every_translation_test_is_scored(local_tests, tmp_path):
    "Stage 00 writes them, 03 translates them, 07 scores each set and each row; a fifty-thousandth of a model will do."
    recipe = replace(hala_sizes()[0], sources=replace(hala_sizes()[0].sources, human=(), pairs=(), instructions=(), translation=local_tests))
    recipe = replace(recipe, translator=replace(recipe.translator, sentences=5, max_tokens=4))
    for folder in ('text', 'base', 'out'): (tmp_path/folder).mkdir()
    gathered = Job(recipe, 'text', {}, tmp_path/'text', {}, ())
    make_text(gathered)
    assert gathered.report['rows']['rejected'] == {'bad source': 1, 'one language only': 1}
    model, tokenizer = toy()
    for of in (model, tokenizer): of.save_pretrained(tmp_path/'base'/'model')
    rows, metrics = measure(Job(recipe, '03_translator', dict(text=tmp_path/'text'), tmp_path/'out', {}, ()), 'translator', tmp_path/'base'/'model')
    assert {(m['task'], m['name']) for m in metrics} >= {(t, n) for t in NAMES for n in ('chrf', 'bleu', 'rouge')}
    references = {r['id']: r['messages'][0]['content'] for r in read_rows(tmp_path/'text'/'translation.parquet')}
    scored, each = translation_metrics([dict(r, lang='ar') for r in rows], dict(ar=references))
    assert {m['task'] for m in scored} == set(NAMES) and len(each) == len(rows) == 9
    assert all(set(r) >= {'id', 'model', 'task', 'chrf', 'bleu', 'rouge'} for r in each)
    assert '(also a benchmark)' in scores_table(scored)
