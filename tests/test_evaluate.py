"""LightEval's scores against a plain forward pass, and what it must not leave or fetch."""
import json
import socket
import sys
from types import SimpleNamespace

import pyarrow as pa
import pytest
import torch

from hala import cli
from hala.core.arabic import PLAIN
from hala.core.recipe import HalaError, recipe
from hala.core.store import sha256, write_rows
from hala.core.text import row
from hala.core.world import toy
from hala.core.metrics import mcnemar
from hala.evaluate import asked_all, figures, lighteval

CHOICES = ['باريس', 'روما', 'مدريد عاصمة إسبانيا', 'لندن', 'the capital of nowhere']


def asked(n, lang='ar'):
    "Questions of different lengths, with two to five choices."
    return [dict(id=f'{lang}-{i}', question='ما عاصمة فرنسا؟ '*(1+i % 3)+str(i), lang=lang, split='test', held='SHN'[i % 3], answer=i % 2,
                 choices=(CHOICES[i % 5:]+CHOICES[:i % 5])[:2+i % 4]) for i in range(n)]


def jsonl(path, rows):
    path.write_text('\n'.join(json.dumps(r, ensure_ascii=False) for r in rows), encoding='utf-8')
    return path


def save(folder, seed):
    model, tokenizer = toy(seed)
    model.save_pretrained(folder); tokenizer.save_pretrained(folder)
    return model.eval(), tokenizer


def forward(model, tokenizer, question, choice):
    "Log-probability of a choice after the prompt as its template ends it, one sequence at a time."
    text = tokenizer.apply_chat_template([dict(role='user', content=question)], tokenize=False, add_generation_prompt=True)
    a, b = (tokenizer(o, add_special_tokens=False).input_ids for o in (text, choice))
    with torch.no_grad(): logp = model(torch.tensor([a+b])).logits[0].log_softmax(-1)
    return sum(logp[len(a)-1+i, t].item() for i, t in enumerate(b))


def no_network(*a, **k): raise AssertionError(f'a look-up on the network: {a[1:] or a}')


def test_scores_are_those_of_a_forward_pass(tmp_path, monkeypatch):
    model, tokenizer = save(tmp_path/'model', 3)
    before = {p.name: sha256(p) for p in (tmp_path/'model').iterdir()}
    rows = {'ar:x|y': asked(30), 'en, @': asked(11, 'en')}   # names that mean something to LightEval
    write_rows(tmp_path/'en.parquet', rows['en, @'], pa.Table.from_pylist(rows['en, @']).schema)
    tasks = dict(zip(rows, (jsonl(tmp_path/'ar.jsonl', rows['ar:x|y']), tmp_path/'en.parquet'), strict=True))
    monkeypatch.delenv('HF_HUB_OFFLINE', raising=False)
    monkeypatch.setattr(socket.socket, 'connect', no_network)
    monkeypatch.setattr(socket, 'getaddrinfo', no_network)
    items = lighteval(tmp_path/'model', tasks, tmp_path/'out', 'base')

    assert [(o['task'], o['item']) for o in items] == [(t, r['id']) for t in rows for r in rows[t]]
    for o, r in zip(items, [r for t in rows for r in rows[t]], strict=True):
        want = [forward(model, tokenizer, r['question'], c) for c in r['choices']]
        assert o['choice_logprobs'] == pytest.approx(want, abs=1e-4)
        norm = [w/len(c) for w, c in zip(want, r['choices'], strict=True)]
        assert o['pred'] == norm.index(max(norm)) and o['correct'] == (o['pred'] == r['answer'])
        assert (o['model'], o['subset'], o['lang'], o['split'], o['gold']) == ('base', r['held'], r['lang'], 'test', r['answer'])
        assert o['choice_chars'] == [len(c) for c in r['choices']]
    assert torch.is_grad_enabled()
    assert {p.name: sha256(p) for p in (tmp_path/'model').iterdir()} == before
    assert [p.name for p in (tmp_path/'out').rglob('*')] == ['progress.json']


