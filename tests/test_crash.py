"Nothing is lost: kills at every write point and at random moments, torn files, full disks, several workers. The kills are real (see crash.py)."
import json
import os
import random
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from crash import HOME, SMALL, WAYS, Forker, Instant, artifact, asked, chain, damage, every_point, random_moments, torn

from hala.core.recipe import HalaError
from hala.core.store import making, read_rows, row_states, verify, verify_rows


@pytest.fixture(scope='module')
def forker(runs):
    "In memory where there is some: what a killed process has written stays either way, and nothing waits for a disk."
    memory = '/dev/shm' if os.access('/dev/shm', os.W_OK) and shutil.disk_usage('/dev/shm').free > 2**30 else None
    with tempfile.TemporaryDirectory(dir=memory) as place:
        f = Forker(runs, Path(place))
        yield f
        f.close()


@pytest.fixture(scope='module')
def unbroken(forker):
    "A run of each stage that nobody disturbed, made when it is first wanted."
    made = {}
    def of(stage):
        if stage not in made: made[stage] = forker.unbroken(stage, instant=stage in ('02', '04'))
        return made[stage]
    return of


@pytest.mark.parametrize('stage', ['02', '04'])
def test_kill_at_write_points_of_a_fresh_run(forker, unbroken, stage):
    "A fresh run killed at each of its write points, and taken up."
    assert unbroken(stage)[3] > 50
    every_point(forker, stage, unbroken(stage))


@pytest.mark.parametrize('stage', ['02', '03', '04', '05'])
def test_kill_again_and_again(forker, unbroken, stage):
    "One run, killed at its first write point, taken up, killed at its second, and so on: of a training each write point from checkpoint to checkpoint."
    assert chain(forker, stage, unbroken(stage), instant=stage in ('02', '04')) > unbroken(stage)[3]/5


@pytest.mark.parametrize('stage', ['02', '04'])
def test_kill_at_random_moments(forker, stage):
    hit, _ = random_moments(forker, stage, 10, seed=stage)
    assert hit >= 5


def test_workers_fill_an_artifact_together(forker, unbroken):
    "Three processes make the bytes of one, and ask nothing twice."
    for stage in ('02', '04'):
        _, whole, _, _, once = unbroken(stage)
        folder = forker.folder(stage, 'workers')
        codes, _, said = forker.ask(folder, stage, workers=3)
        said = [said, *((folder/f'said{k}').read_text() for k in (1, 2) if (folder/f'said{k}').exists())]
        assert 0 in codes and all(code == 0 or 'another process' in s or 'is being made by' in s for code, s in zip(codes, said)), (codes, said)
        assert artifact(folder, stage) == whole and sorted(asked(folder)) == sorted(once)


def test_a_worker_killed_beside_another(forker, unbroken):
    _, whole, seconds, *_ = unbroken('04')
    folder = forker.folder('04', 'beside')
    forker.ask(folder, '04', workers=2, after=seconds/2)
    code, *_ = forker.ask(folder, '04')
    assert code == 0 and artifact(folder, '04') == whole


def test_a_row_that_kills_is_rejected(forker, unbroken):
    "Each start after a death halves the batch; three deaths alone, and the row is rejected; all others are as ever."
    folder = forker.folder('04', 'deadly')
    deadly = json.loads(asked(unbroken('04')[0])[5])[1]
    starts = 0
    while (code := forker.ask(folder, '04', deadly=deadly)[0]) == -signal.SIGKILL: starts += 1
    assert code == 0 and 3 <= starts <= 3+Instant.rows.bit_length()
    ours, theirs = (all_rows(f) for f in (folder, unbroken('04')[0]))
    assert ours.keys() == theirs.keys()
    differ = [r for i, r in ours.items() if r != theirs[i]]
    assert differ and all(r['reason'] == 'crashed the engine three times' for r in differ)
    assert all(any(m['content'] in deadly for m in r['messages_source']) for r in differ)


def all_rows(folder):
    made, = (d for d in (folder/'runs'/HOME['04']).iterdir() if d.is_dir())
    return {r['id']: r for t in ('corpus', 'rejects') for r in read_rows(made/f'{t}.parquet')}


@pytest.mark.parametrize('stage, change, again', [
    ('04', "corpus.reject=('empty',)", 0), ('04', 'corpus.seed=2', 0), ('02', 'bilingual.keep=0.5', 0), ('02', "bilingual.reject=('empty',)", 0),
    ('02', 'bilingual.reverse=Back to English: {x}', 1/2), ('04', 'translator.prompt=Say it in Arabic: {x}', 1),
    ('02', 'bilingual.pairs=9', None), ('04', 'corpus.max_tokens=9', 1)])
def test_a_change_asks_again_for_exactly_its_rows(forker, unbroken, stage, change, again):
    "`again`: share of what was asked; for `reverse` of the scores. With more pairs only the new ones are translated."
    folder, _, _, _, once = unbroken(stage)
    copy = forker.place/'changed'
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, symlinks=True)
    code, _, said = forker.ask(copy, stage, override=f'{SMALL[stage]}; {change}')
    assert code == 0, said
    new = asked(copy)[len(once):]
    if again is None: assert 0 < len(new) <= 6 and not set(new) & set(once)
    elif again == 1/2: assert len(new) == sum('"score"' in a for a in once)/2 and all('Back to English' in a for a in new)
    else: assert len(new) == again*len(once)
    home = copy/'runs'/HOME[stage]
    key, = (d.name for d in home.iterdir() if d.is_dir() and not (folder/'runs'/HOME[stage]/d.name).exists())
    shutil.rmtree(home/key)
    man = json.loads(next(home.glob('*/manifest.json')).read_text())
    name, value = change.split('.', 1)[1].split('=', 1)
    values = json.loads(json.dumps(man['recipe']))
    if name != 'prompt': (values if isinstance(values, dict) else values[0])[name] = value
    if name == 'prompt': values[1] = value
    inputs = {role: next((copy/'runs/probe').glob(f'*/{k}')) for role, k in man['inputs'].items()}
    state = row_states(home, key, values, inputs)
    if name in ('reject', 'seed', 'keep', 'pairs'): assert (state['stale'], state['why']) == (0, [])
    else: assert state['stale'] > 0 and state['why'] == [f'{name} changed']


