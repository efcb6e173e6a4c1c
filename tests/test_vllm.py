"""vLLM's own server: `hala serve` starts it on a model, the engine `openai` and `hala translate` ask it, and it says what transformers say.
Only where there is a vLLM, in `.venv-vllm` (`make vllm`) or here."""
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest
import torch
from conftest import ROOT, hala
from transformers import Lfm2Config, Lfm2ForCausalLM

from hala.core.engine import Endpoint, Sampling, engine
from hala.core.recipe import HalaError
from hala.core.serve import has_vllm, pythons
from hala.core.tables import read_tables, write_table
from hala.core.text import chat
from hala.core.world import reference, toy

pytestmark = pytest.mark.skipif(not any(map(has_vllm, pythons())), reason='there is no vLLM: make vllm')
TEXTS = list({r['messages_source'][0]['content']: r['messages'][0]['content'] for r in reference()}.items())[:24]


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    "A random LFM2 with heads of 32, the smallest that vLLM's attention takes on a CPU, and weights large enough that positions matter."
    _, tokenizer = toy()
    folder = tmp_path_factory.mktemp('models')/'random'
    config = Lfm2Config(vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=4, max_position_embeddings=2048,
                        layer_types=['conv', 'full_attention']*2, num_attention_heads=2, num_key_value_heads=1, conv_L_cache=3, conv_dim=64, block_dim=64,
                        block_auto_adjust_ff_dim=False, initializer_range=.2, pad_token_id=tokenizer.pad_token_id,
                        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    torch.manual_seed(1)
    Lfm2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope='module')
