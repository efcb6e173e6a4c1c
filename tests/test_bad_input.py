"Whatever is wrong with an input: one clear line, exit code 1, no traceback, nothing under a final name."
import json
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT, hala

from hala.core import pipeline
from hala.core.engine import load
from hala.core.recipe import Folder, HalaError
from hala.core.store import read_rows, write_rows
from hala.core.tables import defect, read_records, write_table

OWN = """
import importlib.util
from dataclasses import replace
from hala.core.recipe import *
spec = importlib.util.spec_from_file_location('probe', {probe!r}); probe = importlib.util.module_from_spec(spec); spec.loader.exec_module(probe)
r = probe.RECIPES[0]
RECIPES = [r, replace(r, size='own', sources=replace(r.sources, {change}))]
"""


def own(tmp_path, change):
    "A recipe file with a size `own` that differs from the probe in one field of its sources."
    (tmp_path/'own.py').write_text(OWN.format(probe=str(ROOT/'tests/probe.py'), change=change))
    return tmp_path/'own.py'


def refused(*arguments, **environment):
    "What the command says: exactly one line."
    said = hala(*arguments, code=1, **environment).strip().splitlines()
    lines = [line for line in said if line.startswith('hala: ')]
    assert len(lines) == 1 and 'Traceback' not in '\n'.join(said), said
    return lines[0]


def finished(runs): return [p for p in Path(runs).rglob('manifest.json') if '.part' not in str(p)]


def test_unknown_size(): assert 'tiny: 1M, 3M' in refused('run', '--size', '13B')


def test_missing_input(tmp_path):
    said = refused('run', '--size', 'probe', '--from', '05', '--runs', tmp_path)
    assert 'stage 00 (sources) makes' in said and 'hala run --size probe --to 00' in said


@pytest.mark.parametrize('override, says', [
    ('sft.lr=1', 'it has learning_rate'),
    ('sft.epochs=many', 'wants float'),
    ('sft', 'stage.field=value'),
    ('sfft.epochs=1', 'has no'),
    ('sources.teacher=x', 'name one of its fields')])
def test_override(override, says, tmp_path): assert says in refused('run', '--size', 'probe', '--set', override, '--runs', tmp_path)


def test_unknown_stage(tmp_path): assert '05 sft' in refused('run', '--size', 'probe', '--from', '5', '--runs', tmp_path)


def test_id_neither_folder_nor_reachable(tmp_path):
    recipes = own(tmp_path, "teacher=Pretrained('nobody/nothing'), parallel=()")
    said = refused('run', '--size', 'own', '--recipes', recipes, '--runs', tmp_path/'r', HF_HUB_OFFLINE='1')
    assert 'nobody/nothing' in said and 'sources.teacher' in said and '--set sources.teacher.id=/path' in said
    assert not [p for p in finished(tmp_path/'r') if 'teacher' in str(p)]


@pytest.mark.parametrize('name, data, says', [
    ('a.jsonl', b'{"en": "Hi", "ar": "x"}\n', "no column 'english'; there are en, ar"),
    ('a.jsonl', b'{"english": "Hi", "arabic": "x"}\n{"english": \n', 'line 2: not JSON'),
    ('a.jsonl', '{"english": "é"}'.encode('latin-1'), 'line 1: not UTF-8'),
    ('a.jsonl', b'{"english": "Hi", "arabic": "x"}\n'*3 + b'null\n', 'line 4: not an object (null)'), # hala translate would count it, a recipe does not
    ('a.csv', 'english,arabic\nHi,x\né,y\n'.encode('latin-1'), 'line 3: not UTF-8'),
    ('a.csv', 'english,arabic\nHi,x\n'.encode('utf-16'), 'line 1: not UTF-8'),
    ('a.csv', 'english,arabic\nHi,x\n'.encode('utf-16-le'), 'line 1: not UTF-8'),
    ('a.tsv', 'english\tarabic\nHi\tمرحبا\nYes\tنعم\n'.encode('cp1256'), 'line 2: not UTF-8'),
    ('a.csv', b'english,arabic\n"Hi,x\nYes,y\nNo,z\n', 'line 2: open quotation mark'), # hala translate would count it
    ('a.csv', b'english,"arabic\nHi,x\n', 'line 1: open quotation mark'),
    ('a.parquet', b'not parquet', 'a.parquet: not a Parquet file'),
    ('a.docx', b'', 'cannot read .docx'),
    ('', b'', 'no such file')])
