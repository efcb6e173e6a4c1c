"A run that starts from what somebody else made."
import json
import shutil
import sys
from types import SimpleNamespace

import pytest
from conftest import PROBE, hala

from hala import cli, sft, sources
from hala.core import adopt as adopting
from hala.core.adopt import adopt
from hala.core.licences import restrictions, sources_behind
from hala.core.pipeline import plan, run_stage
from hala.core.recipe import HalaError
from hala.core.store import manifest, read_rows, verify
from hala.core.world import toy


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv('HALA_RECIPES', str(PROBE))
    return str(tmp_path/'runs')


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp('somebody')/'model'
    for x in toy(): x.save_pretrained(folder)
    (folder/'modeling.py').write_text('print("run me")')
    return folder


def corpus(tmp_path, n=400):
    talk = [[{'from': 'human', 'value': f'ما الرقم {k}؟'}, {'from': 'gpt', 'value': f'هو {k*7%60}.'}] for k in range(n)]
    (tmp_path/'corpus.jsonl').write_text(''.join(json.dumps(dict(conversations=t))+'\n' for t in talk))
    return tmp_path/'corpus.jsonl'


def test_tuning_on_an_adopted_corpus_and_base(runs, model, tmp_path, capsys):
    "Stage 05 runs with nothing of 00 to 04 made here, and everything says where it comes from."
    before = plan('probe', runs)
    there = adopt(before, f'04={corpus(tmp_path)}')
    adopt(plan('probe', runs), f'base-probe={model}')
    p = plan('probe', runs)
    assert p.folder('04_corpus') == there and p.keys['05_sft'] != before.keys['05_sft'] and '03_translator' not in p.graph
    assert verify(there) == [] and manifest(there)['adopted'] == dict(id=f'…/{tmp_path.name}/corpus.jsonl', revision=None) and manifest(there)['recipe'] == {}
    assert not list(p.folder('base-probe').rglob('*.py'))
    assert {r['split'] for r in read_rows(there/'corpus.parquet')} == {'train', 'validation'}
    run_stage('05', sft.MAKERS, 'probe', runs, override='sft.max_steps=2')
    made = plan('probe', runs, override='sft.max_steps=2')
    assert made.made('05_sft') and manifest(made.folder('05_sft'))['inputs']['corpus'] == p.keys['04_corpus']
    cli.main(['status', '--size', 'probe', '--runs', runs, '--trace', '05_sft'])
    assert f"400 of 400 rows 'adopted, not made here: …/{tmp_path.name[:20]}" in capsys.readouterr().out
    [told] = sources_behind([there])
    assert told == dict(name=f'…/{tmp_path.name}/corpus.jsonl', revision=None, licence='unknown', rows=400)


def test_a_whole_run_from_an_adopted_corpus(runs, model, tmp_path):
    "One command from nothing: bases and benchmarks are made, teacher, pairs and translator are neither made nor missed, and the release holds what there is."
    said = hala('run', '--size', 'probe', '--runs', runs, '--from', '05', '--adopt', f'04={corpus(tmp_path)}', '--adopt', f'base-probe={model}',
                '--set', 'sft.max_steps=4', '--set', 'corpus.seed=3')
    p = plan('probe', runs, override='sft.max_steps=4; corpus.seed=3')
    assert all(map(p.made, p.graph)) and not {'text', 'teacher', '01_compress', '02_bilingual', '03_translator'} & {*p.graph}, said
    assert {d.name for d in p.folder('08_release').iterdir() if d.is_dir()} == {'probe-probe', 'probe-probe-sft', 'probe-corpus'}
    results = json.loads((p.run/'results.json').read_text())
    assert 'merged_ar_acc' in results and 'translator_chrf' not in results
    data, base = f'…/{tmp_path.name}/corpus.jsonl', f'…/{model.parent.name}/model'
    cards = {d.name: (d/'README.md').read_text() for d in p.folder('08_release').iterdir() if d.is_dir()}
    for name, card in cards.items():
        assert f'dopted, not made here: {data}, no revision' in card and f'| {data} |  | unknown | 400 |' in card, name
        assert str(tmp_path) not in card and str(model) not in card
        assert 'translated by' not in card and 'translated Arabic' not in card and 'ترجم' not in card and 'own pipeline' not in card
        assert '## Prompts' not in card and '| 04_corpus |' not in card, 'neither teacher nor translator was asked'
    assert cards['probe-corpus'].split('## What it is\n\n')[1].startswith(f'Adopted, not made here: {data}, no revision. It stands where')
    assert f"Made again by `hala run --size probe --adopt '04_corpus={data}'` (`…`: " in cards['probe-corpus']
    assert f"hala run --size probe --adopt 'base-probe={base}' --adopt '04_corpus={data}' --set sft.max_steps=4`" in cards['probe-probe']
    rows = {r['artifact']: r for r in json.loads(hala('status', '--size', 'probe', '--runs', runs, '--json'))}
    assert {a for a, r in rows.items() if r['state'] == 'adopted'} == {'04_corpus', 'base-probe'}
    assert rows['04_corpus']['adopted'] == dict(id=data, revision=None) and rows['benchmarks']['adopted'] is None