def test_a_model_retrained_at_the_same_path_is_scored_afresh(tmp_path):
    file = jsonl(tmp_path/'q.jsonl', asked(4))
    scores = []
    for seed in (3, 4):
        model, tokenizer = save(tmp_path/'model', seed)
        scores.append(lighteval(tmp_path/'model', {'q': file}, tmp_path/'out'))
        first = asked(1)[0]
        plain = forward(model, tokenizer, first['question'], first['choices'][0])
        assert scores[-1][0]['choice_logprobs'][0] == pytest.approx(plain, abs=1e-4)
    assert all(a['choice_logprobs'] != b['choice_logprobs'] for a, b in zip(*scores, strict=True))


def test_batch_neighbours_change_nothing(tmp_path):
    save(tmp_path/'model', 3)
    all_of_them = lighteval(tmp_path/'model', {'q': jsonl(tmp_path/'q.jsonl', asked(20))}, tmp_path/'out')
    for i in (0, 19):
        alone = lighteval(tmp_path/'model', {'q': jsonl(tmp_path/'one.jsonl', asked(20)[i:i+1])}, tmp_path/'out')
        assert alone[0]['choice_logprobs'] == pytest.approx(all_of_them[i]['choice_logprobs'], abs=1e-5)


def test_what_cannot_be_scored_is_named(tmp_path):
    model, _ = save(tmp_path/'model', 3)
    def run(rows): return lighteval(tmp_path/'model', {'q': jsonl(tmp_path/'q.jsonl', rows)}, tmp_path/'out')
    with pytest.raises(HalaError, match='item ar-2: answer 4 is none of its 4'): run([*asked(2), {**asked(3)[2], 'answer': 4}])
    with pytest.raises(HalaError, match='item ar-0: answer -1'): run([{**asked(1)[0], 'answer': -1}])
    with pytest.raises(HalaError, match='item ar-0: needs two choices'): run([{**asked(1)[0], 'choices': ['باريس']}])
    with pytest.raises(HalaError, match='no questions'): run([])
    with torch.no_grad(): model.model.embed_tokens.weight[:] = float('nan')
    model.save_pretrained(tmp_path/'model')
    with pytest.raises(HalaError, match=r'item ar-0: broken gives log-probabilities \[nan'):
        lighteval(tmp_path/'model', {'q': jsonl(tmp_path/'q.jsonl', asked(2))}, tmp_path/'out', 'broken')


def test_figures_and_the_paired_test():
    def answers(model, right):
        return [dict(model=model, task='t', subset='SH'[i % 2], lang='ar', split='test', item=i, correct=c) for i, c in enumerate(right)]
    a, b = answers('tuned', [True]*8+[False]*2), answers('base', [False]*8+[False, True])
    found = {(m['model'], m['name']): (m['value'], m['n']) for m in figures(a+b)}
    assert found == {('tuned', 'acc'): (.8, 10), ('tuned', 'acc/S'): (.8, 5), ('tuned', 'acc/H'): (.8, 5),
                     ('base', 'acc'): (.1, 10), ('base', 'acc/S'): (0., 5), ('base', 'acc/H'): (.2, 5)}
    assert mcnemar(a, b) == (8, 1, pytest.approx(2*(1+9)/2**9))
    with pytest.raises(HalaError, match='1 questions'): mcnemar(a, b[1:])


def test_a_base_is_asked_in_plain_text(tmp_path, capsys):
    "Of the begin of a text and the question; it is told, and the model's folder is as it was, an empty template among it."
    from hala.scoring import opened
    model, tokenizer = save(tmp_path/'base', 3)
    tokenizer.chat_template = None; tokenizer.save_pretrained(tmp_path/'base')
    (tmp_path/'base'/'chat_template.jinja').write_text('')
    before = {p.name: sha256(p) for p in (tmp_path/'base').iterdir()}
    with opened(str(tmp_path/'base')) as folder: items = lighteval(folder, {'q': jsonl(tmp_path/'q.jsonl', asked(6))}, tmp_path/'out', 'base')
    assert 'base: no chat template, so it is asked in plain text' in capsys.readouterr().err
    assert {p.name: sha256(p) for p in (tmp_path/'base').iterdir()} == before
    tokenizer.chat_template = PLAIN
    for o, r in zip(items, asked(6), strict=True):
        assert o['choice_logprobs'] == pytest.approx([forward(model, tokenizer, r['question'], c) for c in r['choices']], abs=1e-4)


