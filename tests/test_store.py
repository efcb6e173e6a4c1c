"The store where files are torn, and what names a row: the notebook shows the rest."
import json
import os
import random
import stat
import sys
import types

import pytest

from hala.core.recipe import HalaError
from hala.core.store import (
    CHECKED, Held, Journal, Table, append, making, open_log, path_code, read_rows, refusal, replay, row_key, share_out, slices, verify, write_rows,
    write_text)


def test_a_log_cut_or_flipped_anywhere_gives_back_a_beginning_of_what_was_written(tmp_path):
    records = [dict(n=n, text='مرحبا'*n) for n in range(6)]
    with open_log(tmp_path/'a.log') as (fd, _):
        for r in records: append(fd, r)
    whole, draw = (tmp_path/'a.log').read_bytes(), random.Random(1)
    for n in range(len(whole)):
        flipped = bytearray(whole)
        flipped[n] ^= 1 << draw.randrange(8)
        for torn in (whole[:n], bytes(flipped), whole[:n]+bytes(len(whole)-n)):
            (tmp_path/'a.log').write_bytes(torn)
            found, good = replay(tmp_path/'a.log')
            assert found == records[:len(found)] and (len(found) < 6 or torn == whole) and good <= len(torn), n
    (tmp_path/'a.log').write_bytes(whole[:-1])
    with open_log(tmp_path/'a.log') as (fd, found): append(fd, records[-1])
    assert (tmp_path/'a.log').read_bytes() == whole


def test_a_log_has_one_writer(tmp_path):
    with open_log(tmp_path/'a.log') as (fd, _):
        append(fd, dict(writer=dict(pid=7, host='there', since='2026-01-02 03:04:05'), batch=1))
        with pytest.raises(Held, match=r'a\.log is being made by process 7 on there since 2026-01-02 03:04:05'), open_log(tmp_path/'a.log'): pass
    with open_log(tmp_path/'a.log') as (_, records): assert len(records) == 1


def test_one_deadly_row_of_128_is_found_by_halving():
    "Every start runs what is left until it comes to the deadly row, whose batch then stays unanswered."
    records, starts = [dict(writer={}, batch=128)], 0
    while left := [p for k in (0, 128) for p in Journal(records).pieces(k, k+128)]:
        starts += 1
        for first, last, kills in left:
            if not kills: records.append(dict(intent=[first, last]))
            if not kills and first <= 77 < last: break
            records.append(dict(done=[first, last], keys=[], answers=[]))
    assert starts == 7+3+1 and sum(r.get('done') == [77, 78] for r in records) == 1
    done = sorted(r['done'] for r in records if 'done' in r)
    assert [n for first, last in done for n in range(first, last)] == list(range(256))


def test_coming_when_another_process_has_just_finished(tmp_path, monkeypatch):
    "Between opening the folder and locking it, that folder is renamed; or a third process, as late, takes the new one away."
    from hala.core import store
    lock = store.lock

    def finished_meanwhile(fd, path, *more, **options):
        if not (tmp_path/'k').exists():
            monkeypatch.setattr(store, 'lock', lock)
            (path/'manifest.json').write_text('{}')
            store.write_manifest(path, dict(files=[]))
            path.rename(tmp_path/'k')
        else: path.rmdir()
        lock(fd, path, *more, **options)
    for _ in range(2):
        monkeypatch.setattr(store, 'lock', finished_meanwhile)
        with pytest.raises(HalaError, match='has just been finished by another process'), making(tmp_path, 'k', {}, together=True): pass
    assert [p.name for p in tmp_path.iterdir()] == ['k'] and verify(tmp_path/'k') == []


def test_a_log_that_its_writer_takes_away_says_nothing(tmp_path):
    assert replay(tmp_path/'gone.log') == ([], 0)


def test_two_processes_write_one_text(tmp_path):
    "Each its own file aside: that of the other is not taken for one's own."
    pids = []
    for n in range(4):
        if not (pid := os.fork()):
            try:
                for _ in range(100): write_text(tmp_path/'current', f'{n}\n')
                os._exit(0)
            except BaseException: os._exit(1)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0]*4
    assert [p.name for p in tmp_path.iterdir()] == ['current'] and (tmp_path/'current').read_text() in ('0\n', '1\n', '2\n', '3\n')


def test_shares_that_others_hold_are_waited_for():
    calls = []

    def share():
        calls.append(1)
        if len(calls) < 3: raise Held('x')
    share_out([share], wait=0)
    assert len(calls) == 3


@pytest.mark.parametrize('rows', [0, 1, 19_999, 20_000, 20_001, 45_000])
def test_slices_cover_a_table(rows):
    assert [n for a, b in slices(rows) for n in range(a, b)] == list(range(rows))