def test_adopting_twice_is_adopting_once(runs, model, tmp_path):
    first, again = (adopt(plan('probe', runs), f'03={model}') for _ in range(2))
    assert first == again and read_rows(first/'translations.parquet') == []
    other = adopt(plan('probe', runs, 'other'), f'04={corpus(tmp_path, 9)}')
    assert plan('probe', runs).folder('04_corpus') != other and plan('probe', runs, 'other').folder('04_corpus') == other


def test_licences_of_their_cards(runs, model, tmp_path):
    "A model's and a corpus's licence reach the manifest, the rows and what is said of their sources; without a card it is unknown."
    folder = shutil.copytree(model, tmp_path/'model')
    (folder/'README.md').write_text('---\nlicense: other\nlicense_name: lfm1.0\n---\n# A model\n')
    p = plan('probe', runs)
    assert manifest(adopt(p, f'03={folder}'))['licences'] == ['lfm1.0'] and manifest(adopt(p, f'base-probe={model}'))['licences'] == ['unknown']
    data = tmp_path/'data'
    data.mkdir()
    (data/'README.md').write_text('---\nlicense: CC-BY-NC-4.0\n---\n')
    there = adopt(p, f'04={corpus(data, 9)}')
    assert manifest(there)['licences'] == ['cc-by-nc-4.0'] == sorted({r['licence'] for r in read_rows(there/'corpus.parquet')})
    assert restrictions(sources_behind([there]))


@pytest.mark.parametrize('what, says', [
    ('04', 'STAGE=ID_OR_FOLDER'), ('00=x', 'to be adopted are teacher'), ('07=x', 'to be adopted are'), ('03=nobody/nothing', 'nobody/nothing'),
    ('04=nobody/nothing', 'nobody/nothing')])
def test_what_cannot_be_adopted(runs, what, says, monkeypatch):
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    with pytest.raises(HalaError, match=says): adopt(plan('probe', runs), what)


@pytest.mark.parametrize('what', ['03=nobody/nothing', '04=nobody/nothing'])
def test_what_is_out_of_reach_is_said_in_the_words_of_adopting(runs, what, monkeypatch):
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    with pytest.raises(HalaError) as e: adopt(plan('probe', runs), what)
    said, stage = str(e.value), what[:2]
    assert said.startswith(f'--adopt {what}: no file or folder, and not reachable') and said.endswith(f'write --adopt {stage}=FOLDER')
    assert 'Folder(' not in said and '--set' not in said and len(said.splitlines()) == 1


def test_a_corpus_of_the_hub_without_datasets(runs, monkeypatch):
    monkeypatch.setitem(sys.modules, 'datasets', None) # as where it is not installed
    with pytest.raises(HalaError, match=r"^--adopt 04=a/b: reading a data set of the hub needs datasets; pip install 'hala\[train\]', or download it"):
        adopt(plan('probe', runs), '04=a/b')


def test_a_corpus_is_written_in_parts(runs, tmp_path, monkeypatch):
    "However many rows a part has, the rows and the key are the same."
    whole = adopt(plan('probe', runs), f'04={corpus(tmp_path, 50)}')
    monkeypatch.setattr(adopting, 'SLICE', 20)
    parts = adopt(plan('probe', str(tmp_path/'other')), f'04={tmp_path/"corpus.jsonl"}')
    assert [p.name for p in sorted(parts.glob('corpus-*'))] == [f'corpus-{k:05d}.parquet' for k in range(3)] and whole.name == parts.name
    assert read_rows(parts/'corpus.parquet') == read_rows(whole/'corpus.parquet') and manifest(parts)['rows'] == dict(kept=50, rejected={}, **{'in': 50})


