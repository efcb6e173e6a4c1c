"The engine of a server, against a real one on this machine: it speaks OpenAI's protocol, and drops, delays, garbles and refuses."
import json
import math
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import ROOT

from hala.cli import main
from hala.core.adopt import adopt
from hala.core import server as module
from hala.core.engine import Endpoint, Sampling, engine, kept
from hala.core.pipeline import plan
from hala.core.recipe import HalaError
from hala.core.store import Journal, read_rows, replay
from hala.core.tables import read_tables, write_table
from hala.core.text import chat, content
from hala.core.world import reference, toy


class Server(ThreadingHTTPServer):
    "Counts what it is asked; `plan` says what happens to a request instead of an answer."
    daemon_threads = True

    def __init__(self, plan=lambda text, times: None, scorer=None, wanted='key'):
        self.plan, self.scorer, self.wanted, self.lock = plan, scorer, wanted, threading.Lock()
        self.asked, self.answered, self.running, self.most, self.freed, self.paths = {}, [], 0, 0, threading.Event(), set()
        super().__init__(('127.0.0.1', 0), Handler)

    @property
    def url(self): return f'http://127.0.0.1:{self.server_port}/v1'


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_): pass

    def send(self, status, body, **headers):
        self.send_response(status)
        for k, v in headers.items(): self.send_header(k.replace('_', '-'), v)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        s = self.server
        body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        text = body['messages'][0]['content'] if 'messages' in body else body['prompt']
        with s.lock:
            s.running += 1
            s.most = max(s.most, s.running)
            times = s.asked[text] = s.asked.get(text, 0)+1
            s.paths.add(self.path)
        time.sleep(.01)
        try: self.answer(s.plan(text, times), body, text)
        finally:
            with s.lock: s.running -= 1

    def answer(self, what, body, text):
        s = self.server
        if self.headers['Authorization'] != f'Bearer {s.wanted}': return self.send(401, b'{}')
        if what == 'drop': return self.connection.close()
        if what == 'half': return self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"choi')
        if what == 'delay': time.sleep(.3)
        if what == 'hold': assert s.freed.wait(60) # until the test lets it go
        if what == 'garble': return self.send(200, b'<html>busy</html>')
        if what == 'strange': return self.send(200, b'[1, 2]')
        if what == 'none': return self.send(200, b'{"choices": []}')
        if isinstance(what, int): return self.send(what, b'{"error": "no"}', Retry_After='0')
        if callable(what): what = what(body)
        if isinstance(what, tuple): return self.send(what[0], json.dumps(what[1]).encode(), **what[2] if what[2:] else {})
        with s.lock: s.answered.append(text)
        choice = dict(message=dict(role='assistant', content=f'صدى {text}'), finish_reason='stop')
        said = dict(choices=[choice], usage=dict(prompt_tokens=10, completion_tokens=5))
        self.send(200, json.dumps({**said, **(s.scorer(body) if s.scorer else {})}).encode())


@contextmanager
def serving(*args, **kwargs):
    server = Server(*args, **kwargs)
    thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=.02), daemon=True)
    thread.start()
    try: yield server
    finally: server.shutdown(); server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, 'LONGEST_PAUSE', .02)
    monkeypatch.setattr(module, 'PATIENCE', 0, raising=False)
    monkeypatch.setenv('OPENAI_API_KEY', 'key')
    for name in ('HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy'): monkeypatch.delenv(name, raising=False)


PROMPTS = [chat(f'sentence {n}') for n in range(24)]


def test_every_answer_in_its_place(tmp_path):
    "Whatever goes wrong the first time; several at a time, never more than said."
    faults = ['drop', 'half', 'garble', 'strange', 'none', 429, 503, 'delay']
    with serving(lambda text, times: faults[int(text.split()[1]) % 8] if times == 1 else None) as s, engine('openai', Endpoint(s.url, 'm', in_flight=4)) as e:
        found = e.generate(PROMPTS, Sampling(8))
    assert [o.text for o in found] == [f'صدى sentence {n}' for n in range(24)] and {o.finish for o in found} == {'stop'}
    assert 1 < s.most <= 4
    assert s.asked == {f'sentence {n}': 1 if n % 8 == 7 else 2 for n in range(24)}