def test_a_table_is_read_across_parts_and_row_groups(tmp_path, monkeypatch):
    from hala.core import store
    monkeypatch.setattr(store, 'GROUP', 3)
    for part, n in enumerate((7, 0, 4)): write_rows(tmp_path/f'a-{part:05d}.parquet', [dict(id=f'{part}.{k}') for k in range(n)])
    table, ids = Table(tmp_path/'a.parquet'), [f'0.{k}' for k in range(7)]+[f'2.{k}' for k in range(4)]
    for a in range(11):
        for b in range(a+1, 12): assert table.read(a, b, ['id'])['id'].to_pylist() == ids[a:b]


def test_a_part_that_the_manifest_does_not_name_is_not_read(tmp_path):
    with making(tmp_path, 'k', {}) as (part, _): write_rows(part/'a-00000.parquet', [dict(id='1')]); write_rows(part/'a-00001.parquet', [dict(id='2')])
    write_rows(tmp_path/'k/a-00002.parquet', [dict(id='3')])
    assert [r['id'] for r in read_rows(tmp_path/'k/a.parquet')] == ['1', '2'] and len(verify(tmp_path/'k')) == 1
    (tmp_path/'k/a-00001.parquet').unlink()
    with pytest.raises(HalaError, match=r'a-00001\.parquet is damaged'): read_rows(tmp_path/'k/a.parquet')


def test_every_bit_of_a_manifest_counts(tmp_path):
    with making(tmp_path, 'k', dict(stage='00', recipe=dict(prompt='ترجم'))): pass
    path = tmp_path/'k/manifest.json'
    whole, said, draw = path.read_bytes(), json.loads(path.read_bytes()), random.Random(1)
    for n in range(len(whole)):
        flipped = bytearray(whole)
        flipped[n] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        try: same = json.loads(flipped) == said
        except ValueError: same = False
        assert same or verify(tmp_path/'k') and str(path) in verify(tmp_path/'k')[0], n


def test_row_keys_tell_apart_what_a_model_is_asked():
    say = lambda *turns: [dict(role=r, content=c) for r, c in turns]
    asked = ['a', 'ab', say(('user', 'a')), say(('user', 'a'), ('assistant', 'b')), say(('user', 'a1:b')), say(('assistant', 'a'))]
    keys = {row_key(a) for a in asked} | {row_key('a', 1), row_key('a', 2), row_key('a', '', 'b'), row_key('a', 'b')}
    assert len(keys) == len(asked)+4


def test_the_code_of_a_path_is_what_it_calls_and_no_more(tmp_path, monkeypatch):
    source = 'import os\nfrom hala.core.text import ask\n\ndef need_room(): pass\ndef inner(x): return x\ndef other(x): return 0\n' \
             'class Engine:\n    def generate(self, x): need_room(); return inner(ask("{x}", x))\n    def score(self, x): return other(x)\n'

    def code(text, without='score'):
        (tmp_path/'own.py').write_text(text)
        module = types.ModuleType('hala.own')
        module.__file__ = str(tmp_path/'own.py')
        monkeypatch.setitem(sys.modules, 'hala.own', module)
        exec(text, vars(module))  # noqa: S102
        return path_code(module.Engine, without)
    before = code(source)
    assert before == code(source.replace('return x\n', 'return x # the same\n')) == code(source.replace('return 0', 'return 1'))
    assert before == code(source.replace('def need_room(): pass', 'def need_room(): raise OSError'))
    assert before != code(source.replace('return x\n', 'return x+1\n')) and code(source, '') != code(source.replace('return 0', 'return 1'), '')


def test_nothing_has_its_name_before_the_disk_has_it(tmp_path, monkeypatch):
    "A part, and an artifact: written aside, flushed, renamed, and then the folder is flushed too."
    done, fsync = [], os.fsync

    def flushed(fd): done.append('folder' if stat.S_ISDIR(os.fstat(fd).st_mode) else 'file'); fsync(fd)
    for name in ('replace', 'rename'):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda a, b, real=real: (done.append('name'), real(a, b)))
    monkeypatch.setattr(os, 'fsync', flushed)
    write_rows(tmp_path/'a.parquet', [dict(id='1')])
    assert done == ['file', 'name', 'folder']
    with making(tmp_path, 'k', {}): done.clear()
    assert done == ['file', 'name', 'folder', 'name', 'folder'] # its manifest, and the folder itself


def test_the_columns_of_the_checks_are_the_checks():
    "core.store names them without importing what measures them."
    from hala.core.quality import CHECKS
    assert CHECKED == ('cross_entropy', *CHECKS)


def test_what_the_disk_refuses_is_known_by_its_number():
    assert refusal(OSError(28, 'No space left on device')) == 'the disk is full'
    assert refusal(RuntimeError('I/O error: No space left on device (os error 28)')) == 'the disk is full'
    assert refusal(ValueError('28')) is None