def test_a_folder_that_holds_no_model(runs, tmp_path):
    with pytest.raises(HalaError, match='other formats can run code'): adopt(plan('probe', runs), f'03={tmp_path}')
    assert not plan('probe', runs).made('03_translator')


def test_the_command_says_what_can_be_adopted(tmp_path):
    said = hala('run', '--size', 'probe', '--runs', tmp_path, '--adopt', '04', code=1)
    assert said.startswith('hala: --adopt 04: write STAGE=ID_OR_FOLDER; to be adopted are teacher, ') and len(said.splitlines()) == 1


def test_any_folder_is_scored_like_a_model_of_a_run(runs, model, capsys):
    "The same items as stage 07 gives; questions that are not made, and a model that is not there, are said in one line."
    command = ['evaluate', str(model), '--size', 'probe', '--runs', runs, '--questions', '4', '--json']
    with pytest.raises(SystemExit, match='--only benchmarks'): cli.main(command)
    run_stage('00', sources.MAKERS, 'probe', runs, only='benchmarks')
    capsys.readouterr()
    cli.main(command)
    found = json.loads(capsys.readouterr().out)
    assert {(m['model'], m['n']) for m in found if m['name'] == 'acc'} == {(str(model), 4)} and {m['lang'] for m in found} == {'ar', 'en'}
    with pytest.raises(SystemExit, match='nobody/nothing'): cli.main(['evaluate', 'nobody/nothing', *command[2:]])


COMMITS = dict(old='a'*40, main='b'*40)


@pytest.fixture
def hub(monkeypatch, model, tmp_path):
    "A hub with a data set of two configurations and a model, both at two commits; what it was asked."
    asked = []
    def commit(revision): return {**COMMITS, **{c: c for c in COMMITS.values()}}[revision or 'main']
    def info(self, id, revision=None): asked.append(revision); return SimpleNamespace(sha=commit(revision))
    def data(id, configuration, split, revision, streaming):
        if not configuration: raise ValueError("Config name is missing.\nPlease pick one among the available configs: ['ar-en', 'ar-fr']")
        return [dict(translation=dict(en=f'{configuration} {n}', ar='لا')) for n in range(3)]
    def snapshot(id, revision=None, **_):
        asked.append(revision)
        return str(shutil.copytree(model, tmp_path/'hub'/commit(revision), dirs_exist_ok=True))
    def no_card(*_, **__): raise OSError
    monkeypatch.setattr('huggingface_hub.HfApi.dataset_info', info)
    monkeypatch.setattr('huggingface_hub.snapshot_download', snapshot)
    monkeypatch.setattr('huggingface_hub.hf_hub_download', no_card)
    monkeypatch.setattr('datasets.load_dataset', data)
    return asked


@pytest.mark.parametrize('stage, configuration', [('02', ':ar-en'), ('03', '')])
def test_a_run_goes_on_with_the_commit_it_began_with(runs, hub, stage, configuration):
    "The same command asks no hub again; a revision that is named is taken, a branch where it points now."
    def take(revision=''): return adopt(plan('probe', runs), f'{stage}=some/body{revision}{configuration}')
    old = take('@old')
    assert manifest(old)['adopted'] == dict(id='some/body', revision=COMMITS['old'], **(dict(configuration='ar-en') if configuration else {}))
    before = len(hub)
    assert take() == old == take('@'+COMMITS['old']) and len(hub) == before
    new = take('@main')
    assert new != old and manifest(new)['adopted']['revision'] == COMMITS['main'] and take() == new
    assert adopt(plan('probe', runs, 'other'), f'{stage}=some/body@old{configuration}') == old # by key, another run shares it


def test_a_configuration_is_named(runs, hub):
    "Each has a key of its own; where one is needed, or can be none, the line says so."
    both = [adopt(plan('probe', runs), f'02=some/pairs:{c}') for c in ('ar-en', 'ar-fr')]
    assert both[0] != both[1] and [read_rows(d/'pairs.parquet')[0]['messages_source'][0]['content'] for d in both] == ['ar-en 0', 'ar-fr 0']
    for what, says in (('02=some/pairs', '02=some/pairs: it has several configurations, .*: --adopt 02=some/pairs:CONFIGURATION$'),
                       ('03=some/model:x', '03=some/model:x: a model has no configurations')):
        with pytest.raises(HalaError, match=f'^--adopt {says}'): adopt(plan('probe', runs), what)