def test_a_refused_text_stops_nothing():
    with serving(lambda text, times: 400 if text == 'sentence 3' else None) as s, engine('openai', f'{s.url}#m') as e:
        found = e.generate(PROMPTS[:6], Sampling(8))
    assert [o.finish for o in found] == ['stop']*3 + ['crashed'] + ['stop']*2 and s.asked['sentence 3'] == 1


@pytest.mark.parametrize('plan, wanted, says', [
    (lambda *_: None, 'another', 'wants another key than OPENAI_API_KEY'),
    (lambda *_: 404, 'key', "knows no chat/completions of 'm'"),
    (lambda *_: 500, 'key', 'no answer in 6 tries .the last: status 500'),
    (lambda *_: 'garble', 'key', 'no answer in 6 tries'),
    (lambda *_: (402, dict(error=dict(message='no credit left for [key]\nsee the bill'))), 'key', r'be paid .status 402: no credit left for \[\[secret'),
    (lambda *_: (307, {}, dict(Location='http://h/v2/chat/completions?key=key')), 'key', 'elsewhere, to http://h/v2/chat/completions; write its address'),
    (lambda *_: (405, dict(detail='Method Not Allowed')), 'key', 'answers no such request .status 405: Method Not Allowed'),
    (lambda *_: (429, dict(error=dict(message='over', code='insufficient_quota'))), 'key', 'answers no such request .status 429: over'),
    (lambda *_: (400, dict(error=dict(message='max_tokens: 8 at most'))), 'key', 'refused all of the first 1 requests .status 400: max_tokens: 8 at most')])
def test_what_the_user_must_mend(plan, wanted, says):
    "One line, that does not show the key."
    with serving(plan, wanted=wanted) as s, engine('openai', Endpoint(s.url, 'm')) as e, pytest.raises(HalaError, match=says) as caught:
        e.generate(PROMPTS[:1], Sampling(8))
    assert '\n' not in str(caught.value) and 'Bearer' not in str(caught.value) and '[key' not in str(caught.value) and 'key=' not in str(caught.value)
    assert s.asked == {'sentence 0': 6 if 'tries' in says else 1}


def newer(body):
    "What OpenAI's newer models say of fields that they do not take; None: of none."
    def bad(message, param): return (400, dict(error=dict(message=message, type='invalid_request_error', param=param, code='unsupported_parameter')))
    if 'max_tokens' in body:
        return bad("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", 'max_tokens')
    if (t := body.get('temperature', 1)) != 1:
        return bad(f"Unsupported value: 'temperature' does not support {t} with this model. Only the default (1) value is supported.", 'temperature')


def test_a_model_that_takes_other_fields(tmp_path, capsys):
    "Asked again in its own words, at once and for good; that it draws is told once. A temperature that was chosen is not replaced."
    with serving(lambda *_: newer, lambda body: dict(model=str(sorted(body)))) as s:
        with kept(tmp_path, 'openai', Endpoint(s.url, 'm', in_flight=4)) as e:
            assert sentences(e) == ECHOES and max(s.asked.values()) == 3 and sum(s.asked.values()) <= 24 + 4*2
            assert capsys.readouterr().err.count('m takes no temperature 0, so it draws') == 1 and e.engine.refusals == [0, '']
            before = sum(s.asked.values())
            assert [o.finish for o in e.generate(PROMPTS[:2], Sampling(8, .7), [1, 2])] == ['crashed']*2 and sum(s.asked.values()) == before+2
    with serving(lambda *_: (400, dict(error=dict(message="'max_tokens' or 'max_completion_tokens' is too large: 8")))) as s:
        with engine('openai', f'{s.url}#m') as e, pytest.raises(HalaError, match='is too large: 8'): e.generate(PROMPTS[:1], Sampling(8))
        assert s.asked == {'sentence 0': 1}


def test_an_address_that_names_a_version(monkeypatch):
    "It stands behind every path; on Azure the key goes along as it wants it, and to nobody else."
    with serving() as s, engine('openai', f'{s.url}/openai/deployments/d?api-version=2024-10-21#m') as e:
        assert e.generate(PROMPTS[:1], Sampling(8))[0].text == ECHOES[0] and 'api-key' not in e.client.headers
        assert s.paths == {'/v1/openai/deployments/d/chat/completions?api-version=2024-10-21'}
    with engine('openai', 'https://x.openai.azure.com/openai/deployments/d?api-version=2024-10-21#m') as e: assert e.client.headers['api-key'] == 'key'
    for host in ('azure.com.example', 'exampleazure.com'):
        with engine('openai', f'https://{host}/v1#m') as e: assert 'api-key' not in e.client.headers
    for query in ('key=1', 'api-version=1&sig=2', 'secret'):
        with pytest.raises(HalaError, match='holds no key'), engine('openai', f'https://h/v1?{query}#m'): pass


