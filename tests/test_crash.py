"Nothing is lost: kills at every write point and at random moments, torn files, full disks, several workers. The kills are real (see crash.py)."
import json
import os
import random
import re
import shutil
import signal
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from conftest import PROBE, made
from crash import HOME, ROWS, SMALL, WAYS, Forker, Instant, artifact, asked, chain, damage, every_point, random_moments, torn

from hala.core import pipeline
from hala.core.pipeline import note_run
from hala.core.provenance import run_differences
from hala.core.provenance import verify as everything
from hala.core.recipe import HalaError
from hala.core.store import deaths, listing, making, manifest, read_rows, row_states, verify, verify_rows, write_manifest, write_rows


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
        if stage not in made: made[stage] = forker.unbroken(stage)
        return made[stage]
    return of


@pytest.mark.parametrize('stage, real', [('02', 5), ('03', 2), ('04', 5), ('05', 2)])
def test_kill_at_write_points_of_a_fresh_run(forker, unbroken, stage, real):
    "Whatever a kill leaves at any write point is taken up; some of these kills are real, to show that they leave just that."
    assert unbroken(stage)[3] > 50
    assert every_point(forker, stage, unbroken(stage), real) > 15


@pytest.mark.parametrize('stage, least', [('02', 30), ('03', 20), ('04', 30), ('05', 20)])
def test_kill_again_and_again(forker, unbroken, stage, least):
    "One run, killed at its first write point, taken up, killed at its second, and so on: a training from checkpoint to checkpoint."
    assert chain(forker, stage, unbroken(stage)) > least


@pytest.mark.parametrize('stage', ['02', '04'])
def test_kill_at_random_moments(forker, stage):
    random_moments(forker, stage, 10, seed=stage)