def test_a_stage_that_is_being_made_names_its_maker(forker, unbroken):
    folder = forker.folder('03', 'held')
    key = next(d.name for d in (unbroken('03')[0]/'runs'/HOME['03']).iterdir() if d.is_dir())
    with making(folder/'runs'/HOME['03'], key, {}):
        code, _, said = forker.ask(folder, '03', instant=False)
        assert code == 1 and f'is being made by process {os.getpid()} on' in said and 'since 20' in said
        (folder/'runs'/HOME['03']/f'{key}.part/nothing').touch()
    assert verify(folder/'runs'/HOME['03']/key) == []


@pytest.mark.parametrize('stage', ['02', '04'])
def test_torn_files_of_a_broken_run_are_repaired(forker, unbroken, stage):
    "Each file in two ways drawn by lot (`make torture`: in all four)."
    assert torn(forker, stage, unbroken(stage), 2) > 20


@pytest.mark.parametrize('home', ['text', '01_compress', '03_translator', '04_corpus', 'probe/05_sft', 'probe/07_evaluate'])
def test_torn_files_of_an_artifact_are_named(runs, tmp_path, home):
    made, = (d for d in (runs/'probe'/home).iterdir() if d.is_dir())
    draw, copy = random.Random(home), tmp_path/made.name
    shutil.copytree(made, copy)
    assert verify(copy) == []
    for path in sorted(p for p in copy.rglob('*') if p.is_file()):
        data = path.read_bytes()
        for how in WAYS:
            if not data and how != 'deleted': continue
            damage(path, how, draw)
            assert path.read_bytes() == data if path.exists() and len(data) == path.stat().st_size and path.read_bytes() == data else \
                any(str(path) in line for line in verify(copy)), (path, how)
            path.write_bytes(data)


def test_a_damaged_input_is_refused_by_name(forker, runs):
    folder = forker.folder('04', 'refused')
    link = folder/'runs/probe/03_translator'
    shutil.rmtree(link)
    shutil.copytree(runs/'probe/03_translator', link)
    model, = link.glob('*/model/model.safetensors')
    damage(model, 'bit flipped', random.Random(1))
    code, _, said = forker.ask(folder, '04')
    assert code == 1 and str(model) in said and len(said.splitlines()) == 1
    assert asked(folder) == []


def test_damaged_answers_are_found(unbroken, tmp_path):
    copy = tmp_path/'rows'
    shutil.copytree(unbroken('04')[0]/'runs/probe/rows', copy)
    assert verify_rows(copy) == []
    part = next(copy.glob('*/*.parquet'))
    damage(part, 'bit flipped', random.Random(1))
    assert [str(part) in line for line in verify_rows(copy)] == [True]


@pytest.mark.parametrize('stage, largest', [('02', 700), ('04', 1500), ('04', 4000), ('05', 3000), ('05', 60_000)])
def test_a_full_disk_says_so_and_loses_nothing(forker, unbroken, stage, largest):
    "The system refuses files beyond a size, as it would beyond the last free block."
    _, whole, *_ = unbroken(stage)
    folder, instant = forker.folder(stage, 'full'), stage != '05'
    code, _, said = forker.ask(folder, stage, largest=largest, instant=instant)
    assert code == 1 and len(said.splitlines()) == 1 and 'too large' in said and 'goes on from here' in said, (code, said)
    before = len(asked(folder))
    code, _, said = forker.ask(folder, stage, instant=instant)
    assert code == 0 and artifact(folder, stage) == whole
    if instant: assert len(asked(folder)) <= len(asked(unbroken(stage)[0]))+Instant.rows*(before > 0)


@pytest.mark.skipif(os.getuid() != 0, reason='the child gives up the rights of root')
def test_a_read_only_folder_says_so(forker):
    folder = forker.folder('04', 'read-only')
    (folder/'runs/probe/04_corpus').mkdir()
    for link in [p for p in (folder/'runs').rglob('*') if p.is_symlink()]:
        there = link.resolve()
        link.unlink()
        shutil.copytree(there, link)
    for p in (folder/'runs').rglob('*'): p.chmod(0o755)
    for parent in [folder, *folder.parents][:4]: parent.chmod(0o755)
    folder.chmod(0o777) # for what the child says
    code, _, said = forker.ask(folder, '04', nobody=True)
    assert code == 1 and len(said.splitlines()) == 1 and 'writing is not allowed' in said, (code, said)


def test_an_unfinished_manifest_is_not_believed(tmp_path):
    with pytest.raises(HalaError, match='is not what was written'):
        with making(tmp_path, 'k', {}): pass
        text = (tmp_path/'k/manifest.json').read_text()
        (tmp_path/'k/manifest.json').write_text(text.replace('"tokens": 0', '"tokens": 1'))
        raise HalaError(verify(tmp_path/'k')[0])