def sentences(e, prompts=PROMPTS): return [o.text or o.finish for o in e.generate(prompts, Sampling(8))]


ECHOES = [f'صدى sentence {n}' for n in range(24)]


def test_a_refusal_is_not_kept(tmp_path):
    "Asked once in a run, however often it is wanted; again in the next, where a server that still refuses stops nothing; and kept when it is answered."
    with serving(lambda text, times: (422, dict(error='filtered')) if text == 'sentence 3' else None) as s:
        at, without_3 = Endpoint(s.url, 'm', in_flight=4), [*ECHOES[:3], 'crashed', *ECHOES[4:]]
        for times in (1, 2):
            with kept(tmp_path, 'openai', at) as e:
                assert [sentences(e), sentences(e), sentences(e, PROMPTS[3:5])] == [without_3, without_3, without_3[3:5]]
                assert e.engine.refusals == [1, 'status 422: filtered'] and s.asked['sentence 3'] == times and sum(s.asked.values()) == 23+times
        s.plan = lambda *_: None
        with kept(tmp_path, 'openai', at) as e: assert sentences(e) == ECHOES
        with kept(tmp_path, 'openai', at) as e: assert sentences(e) == ECHOES and e.engine is None
        assert s.asked['sentence 3'] == 3 and sum(s.asked.values()) == 26


def test_a_server_that_refuses_all_is_asked_again_when_it_is_mended(tmp_path):
    "It ends after the first refusals, none of which is an answer; a mended server is asked everything."
    with serving(lambda *_: (400, dict(error=dict(message='max_tokens is too large: 8')))) as s:
        at = Endpoint(s.url, 'm', in_flight=2)
        for _ in range(2):
            with kept(tmp_path, 'openai', at) as e, pytest.raises(HalaError, match='max_tokens is too large: 8'): e.generate(PROMPTS, Sampling(8))
        assert 16 <= len(s.asked) < 20
        s.plan = lambda *_: None
        with kept(tmp_path, 'openai', at) as e: assert sentences(e) == ECHOES