def server(model):
    "(process, address, what it printed first), from `hala serve` until it answers."
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    log = model.parent/'said'
    process = subprocess.Popen([sys.executable, '-m', 'hala.cli', 'serve', str(model), '--port', str(port)], cwd=ROOT,
                               stdin=subprocess.DEVNULL, stdout=open(log, 'w'), stderr=subprocess.STDOUT)
    try:
        for _ in range(900): # a busy machine needs minutes to import it
            assert process.poll() is None, log.read_text()
            try: urllib.request.urlopen(f'http://127.0.0.1:{port}/health', timeout=5).close()
            except OSError: time.sleep(1)
            else: break
        yield process, f'http://127.0.0.1:{port}/v1', log.read_text().splitlines()[0]
    finally:
        family = [process, *psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
        for p in family: p.kill()
        process.wait()


@pytest.fixture(autouse=True)
def plainly(monkeypatch):
    for name in ('HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy'): monkeypatch.delenv(name, raising=False)


def test_it_runs_with_the_settings_that_are_right(server):
    "Trap of LFM2 on a CPU: with vLLM's own settings its probabilities are wrong, and nothing says so."
    process, _, first = server
    words = psutil.Process(process.pid).cmdline()
    assert words[1:] == shlex.split(first)[1:] and 'vllm.entrypoints.openai.api_server' in words and '--no-enable-prefix-caching' in words
    if torch.cuda.is_available(): return
    assert words[words.index('--compilation-config')+1] == '{"custom_ops": ["-rotary_embedding"]}' and '--enforce-eager' in words
    assert psutil.Process(process.pid).environ()['VLLM_ENABLE_V1_MULTIPROCESSING'] == '0'


def test_it_says_what_transformers_say(server, model):
    "The same log-probabilities of every token, alone and beside others, and the same texts."
    prompts, answers = [chat(en) for en, _ in TEXTS], [ar for _, ar in TEXTS]
    with engine('hf', model) as e: scores, texts = e.score(prompts, answers), e.generate(prompts, Sampling(12))
    with engine('openai', Endpoint(server[1], 'random', in_flight=8)) as e: found, said = e.score(prompts, answers), e.generate(prompts, Sampling(12))
    off = [abs(x-y) for a, b in zip(scores, found, strict=True) for x, y in zip(a, b, strict=True)]
    equal = [whole(a.text) == whole(b.text) for a, b in zip(texts, said)]
    print(f'{len(off)} log-probabilities, {max(off):.6f} off at most; {sum(equal)} of {len(equal)} texts equal')
    assert len(off) > 100 and max(off) < 1e-3
    assert sum(equal) >= .9*len(equal) # of a random model two tokens may be as likely, and either is right
    assert [o[1:] for o, same in zip(texts, equal) if same] == [o[1:] for o, same in zip(said, equal) if same]


def whole(text):
    "Without letters of which an answer's end holds the first bytes only: transformers show that there is something, vLLM does not."
    return ''.join(text.replace('\ufffd', '').split())


def test_an_unknown_model_is_named(server):
    with engine('openai', Endpoint(server[1], 'another')) as e, pytest.raises(HalaError, match="'another'"): e.generate([chat('Hi')], Sampling(4))


def test_hala_translate_asks_it(server, model, tmp_path):
    "Through the server and in this process the same came out, kept or not."
    write_table(tmp_path/'in.jsonl', [dict(id=n, text=en) for n, (en, _) in enumerate(TEXTS[:8])])
    def through(name, *how):
        said = hala('translate', tmp_path/'in.jsonl', tmp_path/f'{name}.jsonl', *how, '--max-tokens', 12, '--runs', tmp_path/name)
        assert said.startswith('8 records, text: text; translator') and f'engine {name}' in said
        found = [r for p in (f'{name}.jsonl', f'{name}.rejects.jsonl') if (tmp_path/p).exists() for r in read_tables(tmp_path/p)]
        return {r['id']: (whole(r['text']), r.get('reason')) for r in found}
    def equal(name, asked): return through(name, '--engine', name, '--model', model) == asked
    asked = through('openai', '--engine', 'openai', '--url', server[1], '--model', 'random', '--in-flight', 4)
    assert len(asked) == 8 and any(text for text, _ in asked.values()) and equal('hf', asked)
    assert equal('vllm', asked) # from whichever environment this is, in that of vLLM


PROGRAM = """
import json, sys
from hala.core.engine import Sampling, engine
from hala.core.text import chat
with engine('vllm', sys.argv[1]) as e: print(json.dumps([e.score([chat('Hi')], ['مرحبا']), e.generate([chat('Hi')], Sampling(4))]))"""


COMPILER = re.compile(r'(.*-)?(gcc|g\+\+|cc|c\+\+|c[89]9|cpp|clang|clang\+\+|clang-cpp|icx|icpx)(-[\d.]+)?')


@pytest.mark.skipif(torch.cuda.is_available(), reason='on a GPU it takes what is left')
@pytest.mark.parametrize('space', ['', '1'])
def test_a_long_context_keeps_no_model_from_starting(tmp_path, space):
    "Keys and values as many as in LFM2-1.2B, 2.9 GiB for one text: room is made for it; with less, which the user may say, the longest text is shorter."
    _, tokenizer = toy()
    config = Lfm2Config(vocab_size=len(tokenizer), hidden_size=512, intermediate_size=64, num_hidden_layers=8, max_position_embeddings=128_000,
                        layer_types=['conv']*2+['full_attention']*6, num_attention_heads=8, num_key_value_heads=8, conv_L_cache=3, conv_dim=512,
                        block_dim=512, block_auto_adjust_ff_dim=False, pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id,
                        eos_token_id=tokenizer.eos_token_id)
    for part in (Lfm2ForCausalLM(config), tokenizer): part.save_pretrained(tmp_path)
    environment = {k: v for k, v in os.environ.items() if k != 'VLLM_CPU_KVCACHE_SPACE'} | (dict(VLLM_CPU_KVCACHE_SPACE=space) if space else {})
    python = next(p for p in pythons() if has_vllm(p))
    done = subprocess.run([python, '-c', PROGRAM, str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout.splitlines()[-1])) == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason='on a GPU it compiles what it likes')
def test_no_compiler_is_needed_on_a_cpu(model, tmp_path):
    "With none on the path, and no word from whoever starts it, vLLM in a process of its own scores as transformers do."
    for f in (f for d in os.environ['PATH'].split(os.pathsep) for f in Path(d).glob('*')):
        if not COMPILER.fullmatch(f.name) and not (tmp_path/f.name).is_symlink(): (tmp_path/f.name).symlink_to(f)
    environment = {k: v for k, v in os.environ.items() if k not in ('CC', 'CXX', 'TORCHDYNAMO_DISABLE')} | dict(PATH=str(tmp_path))
    python = next(p for p in pythons() if has_vllm(p))
    assert not any(shutil.which(name, path=str(tmp_path)) for name in ('cc', 'c++', 'gcc', 'g++', 'clang', 'clang++'))
    done = subprocess.run([python, '-c', PROGRAM, str(model)], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [found], [text] = json.loads(done.stdout.splitlines()[-1])
    with engine('hf', model) as e: [wanted], [said] = e.score([chat('Hi')], ['مرحبا']), e.generate([chat('Hi')], Sampling(4))
    assert found == pytest.approx(wanted, abs=1e-3) and whole(text[0]) == whole(said.text)
