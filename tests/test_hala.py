"The family `hala`: what can be known of it without the hub."
import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT, hala

from hala.core.recipe import ENGLISH_SETS, HUMAN, ORCA, Folder, hala_sizes, recipe

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
    [row] = Folder(table(tmp_path, RECORDS[hub.id]), hub.columns, without=hub.without).load()
    assert [(m['role'], m['content']) for m in row['messages_source']] == [('user', 'What is it?'), ('assistant', 'A test.')]
    assert row['verdict'] is None


def test_columns_of_human_pairs(tmp_path):
    [row] = Folder(table(tmp_path, dict(translation=dict(ar='لا', en='No'))), HUMAN).load()
    assert (row['messages_source'][0]['content'], row['messages'][0]['content']) == ('No', 'لا')


def test_programs_and_other_languages_are_left_out(tmp_path):
    "Rejected with the reason, not lost; and a share goes to validation, whatever the limit."
    texts = ['What is the capital of Egypt?', 'Write it:\n```python\nprint(1)\n```', 'Quelle est la capitale de la France et quelle est sa population ?']
    path = table(tmp_path, *(dict(q=t, a='Yes.') for t in texts*50))
    source = Folder(path, (('user', 'q'), ('assistant', 'a')), validation=.2, without=('code', 'not English'))
    rows = source.load()
    assert [r['reason'] for r in rows[:3]] == [None, 'code', 'not English']
    held = {r['id'] for r in rows if r['split'] == 'validation'}
    assert 10 < len(held) < 50
    assert {r['id'] for r in Folder(path, source.columns, limit=60, validation=.2).load() if r['split'] == 'validation'} == held & {r['id'] for r in rows[:60]}


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