def test_data_set(tmp_path, name, data, says):
    path = tmp_path/(name or 'nowhere')
    if name: path.write_bytes(data)
    change = f"human=(Folder({str(path)!r}, (('user', 'english'), ('arabic', 'arabic'))),)"
    assert says in refused('run', '--size', 'own', '--recipes', own(tmp_path, change), '--runs', tmp_path/'r')
    assert not finished(tmp_path/'r')


def test_recipe_file(tmp_path):
    (tmp_path/'bad.py').write_text('RECIPES = [1]')
    assert 'holds a int' in refused('status', '--recipes', tmp_path/'bad.py')
    (tmp_path/'bad.py').write_text('RECIPES = [')
    assert 'SyntaxError' in refused('status', '--recipes', tmp_path/'bad.py')
    assert 'is no file' in refused('status', '--recipes', tmp_path/'none.py')


def test_model_larger_than_memory(tmp_path):
    "A header that promises ten terabytes: refused from the header, with both figures."
    header = json.dumps({'w': dict(dtype='F32', shape=[1], data_offsets=[0, 10*2**40])}).encode()
    (tmp_path/'model.safetensors').write_bytes(struct.pack('<Q', len(header)) + header)
    (tmp_path/'config.json').write_text('{}')
    with pytest.raises(HalaError, match=r'needs about 12800\.0 GiB of memory, .* GiB are free'): load(tmp_path)


def test_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline.shutil, 'disk_usage', lambda path: SimpleNamespace(free=2**20))
    p = pipeline.plan('1M', runs=str(tmp_path))
    with pytest.raises(HalaError, match=r'0\.0 GiB free, about 0\.1 GiB needed'): pipeline.need_disk(p, {})


def test_strange_name(tmp_path): assert 'name' in refused('status', '--size', 'probe', '--name', '../x', '--runs', tmp_path)


def test_odd_values_of_a_source_are_rejected_rows(tmp_path):
    "Nulls, numbers, half characters and calls of tools: each a row with its reason, that Parquet holds; the others go on."
    talk = [dict(role='user', content='Hi'), dict(role='assistant', content='Hello')]
    odd = [talk, None, [*talk, dict(role='user', content=None)], [dict(role='user', content=5)], [dict(role='user', content='a\ud800')], ['Hi'], [],
           [*talk, dict(role='assistant', content='', tool_calls=[dict(arguments='{}')])], [dict(role='user', content='a\0')], talk]
    write_table(tmp_path/'a.jsonl', [dict(messages=m) for m in odd])
    rows = Folder(str(tmp_path/'a.jsonl'), (('messages', 'messages'),)).load()
    write_rows(tmp_path/'r.parquet', rows)
    assert [r['reason'] for r in read_rows(tmp_path/'r.parquet')] == [
        None, 'no text', 'not text', 'not text', 'not Unicode', 'roles', 'no text', 'tool calls', 'control characters', None]
    assert read_rows(tmp_path/'r.parquet')[4]['messages_source'][0]['content'] == 'a\\ud800'


@pytest.mark.parametrize('text, kept, lost', [
    (b'"unclosed,x\nHi,a\nYes,b\nNo,c\n', ['Hi', 'Yes', 'No'], {2: 'open quotation mark'}),
    (b'Hi,a\nYes,"b\nNo,c\n"So, so",d', ['Hi', 'No', 'So, so'], {3: 'open quotation mark'}),
    (b'Hi,a\r\n"He said ""Yes""\r\nand left",b\r\n"No" way,c\r\nWell,"d', ['Hi', 'He said "Yes"\r\nand left', 'No way'], {6: 'open quotation mark'}),
    (b'Hi,a\n"Yes,b\nhalf\nNo,c\nSo,d\nWell,e\n', ['Hi', 'No', 'So', 'Well'], {3: 'open quotation mark', 4: 'open quotation mark'}),
    (b'Hi,a\nYes\xed\xa0\x80,b\n"No\n",c\n\nSo,\xe9,d\nWell,e\n', ['Hi', 'No\n', 'Well'], {3: 'not UTF-8', 7: 'not UTF-8'})])
def test_one_bad_row_of_a_table(tmp_path, text, kept, lost):
    "A quotation mark that nothing closes and half a character cost their own row; no row is gone without a word."
    for name, data in (('a.csv', text), ('b.csv', text.replace(b',', b';') if b'So, so' not in text and b'\xe9,d' not in text else text)):
        (tmp_path/name).write_bytes((b'en;ar' if b';' in data else b'en,ar') + b'\n' + data)
        records = read_records(tmp_path/name)
        assert [r['en'] for r in records if not defect(r)] == kept and {r['line']: defect(r) for r in records if defect(r)} == lost
        assert all(isinstance(r['raw'], str) and r['raw'].encode() for r in records if defect(r))
