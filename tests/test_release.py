"`hala release`: what it lists, and what arrives at a stand-in for the hub that speaks the endpoints of huggingface_hub over loopback."
import base64
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import PROBE, ROOT, hala, made
from hala.core.publish import repositories
from huggingface_hub import DatasetCard, ModelCard

TOKEN = 'hf_' + 'Ab3'*10    # of the right shape, and nobody's


def git_name(data): return hashlib.sha1(b'blob %d\0' % len(data) + data).hexdigest()


class Hub(ThreadingHTTPServer):
    "Repositories in memory: (kind, id) -> {path: bytes}. Large files lie in a store of their own, by sha256, as on the hub."
    def __enter__(self):
        self.repos, self.store, self.commits, self.puts, self.at_put, self.one = {}, {}, [], [], None, threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    @property
    def address(self): return f'http://127.0.0.1:{self.server_port}'

    def large(self, path): return path.endswith(('.safetensors', '.parquet', 'tokenizer.json'))

    def entry(self, path, data):
        return dict(type='file', path=path, size=len(data), oid=git_name(data),
                    **(dict(lfs=dict(oid=hashlib.sha256(data).hexdigest(), size=len(data), pointerSize=130)) if self.large(path) else {}))


class Answer(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *_): pass

    def body(self):
        if self.headers.get('Transfer-Encoding') != 'chunked': return self.rfile.read(int(self.headers.get('Content-Length') or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b''.join(parts)

    def say(self, value, code=200):
        text = json.dumps(value).encode()
        self.send_response(code)
        for name, said in (('Content-Type', 'application/json'), ('Content-Length', len(text))): self.send_header(name, str(said))
        self.end_headers()
        self.wfile.write(text)

    def allowed(self):
        if self.headers.get('Authorization') == f'Bearer {TOKEN}': return True
        self.say({'error': 'Invalid username or password.'}, 401)

    def do_GET(self):
        hub = self.server
        if not self.allowed(): return
        kind, id = re.match(r'/api/(\w+)s/([\w.-]+/[\w.-]+)/tree/main', self.path).groups()
        self.say([hub.entry(path, data) for path, data in hub.repos[kind, id].items()])

    def do_PUT(self):
        hub, data = self.server, self.body()
        with hub.one:    # the client sends several at once: unless they are counted one by one, no file need be the third
            if hub.at_put and hub.at_put(len(hub.puts)): return self.say({'error': 'no'}, 403)
            name = self.path.rpartition('/')[2]
            assert hashlib.sha256(data).hexdigest() == name
            hub.puts.append(name)
            hub.store[name] = data
        self.say({})

    def do_POST(self):
        hub, data = self.server, self.body()
        if not self.allowed(): return
        if self.path == '/api/validate-yaml': return self.say({'errors': [], 'warnings': []})
        if self.path == '/api/repos/create': return self.create(**json.loads(data))
        if self.path.endswith('.git/info/lfs/objects/batch'):
            wanted = json.loads(data)['objects']
            def upload(o): return {} if o['oid'] in hub.store else dict(actions=dict(upload=dict(href=f'{hub.address}/lfs/{o["oid"]}')))
            return self.say(dict(transfer='basic', objects=[{**o, **upload(o)} for o in wanted]))
        kind, id, verb = re.match(r'/api/(\w+)s/([\w.-]+/[\w.-]+)/(\w+)', self.path).groups()
        held = hub.repos[kind, id]
        if verb == 'preupload':
            self.say(dict(files=[dict(path=f['path'], uploadMode='lfs' if hub.large(f['path']) else 'regular', shouldIgnore=False,
                                      oid=git_name(held[f['path']]) if f['path'] in held else None) for f in json.loads(data)['files']]))
        else: self.commit(kind, id, [json.loads(line) for line in data.splitlines()])

    def create(self, name, organization, type='model', **_):
        self.server.repos.setdefault((type, f'{organization}/{name}'), {'.gitattributes': b''})
        self.say(dict(url=f'{self.server.address}/{organization}/{name}', name=f'{organization}/{name}'))

    def commit(self, kind, id, lines):
        hub, held = self.server, dict(self.server.repos[kind, id])
        for line in lines:
            value = line['value']
            if line['key'] == 'file': held[value['path']] = base64.b64decode(value['content'])
            if line['key'] == 'lfsFile': held[value['path']] = hub.store[value['oid']]
            if line['key'] == 'deletedFile': del held[value['path']]
        hub.repos[kind, id] = held
        hub.commits.append(id)
        self.say(dict(commitUrl=f'{hub.address}/{id}/commit/1', commitOid='1'*40, success=True))


@pytest.fixture
def hub():
    with Hub(('127.0.0.1', 0), Answer) as there: yield there


@pytest.fixture(scope='session')
def release(runs): return repositories(made(runs, '08_release'))


def settings(hub, runs, token):
    # without Xet, whose storage a stand-in cannot be: large files go by git's LFS, one by one, so that one may be cut off
    return dict(HF_ENDPOINT=hub.address, HF_HUB_DISABLE_XET='1', HF_HUB_DISABLE_TELEMETRY='1', HF_HOME=str(runs.parent/'nobody'), HF_TOKEN=token)


def push(hub, runs, *more, code=0, token=TOKEN):
    return hala('release', '--size', 'probe', '--runs', runs, *more, code=code, **settings(hub, runs, token))


def complaint(said): return next(line for line in said.splitlines() if 'was not pushed' in line)    # bars of uploads stand around it


def test_everything_arrives_and_the_second_push_sends_nothing(hub, runs, release):
    said = push(hub, runs, '--push')
    assert {(r.kind, r.id): {'.gitattributes': b'', **{path: c if isinstance(c, bytes) else c.read_bytes() for path, c in r.files().items()}}
            for r in release} == hub.repos
    assert sorted(hub.commits) == sorted(r.id for r in release), 'one commit each: a repository is there as a whole or not at all'
    assert said.count('files sent') == len(release) == 5 and TOKEN not in said
    puts = len(hub.puts)
    hub.repos['dataset', 'hala/probe-corpus'].update({'corpus-00009.parquet': b'of an earlier release', 'picture.png': b'theirs'})
    again = push(hub, runs, '--push')
    assert again.count('is up to date') == 4 and '0 files sent, 1 taken out' in again and len(hub.puts) == puts
    assert 'picture.png' in hub.repos['dataset', 'hala/probe-corpus'] and 'corpus-00009.parquet' not in hub.repos['dataset', 'hala/probe-corpus']


def test_a_push_that_is_killed_goes_on(hub, runs, release):
    "Killed while the third large file is on its way: what arrived is not sent again, and nothing half stands on the hub."
    command = [sys.executable, '-m', 'hala.cli', 'release', '--size', 'probe', '--runs', str(runs), '--push']
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                             env={**os.environ, 'HALA_RECIPES': str(PROBE), **settings(hub, runs, TOKEN)})
    hub.at_put = lambda n: n == 2 and (child.send_signal(signal.SIGKILL), child.wait())
    assert child.wait(600) == -signal.SIGKILL
    assert len(hub.puts) == 2
    for r in release:
        held = hub.repos.get((r.kind, r.id), {})
        assert set(held) in (set(), {'.gitattributes'}, {'.gitattributes', *r.files()}), 'as a whole or not at all'
    hub.at_put = None
    push(hub, runs, '--push')
    assert len(hub.puts) == len(set(hub.puts)), 'no large file was received twice'
    assert all(len(hub.repos[r.kind, r.id]) == len(r.files()) + 1 for r in release)


def test_what_the_hub_refuses_is_one_line(hub, runs):
    hub.at_put = lambda n: True
    said = push(hub, runs, '--push', code=1)
    assert '403' in complaint(said) and 'Traceback' not in said
    assert 'the hub asks for a token' in push(hub, runs, '--push', code=1, token='')
    said = push(hub, runs, '--push', code=1, token=TOKEN[:-1])
    assert '401' in complaint(said) and TOKEN[:-1] not in said


@pytest.mark.parametrize('how', [[], ['--dry-run'], ['--push', '--dry-run']])
def test_a_dry_run_lists_and_asks_nobody(hub, runs, release, how):
    said = push(hub, runs, *how, token='')
    assert not hub.repos and not hub.puts
    for r in release:
        assert f'{r.kind} {r.id}  {len(r.files())} files' in said
        for path, content in r.files().items():
            assert f'{len(content) if isinstance(content, bytes) else content.stat().st_size:>12,}  {path}' in said


def test_cards_that_go_up_state_hours_and_round_trip(release, runs, tmp_path):
    "The card in the folder does not, for hours differ between equal runs, and a release is compared byte by byte."
    for r in release:
        (tmp_path/'README.md').write_bytes(r.files()['README.md'])
        card = (ModelCard if r.kind == 'model' else DatasetCard).load(tmp_path/'README.md')
        assert card.data.language == ['ar', 'en'] and card.data.license == 'apache-2.0'
        assert re.search(r'\| step \| hours \|.*\n.*\n\| \w', card.text) and re.search(r'\| all \| [\d.e-]+ \|', card.text)
        assert '| step | hours |' not in (r.folder/'README.md').read_text()
        assert 'الحدود والمخاطر' in card.text and 'bibtex' in card.text
    merged = next(r for r in release if r.id == 'hala/probe-probe')
    scores = ModelCard(merged.card).data.eval_results
    assert {e.metric_type for e in scores} == {'acc', 'generate'} and all(e.metric_args['low'] <= e.metric_value <= e.metric_args['high'] for e in scores)


def test_a_torn_release_is_not_pushed(hub, copied):
    weights = made(copied, '08_release')/'probe-probe'/'model.safetensors'
    weights.write_bytes(weights.read_bytes()[:-1])
    assert 'model.safetensors has' in push(hub, copied, '--push', code=1) and not hub.repos