def test_kills_in_07_cost_the_task_at_hand(forker):
    "Killed three times while it works: what is finished is not asked again, and the bytes are those of an unbroken run."
    _, whole, _, points, once = forker.unbroken('07')
    assert len(once) == len(set(once)) > 9
    folder, finished, started = forker.folder('07', 'killed'), set(), 0
    for _ in range(3):
        code, *_ = forker.ask(folder, '07', point=points//4)
        assert code == -signal.SIGKILL
        new = asked(folder)[started:]
        assert new and not finished & set(new)
        started += len(new)
        finished |= {p.name for p in (folder/'runs'/HOME['07']).glob('*.part/steps/*.json')}
    assert len(finished) > 3
    assert forker.ask(folder, '07')[0] == 0 and artifact(folder, '07') == whole
    assert not finished & set(asked(folder)[started:]) and set(asked(folder)) == set(once) and len(asked(folder)) <= len(once)+3


def whole_texts(folder, prompts):
    "Of what was asked, whole texts that are no piece of another."
    texts = {m['content'] for f in ('pairs', 'instructions') for d in (folder/'runs/probe/text').iterdir() if d.is_dir()
             for r in read_rows(d/f'{f}.parquet') for m in r['messages_source']}
    asked_for = {x: re.sub(r'^[^:]*: ?\n*', '', json.loads(x)[1]) for x in prompts}
    return [x for x, text in asked_for.items() if text in texts and not any(text in t for t in texts-{text})]


def test_workers_fill_an_artifact_together(forker, unbroken):
    """Three processes make the bytes of one. None asks anything twice, and no two of them ask the same text: what two may ask at the same moment is a piece of
    a text, such as a sentence, that stands in other texts too. (Who asks for it first is not known before all texts are taken apart.)"""
    for stage in ('02', '04')*4:
        _, whole, _, _, once = unbroken(stage)
        folder = forker.folder(stage, 'workers')
        codes, _, said = forker.ask(folder, stage, workers=3)
        said = [said, *((folder/f'said{k}').read_text() for k in (1, 2) if (folder/f'said{k}').exists())]
        assert 0 in codes and all(code == 0 or 'another process' in s or 'is being made by' in s for code, s in zip(codes, said)), (codes, said)
        each = [f.read_text().splitlines() for f in folder.glob('asked*')]
        twice = Counter(asked(folder))-Counter(once)
        assert artifact(folder, stage) == whole and set(asked(folder)) == set(once)
        assert all(len(a) == len(set(a)) for a in each) and whole_texts(folder, twice) == [], twice


def test_a_worker_killed_beside_another(forker, unbroken):
    _, whole, seconds, *_ = unbroken('04')
    folder = forker.folder('04', 'beside')
    forker.ask(folder, '04', workers=2, after=seconds/2)
    code, *_ = forker.ask(folder, '04')
    assert code == 0 and artifact(folder, '04') == whole


def test_a_row_that_kills_is_rejected(forker, unbroken, monkeypatch, capsys):
    """`hala run` starts the stage again after each death: that halves the batch; three deaths alone, and the row is rejected; all others are as ever.
    In place of the notebook's kernel there is a forked child, which is started in a hundredth of the time."""
    monkeypatch.setenv('HALA_RECIPES', str(PROBE))
    folder = forker.folder('04', 'deadly')
    deadly = json.loads(asked(unbroken('04')[0])[1])[1] # a whole text, not a sentence of one that is asked again

    def run_notebook(p, stage, override, mark):
        code, _, said = forker.ask(folder, stage, deadly=deadly)
        assert code in (0, -signal.SIGKILL), said
        return code or None
    monkeypatch.setattr(pipeline, 'run_notebook', run_notebook)
    pipeline.execute(pipeline.plan('probe', str(folder/'runs'), override=SMALL['04']), '04', SMALL['04'])
    starts = capsys.readouterr().out.count('started again')
    assert 3 <= starts <= 3+Instant.rows.bit_length()
    ours, theirs = (all_rows(f) for f in (folder, unbroken('04')[0]))
    assert ours.keys() == theirs.keys()
    differ = [r for i, r in ours.items() if r != theirs[i]]
    assert differ and all(r['reason'].startswith('the engine has no answer') for r in differ)
    text = re.sub(r'^[^:]*: ?\n*', '', deadly) # what begins with it and goes on is deadly too
    assert all(any(text in m['content'] for m in r['messages_source']) for r in differ)
    assert deaths(folder/'runs/probe/rows') == 0 and asked(folder).count(json.dumps(['generate', deadly])) <= starts


def with_twins(folder):
    "The text that 04 reads, with every row once more in a data set of another name. Returns their ids."
    links = [d for d in (folder/'runs/probe/text').iterdir() if d.is_dir()]
    there = links[0].resolve()
    rows = read_rows(there/'instructions.parquet')
    twins = [dict(r, id=f'twin-{r["id"]}', source='another/set', licence='cc0-1.0') for r in rows]
    for link in links:
        link.unlink()
        shutil.copytree(there, link)
        write_rows(link/'instructions.parquet', rows+twins)
        write_manifest(link, manifest(link) | dict(files=listing(link)))
    return {r['id'] for r in twins}


def test_the_same_row_in_two_data_sets_is_translated_once(forker, unbroken):
    "In one run; and where the second set comes when the first is translated already, nothing is asked at all."
    _, _, _, _, once = unbroken('04')
    assert len(once) == len(set(once)) # a text within a set, too
    fresh, later = forker.folder('04', 'twins'), forker.place/'later'
    shutil.copytree(unbroken('04')[0], later, symlinks=True)
    shutil.rmtree(later/'runs'/HOME['04'])
    for folder, new in ((fresh, once), (later, [])):
        twins, before = with_twins(folder), len(asked(folder))
        code, _, said = forker.ask(folder, '04')
        assert code == 0, said
        assert sorted(asked(folder)[before:]) == sorted(new)
        rows, both = all_rows(folder), ('messages', 'tokens', 'finish', 'checks') # the second of two equal rows is rejected, which is no reason to ask again
        assert len(rows) == 2*len(twins) == 2*ROWS
        for i in twins: assert rows[i]['source'] == 'another/set' and all(rows[i][k] == rows[i.removeprefix('twin-')][k] for k in both)


def all_rows(folder):
    made, = (d for d in (folder/'runs'/HOME['04']).iterdir() if d.is_dir())
    return {r['id']: r for t in ('corpus', 'rejects') for r in read_rows(made/f'{t}.parquet')}


@pytest.mark.parametrize('stage, change, again', [
    ('04', 'corpus.most.empty=0', 0), ('04', 'corpus.seed=2', 0), ('02', 'bilingual.keep=0.5', 0), ('02', 'bilingual.most.empty=0', 0),
    ('02', 'bilingual.reverse=Back to English: {x}', 1/2), ('04', 'translator.prompt=Say it in Arabic: {x}', 1),
    ('02', 'bilingual.pairs=9', None), ('04', 'corpus.max_tokens=9', 1)])
def test_a_change_asks_again_for_exactly_its_rows(forker, unbroken, stage, change, again):
    """`again`: share of what was asked; for `reverse` of the scores. With more pairs only the new ones are translated. What is asked at all is known from a
    fresh run with the same change."""
    folder, _, _, _, once = unbroken(stage)
    copy = forker.place/'changed'
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, symlinks=True)
    code, _, said = forker.ask(copy, stage, override=f'{SMALL[stage]}; {change}')
    assert code == 0, said
    new = asked(copy)[len(once):]
    if again == 0: assert new == []
    else:
        fresh = forker.folder(stage, 'fresh')
        code, _, said = forker.ask(fresh, stage, override=f'{SMALL[stage]}; {change}')
        assert code == 0, said
        assert sorted(new) == sorted(asked(fresh) if again == 1 else set(asked(fresh))-set(once)) and new
    if again == 1/2: assert len(new) == sum('"score"' in a for a in once)/2 and all('Back to English' in a for a in new)
    home = copy/'runs'/HOME[stage]
    key, = (d.name for d in home.iterdir() if d.is_dir() and not (folder/'runs'/HOME[stage]/d.name).exists())
    shutil.rmtree(home/key)
    man = json.loads(next(home.glob('*/manifest.json')).read_text())
    name, value = change.split('.', 1)[1].split('=', 1)
    values = json.loads(json.dumps(man['recipe']))
    if name.startswith('most.'): name = 'most'
    elif name != 'prompt': (values if isinstance(values, dict) else values[0])[name] = value
    if name == 'prompt': values[1] = value
    inputs = {role: next((copy/'runs/probe').glob(f'*/{k}')) for role, k in man['inputs'].items()}
    state = row_states(home, key, values, inputs)
    if name in ('most', 'seed', 'keep', 'pairs'): assert (state['stale'], state['why']) == (0, [])
    else: assert state['stale'] > 0 and state['why'] == [f'{name} changed']