def test_a_run_asks_a_base_in_plain_text_as_hala_evaluate_does(tmp_path, capsys):
    "Choices and free answers; the signature of each figure says how it was asked, beside a model that has a template."
    from hala.scoring import evaluate_model
    (tmp_path/'benchmarks').mkdir()
    for lang in ('ar', 'en'): jsonl(tmp_path/'benchmarks'/f'seen-{lang}-test.jsonl', [dict(q, answers=['باريس']) for q in asked(6, lang)])
    for label in ('base', 'tuned'): model, tokenizer = save(tmp_path/label/'model', 3)
    (tmp_path/'base'/'model'/'chat_template.jinja').unlink()
    job = SimpleNamespace(inputs={n: tmp_path/n for n in ('benchmarks', 'base', 'tuned')}, out=tmp_path/'out',
                          recipe=SimpleNamespace(evaluate=recipe('1M', 'evaluate.generate=2; evaluate.max_tokens=4').evaluate))
    job.out.mkdir()
    items, answers, metrics = asked_all(job, ('base', 'tuned'))
    assert capsys.readouterr().err.count('base: no chat template, so it is asked in plain text') == 1
    how = {(m['model'], m['signature'].split('|')[4]) for m in metrics if m['name'] == 'acc'}
    assert how == {('base', 'plain'), ('tuned', 'chat')} and len(answers) == 8
    tokenizer.chat_template = PLAIN
    for o, r in zip([o for o in items if (o['model'], o['lang']) == ('base', 'ar')], asked(6), strict=True):
        assert o['choice_logprobs'] == pytest.approx([forward(model, tokenizer, r['question'], c) for c in r['choices']], abs=1e-4)
    alone = evaluate_model(str(tmp_path/'base'/'model'), tmp_path/'benchmarks', job.recipe.evaluate)
    def scores(found): return sorted((m['name'], m['lang'], m['value'], m['signature']) for m in found)
    assert scores(alone) == scores(m for m in metrics if m['model'] == 'base' and m['name'].startswith('acc'))


def test_what_evaluate_lacks_is_said_in_one_line(tmp_path, monkeypatch):
    "Questions of the default size, into the folder that was named; LightEval; a tokenizer."
    from hala.scoring import evaluate_model, opened
    with pytest.raises(SystemExit, match=f'the questions of 1M are not made yet: python -m hala.sources --size 1M --only benchmarks --runs {tmp_path}$'):
        cli.main(['evaluate', 'somebody/model', '--runs', str(tmp_path)])
    (tmp_path/'config.json').write_text('{"model_type": "lfm2"}')
    with pytest.raises(HalaError, match='no tokenizer that can be opened'), opened(str(tmp_path)): pass
    monkeypatch.delitem(sys.modules, 'hala.evaluate')
    monkeypatch.setitem(sys.modules, 'lighteval.logging.evaluation_tracker', None)
    with pytest.raises(HalaError, match=r"^asking questions needs lighteval\S*: pip install 'hala\[eval\]'$"): evaluate_model('x/y', tmp_path, None)


def test_translations_are_scored_without_llmcompressor(tmp_path, monkeypatch):
    "Which stage 01 needs, and no other."
    from hala.scoring import translation_metrics
    monkeypatch.delitem(sys.modules, 'hala.compress', raising=False)
    monkeypatch.setitem(sys.modules, 'llmcompressor', None)
    save(tmp_path/'model', 3)
    write_rows(tmp_path/'translation.parquet', [row('demo/both', '1', 'test', 'Good morning', 'صباح الخير')])
    found = translation_metrics(str(tmp_path/'model'), tmp_path, recipe('1M', 'translator.max_tokens=4'), 'en')
    assert {(m['task'], m['lang'], m['n']) for m in found} == {('both', 'en', 1)}