@pytest.mark.parametrize('fault', [500, 'garble', 'none'])
def test_a_text_that_the_server_fails_on_stops_nothing(fault, tmp_path):
    "The other 23 are answered and not asked again; alone in the next run it stops nothing either, and is kept when it is answered."
    with serving(lambda text, times: fault if text == 'sentence 7' else None) as s:
        at, without_7 = Endpoint(s.url, 'm', in_flight=24), [*ECHOES[:7], 'crashed', *ECHOES[8:]]
        for times in (6, 12):
            with kept(tmp_path, 'openai', at) as e: assert sentences(e) == without_7 and '6 times' in e.engine.refusals[1]
            assert s.asked == {f'sentence {n}': times if n == 7 else 1 for n in range(24)} | {'Hi': times//6}
        s.plan = lambda *_: None
        with kept(tmp_path, 'openai', at) as e: assert sentences(e) == ECHOES


@pytest.mark.parametrize('plan', [lambda text, times: 500 if text in ('sentence 7', 'Hi') else None, lambda text, times: 429 if text == 'sentence 7' else None])
def test_a_server_that_fails_is_not_the_fault_of_a_text(plan, tmp_path):
    "It does not answer a greeting either, or has too much to do: the run ends, what was answered is kept."
    with serving(plan) as s:
        at = Endpoint(s.url, 'm', in_flight=24)
        with kept(tmp_path, 'openai', at) as e, pytest.raises(HalaError, match=r'in 6 tries .the last: status (500|429): no'): e.generate(PROMPTS, Sampling(8))
        s.plan = lambda *_: None
        with kept(tmp_path, 'openai', at) as e: assert sentences(e) == ECHOES
        assert {n for n, times in s.asked.items() if times > 1} == {'sentence 7'}


def test_what_may_pass_is_waited_for(monkeypatch):
    "Minutes, not a number of tries; a reply that is none may have been charged for, and is not asked for longer."
    monkeypatch.setattr(module, 'PATIENCE', 60)
    with serving(lambda _, times: 503 if times < 12 else None) as s, engine('openai', Endpoint(s.url, 'm')) as e:
        assert sentences(e, PROMPTS[:2]) == ECHOES[:2] and s.asked == {'sentence 0': 12, 'sentence 1': 12}
    with serving(lambda *_: 'garble') as s, engine('openai', Endpoint(s.url, 'm')) as e, pytest.raises(HalaError, match='in 6 tries'): sentences(e, PROMPTS[:1])


@pytest.mark.parametrize('said, least', [('300', 300), ('86400', 900), (600, 500), ('soon', 0)])
def test_a_server_says_how_long_to_wait(said, least):
    if isinstance(said, int): said = formatdate(time.time()+said, usegmt=True) # a date, so many seconds from now
    assert least <= module.pause(0, said) <= 1.25*max(least, 1) + 150


PROGRAM = """
import sys; from pathlib import Path
from hala.core.engine import Endpoint, Sampling, kept
from hala.core.text import chat
with kept(Path(sys.argv[1]), 'openai', Endpoint(sys.argv[2], 'm', in_flight=4)) as e: e.generate([chat(f'sentence {n}') for n in range(24)], Sampling(8))"""


def test_a_slow_request_keeps_nobody_waiting_and_a_kill_costs_what_was_on_its_way(tmp_path):
    "Four in flight, of which one never comes back: all others are answered, and on the disk, before anything ends."
    def logged(): return [a[0] for f in tmp_path.glob('*/*.log') for a in Journal(replay(f)[0]).answers.values()]
    with serving(lambda text, times: 'hold' if text == 'sentence 0' and times == 1 else None) as s:
        process = subprocess.Popen([sys.executable, '-c', PROGRAM, str(tmp_path), s.url], cwd=ROOT, env=os.environ)
        try:
            for _ in range(1200):
                if len(logged()) == 23: break
                assert process.poll() is None
                time.sleep(.1)
        finally: process.kill(); process.wait(); s.freed.set()
        assert sorted(logged()) == sorted(ECHOES[1:]) and s.most <= 4
        with kept(tmp_path, 'openai', Endpoint(s.url, 'm', in_flight=4)) as e: assert sentences(e) == ECHOES
        assert s.asked == {f'sentence {n}': 1 + (n == 0) for n in range(24)}


def test_what_was_answered_is_never_asked_again(tmp_path):
    "The server goes away in the middle; the next process asks for the rest."
    with serving(lambda text, times: 503 if len(s.answered) >= 12 else None) as s:
        at = Endpoint(s.url, 'm', in_flight=3)
        with kept(tmp_path, 'openai', at) as e, pytest.raises(HalaError, match='goes on from there'): e.generate(PROMPTS, Sampling(8))
        before, s.plan = list(s.answered), lambda *_: None
        with kept(tmp_path, 'openai', at) as e: found = e.generate(PROMPTS, Sampling(8))
        with kept(tmp_path, 'openai', at) as e: assert e.generate(PROMPTS, Sampling(8)) == found and e.engine is None
    assert [o.text for o in found] == [f'صدى sentence {n}' for n in range(24)]
    assert len(s.answered) <= 24 + at.in_flight and len(before) >= 12
    assert not [f for f in tmp_path.rglob('*') if f.is_file() and b'Bearer' in f.read_bytes()]


def test_no_more_is_spent_than_allowed():
    "Stopped before a request that could go above; what was spent is what the server counted."
    with serving() as s, engine('openai', Endpoint(s.url, 'm', in_flight=2, prices=(100.0, 1000.0), max_cost=.08)) as e:
        with pytest.raises(HalaError, match='above --max-cost'): e.generate(PROMPTS, Sampling(8))
        assert 0 < len(s.answered) < 24 and e.cost == pytest.approx(len(s.answered)*.006) and e.cost <= .08


def test_what_is_not_counted_costs_what_it_could():
    "A server that says nothing of tokens; a reply that is none; a connection that breaks. What is refused, or never sent, costs nothing."
    prices = dict(in_flight=1, prices=(0.0, 1000.0)) # 8 tokens at most: .008; the server counts 5: .005
    for fault, cost in ((lambda _, times: 'garble' if times == 1 else None, .013), (lambda _, times: 'none' if times == 1 else None, .013),
                        (lambda _, times: 'half' if times == 1 else None, .013), (lambda _, times: 503 if times == 1 else None, .005)):
        with serving(fault) as s, engine('openai', Endpoint(s.url, 'm', **prices)) as e:
            e.generate(PROMPTS[:1], Sampling(8))
            assert e.cost == pytest.approx(cost)
    for used in (None, {}, dict(prompt_tokens=10), dict(prompt_tokens='10', completion_tokens='5'), 'much'):
        with serving(scorer=lambda body, used=used: dict(usage=used)) as s, engine('openai', Endpoint(s.url, 'm', **prices, max_cost=.1)) as e:
            with pytest.raises(HalaError, match=r'spent 0\.0960; .* 0\.1040, above --max-cost 0\.1'): e.generate(PROMPTS, Sampling(8))
            assert len(s.answered) == 12 and e.cost == pytest.approx(.096)
    with engine('openai', Endpoint('http://127.0.0.1:9/v1', 'm', **prices)) as e, pytest.raises(HalaError, match='ConnectError'):
        e.generate(PROMPTS[:1], Sampling(8))
    assert e.cost == 0


def test_requests_wait_for_each_other_where_the_limit_is_near():
    "All 24 cost .12 and fit; two more that could cost .008 each would not always: they wait for what others turn out to cost."
    with serving() as s, engine('openai', Endpoint(s.url, 'm', in_flight=8, prices=(0.0, 1000.0), max_cost=.124)) as e:
        assert len(e.generate(PROMPTS, Sampling(8))) == 24 and e.cost == pytest.approx(.12) and s.most > 1


def test_scores_where_the_server_has_them(tmp_path):
    "vLLM's extension gives what the model itself gives; without it, that is said."
    model, tokenizer = toy()
    model.save_pretrained(tmp_path); tokenizer.save_pretrained(tmp_path)
    prompts, answers = [chat('What is the capital of Egypt?'), chat('Hi')], ['Cairo', 'نعم نعم']
    with engine('hf', tmp_path) as local:
        lock = threading.Lock() # one model, several threads
        def scorer(body):
            before = local.encode([body['messages'][:1]])[0]
            if len(body['messages']) == 1: return dict(usage=dict(prompt_tokens=len(before), completion_tokens=1))
            assert body['continue_final_message'] and not body['add_generation_prompt']
            with lock: logprobs = local.score([body['messages'][:1]], [body['messages'][1]['content']])[0]
            return dict(prompt_logprobs=[None, *[{'7': dict(logprob=-1.0)}]*(len(before)-1), *({'9': dict(logprob=x)} for x in logprobs)])
        wanted = local.score(prompts, answers)
        with serving(scorer=scorer) as s, engine('openai', Endpoint(s.url, 'm')) as e: found = e.score(prompts, answers)
        with serving(lambda text, _: 400 if text == 'Hi' else None, scorer) as s, engine('openai', Endpoint(s.url, 'm')) as e:
            first, second = e.score(prompts, answers)
            assert first == found[0] and len(second) == 1 and math.isnan(second[0]) and e.refusals == [1, 'status 400: no']
    assert [pytest.approx(x, abs=1e-4) for x in wanted] == found
    with serving() as s, engine('openai', Endpoint(s.url, 'm')) as e, pytest.raises(HalaError, match='gives no log-probabilities of a prompt'):
        e.score(prompts, answers)
    with serving(lambda *_: 422) as s, engine('openai', Endpoint(s.url, 'm')) as e, pytest.raises(HalaError, match=r'refused all of the first 2 .*422: no'):
        e.score(prompts, answers)
    with serving(scorer=lambda body: dict(usage=None)) as s, engine('openai', Endpoint(s.url, 'm')) as e, pytest.raises(HalaError, match='does not count'):
        e.score(prompts, answers)
    with serving(lambda _, times: 400 if times > 1 else None) as s, engine('openai', Endpoint(s.url, 'm')) as e: # it counts, and does no more
        with pytest.raises(HalaError, match=r'refused all of the first 2 .*400: no'): e.score(prompts, answers)


PAIRS = {content(r['messages_source']): content(r['messages']) for r in reference()[:60]}


def speaker(body):
    "A server that knows the world's sentences, and counts a token a text read and two a text written."
    text = body['messages'][0]['content'].rsplit('\n\n', 1)[1]
    answer = dict(message=dict(role='assistant', content=PAIRS[text]), finish_reason='stop')
    return dict(choices=[answer], usage=dict(prompt_tokens=1, completion_tokens=2))


@pytest.fixture
def table(tmp_path):
    write_table(tmp_path/'in.jsonl', [dict(id=n, text=t) for n, t in enumerate(list(PAIRS)[:20])])
    return tmp_path


def translate(table, s, out, *more):
    main(['translate', str(table/'in.jsonl'), *([str(table/out)] if out else []), '--url', s.url, '--model', 'm', '--runs', str(table/'runs'), *more])


def test_a_data_set_through_a_server(table, capsys):
    "Planned, then translated: the plan's tokens and price are what it came to; a second time nobody is asked."
    with serving(scorer=speaker) as s:
        translate(table, s, '', '--plan', '--prices', '1000,2000')
        plan = capsys.readouterr().out.splitlines()
        assert "engine openai, prompt 'Translate everything that follows into Arabic:" in plan[0]
        assert plan[-1].split()[:7] == ['all', '20', '20', '(20', 'different)', '20', '40'] and float(plan[-1].split()[-1]) == pytest.approx(.1)
        assert not (table/'out.jsonl').exists() and len(s.answered) == 20
        translate(table, s, 'out.jsonl', '--prices', '1000,2000', '--in-flight', '4')
        answered = len(s.answered)
        assert 'spent' not in capsys.readouterr().out and answered == 20 and s.most <= 20 # the plan had asked all, and paid
        translate(table, s, 'again.jsonl')
        assert len(s.answered) == answered and read_tables(table/'again.jsonl') == read_tables(table/'out.jsonl')
    assert [r['text'] for r in read_tables(table/'out.jsonl')] == list(PAIRS.values())[:20]


def test_a_record_that_the_server_refuses_is_a_reject(table, capsys):
    "With a reason, and the server's own words once; the run goes on, and the next one asks it again."
    n, bad = next((n, t) for n, t in enumerate(PAIRS) if t.count('.') + t.count('?') == 1) # one sentence: it is asked in one way
    def filtered(text, times): return (400, dict(error=dict(message='filtered: the key is key'))) if bad in text else None
    with serving(filtered, speaker) as s:
        translate(table, s, 'out.jsonl', '--in-flight', '4')
        said = capsys.readouterr().out
        assert [line.split()[-1] for line in said.splitlines()[-4:-1]] == ['20', '19', '1'] and 'rejected: refused by the server' in said
        assert 'the server refused 1 request; the first: status 400: filtered: the [secret] is [secret]' in said
        [lost] = read_tables(table/'out.rejects.jsonl')
        assert (lost['id'], lost['text_source'], lost['reason']) == (n, bad, 'refused by the server') and len(read_tables(table/'out.jsonl')) == 19
        s.plan = lambda *_: None
        translate(table, s, 'all.jsonl')
        assert [r['text'] for r in read_tables(table/'all.jsonl')] == list(PAIRS.values())[:20] and sum(s.asked.values()) == 21


def test_what_a_server_translated_starts_a_run(table):
    "Conversations as 04; as 02 pairs, whose English stands in both columns before one of them is translated."
    texts = list(PAIRS)[:20]
    talks = [dict(messages=[dict(role='user', content=a), dict(role='assistant', content=b)]) for a, b in zip(texts[::2], texts[1::2])]
    write_table(table/'talks.jsonl', talks)
    write_table(table/'pairs.jsonl', [dict(en=t, ar=t) for t in texts])
    p = plan('1M', str(table/'runs'))
    with serving(scorer=speaker) as s:
        for name, *more in (('talks',), ('pairs', '--columns', 'ar')):
            main(['translate', str(table/f'{name}.jsonl'), str(table/f'{name}.out.jsonl'), '--url', s.url, '--model', 'm', '--runs', str(p.runs), *more])
    corpus, pairs = (read_rows(adopt(p, f'{stage}={table/name}.out.jsonl')/f'{file}.parquet')
                     for stage, name, file in (('04', 'talks', 'corpus'), ('02', 'pairs', 'pairs')))
    assert [[m['content'] for m in r['messages']] for r in corpus] == [[PAIRS[m['content']] for m in r['messages']] for r in talks]
    assert [(content(r['messages_source']), content(r['messages'])) for r in pairs] == [(t, PAIRS[t]) for t in texts]


def test_a_limit_on_the_cost_stops_and_goes_on(table, capsys):
    "A request may cost 2.3 at most, and costs 0.04: so it stops with a few answered, and they are kept."
    with serving(scorer=lambda body: {**speaker(body), 'usage': dict(prompt_tokens=1, completion_tokens=20)}) as s:
        limit = ('--prices', '1000,2000', '--in-flight', '2', '--max-cost', '2.5', '--max-tokens', '1000')
        with pytest.raises(SystemExit, match=r'above --max-cost 2\.5'): translate(table, s, 'out.jsonl', *limit)
        before = len(s.answered)
        assert 0 < before < 20 and not (table/'out.jsonl').exists()
        translate(table, s, 'out.jsonl', '--max-tokens', '1000')
        assert len(s.answered) == 20 and max(s.asked.values()) == 1 and len(read_tables(table/'out.jsonl')) == 20


@pytest.mark.parametrize('words, says', [
    (['--url', 'http://h/v1'], 'and --model'), (['--engine', 'openai', '--model', 'm'], 'needs --url'), (['--engine', 'gguf'], 'there are hf, vllm, openai'),
    (['--url', 'http://me:secret@h/v1', '--model', 'm'], 'OPENAI_API_KEY'), (['--url', 'http://h/v1', '--model', 'm', '--max-cost', '5'], 'needs --prices'),
    (['--url', 'http://h/v1', '--model', 'm', '--prices', '5'], 'two numbers'), (['--engine', 'hf', '--prices', '1,2'], '--prices belongs to a server'),
    (['--price', '2'], '--price 2: what an hour costs is for --plan'), (['--engine', 'hf', '--model', 'nobody/x'], 'name a folder that holds it'),
    (['--engine', 'hf', '--model', '.'], 'no config.json'),
    (['--url', 'http://h/v1', '--model', 'm', '--in-flight', '-1'], '--in-flight'), (['--tensor-parallel', '-2'], '--tensor-parallel -2')])
def test_options_that_do_not_go_together(words, says, table, monkeypatch):
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True) # no network in a test
    with pytest.raises(SystemExit) as e: main(['translate', str(table/'in.jsonl'), str(table/'out.jsonl'), '--runs', str(table/'runs'), *words])
    assert says in str(e.value) and '\n' not in str(e.value) and 'secret' not in str(e.value) and '--set' not in str(e.value)