def test_a_stage_that_is_being_made_names_its_maker(forker, unbroken):
    folder = forker.folder('03', 'held')
    key = next(d.name for d in (unbroken('03')[0]/'runs'/HOME['03']).iterdir() if d.is_dir())
    with making(folder/'runs'/HOME['03'], key, {}):
        code, _, said = forker.ask(folder, '03')
        assert code == 1 and f'is being made by process {os.getpid()} on' in said and 'since 20' in said
        (folder/'runs'/HOME['03']/f'{key}.part/nothing').touch()
    assert verify(folder/'runs'/HOME['03']/key) == []


@pytest.mark.parametrize('stage, ways', [('02', 2), ('04', 2), ('05', 1)])
def test_torn_files_of_a_broken_run_are_repaired(forker, unbroken, stage, ways):
    "Each file in ways drawn by lot, those of checkpoints among them (`make torture`: in all four, and 03 too)."
    assert torn(forker, stage, unbroken(stage), ways) > 30


@pytest.mark.parametrize('home', ['text', 'tokenizer', 'teacher', 'base-probe', 'benchmarks', '01_compress', '02_bilingual', '03_translator', '04_corpus',
                                  'probe/05_sft', 'probe/06_merge', 'probe/07_evaluate', 'probe/08_release'])
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


def test_torn_files_of_a_run_itself_are_named(copied, monkeypatch):
    "Its executed notebooks, its list of keys and its figures, and what says which version is in use."
    monkeypatch.setenv('HALA_RECIPES', str(PROBE))
    run, draw = copied/'probe/probe/main', random.Random('run')
    assert run_differences(run) == [] and len(list(run.glob('*.ipynb'))) == 9
    for path in sorted(run.iterdir()):
        whole = path.read_bytes()
        for how in WAYS:
            damage(path, how, draw)
            assert any(line.startswith(f'{path.name}: ') for line in run_differences(run)), (path, how)
            path.write_bytes(whole)
    current = copied/'probe/text/current'
    for how in WAYS:
        damage(current, how, draw)
        assert [(d['where'], d['what']) for d in everything(copied, run)['differences']] == [('probe/text', 'current: names no version that is there')], how
        note_run(pipeline.plan('probe', str(copied))) # as any `hala run` does
        assert current.read_text() == made(copied, 'text').name+'\n'


def test_damaged_answers_are_found(unbroken, tmp_path):
    "All but a part that is gone: nobody misses it, and its rows are asked for again."
    copy, draw = tmp_path/'rows', random.Random('rows')
    shutil.copytree(unbroken('04')[0]/'runs/probe/rows', copy)
    assert verify_rows(copy) == []
    for path in sorted(copy.glob('*/*')):
        whole = path.read_bytes()
        for how in [w for w in WAYS if w != 'deleted' or path.suffix != '.parquet']:
            damage(path, how, draw)
            assert [str(path) in line for line in verify_rows(copy)] == [True], (path, how)
            path.write_bytes(whole)


@pytest.mark.parametrize('stage, largest', [('02', 700), ('04', 1500), ('04', 4000), ('05', 3000), ('05', 60_000)])
def test_a_full_disk_says_so_and_loses_nothing(forker, unbroken, stage, largest):
    "The system refuses files beyond a size, as it would beyond the last free block."
    _, whole, *_ = unbroken(stage)
    folder = forker.folder(stage, 'full')
    code, _, said = forker.ask(folder, stage, largest=largest)
    assert code == 1 and len(said.splitlines()) == 1 and 'too large' in said and 'goes on from here' in said, (code, said)
    before = len(asked(folder))
    code, _, said = forker.ask(folder, stage)
    assert code == 0 and artifact(folder, stage) == whole
    assert len(asked(folder)) <= len(asked(unbroken(stage)[0]))+Instant.rows*(before > 0)


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