def test_a_judge_behind_a_server_marks_alrage_and_no_mark_is_missing_never_0(tmp_path):
    "Of four answers one is marked 8, one 4, one in a sentence and one not at all; rows without passages are left out by name."
    from hala.scoring import alrage_questions, judged
    for part in toy(): part.save_pretrained(tmp_path/'model')
    (tmp_path/'OALL'/'ALRAGE').mkdir(parents=True)
    rows = [dict(question=f'ما عاصمة البلد {n}؟', candidates=[] if n == 4 else [f'عاصمة البلد {n} هنا.'], gold_answer='هنا') for n in range(5)]
    write_table(tmp_path/'OALL'/'ALRAGE'/'train.jsonl', rows)
    asked, odd = alrage_questions(str(tmp_path))
    assert len(asked) == 4 and odd == ['row 4: ALRAGE: a row without candidates']
    marks = {'0': '8', '1': '٤', '2': 'الدرجة: 9'}
    def marked(body):
        n = body['messages'][1]['content'].split('البلد ')[1][0]
        assert body['max_tokens'] == 16
        return dict(choices=[dict(message=dict(role='assistant', content=marks.get(n, '')), finish_reason='stop')])
    with serving(scorer=marked) as s: found, lost = judged(str(tmp_path/'model'), f'{s.url}#judge', asked)
    assert (found['name'], found['task'], found['value'], found['n']) == ('judge', 'alrage', pytest.approx(.6), 2)
    assert 'missing:2' in found['signature'] and sorted(lost) == ['', 'الدرجة: 9']
    with serving(scorer=lambda body: {}) as s, pytest.raises(HalaError, match='none of the 4 replies'): judged(str(tmp_path/'model'), f'{s.url}#judge', asked)
