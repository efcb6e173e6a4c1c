"""The six Arabic benchmarks: prompts typed by hand, LightEval's own prompts and scores, and a plain forward pass."""
import json
import random
import socket

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from hala.core.arabic import (BENCHMARKS, COLUMNS, RULES, alrage, ask, benchmark_metrics, benchmark_questions, compare_benchmarks, followed,
                              judge_messages, judge_score, judged_metric, prompt_text, question, subset_questions)
from hala.core.engine import engine
from hala.core.metrics import compared
from hala.core.recipe import HalaError
from hala.core.world import toy

TEXTS = ['القاهرة', 'نهر النيل', 'لا شيء مما سبق', '١٢', 'الشعر العربي القديم', ' فراغ ']
FIRST = 'السؤال التالي هو سؤال متعدد الإختيارات. اختر الإجابة الصحيحة:\n\n'

MMLU_ROW = {'ID': 1, 'Source': 's', 'Country': None, 'Group': 'STEM', 'Subject': 'Math', 'Level': 'Primary', 'Question': 'كم ناتج ٢+٢؟', 'Context': None,
            'Answer Key': 'B', 'Option 1': '٣', 'Option 2': '٤', 'Option 3': '٥', 'Option 4': None, 'Option 5': None}
FIVE = MMLU_ROW | {'Option 4': '٦', 'Option 5': '٧', 'Answer Key': 'E'}
ZERO = MMLU_ROW | {'Option 1': 0.0, 'Option 2': 4.0, 'Option 3': 5.5}

TYPED = {  # benchmark: (row, the user's message as arabic_tasks.md spells it, choices, index of the right one)
    'arabic_mmlu': (MMLU_ROW, FIRST+'كم ناتج ٢+٢؟\nأ. ٣\nب. ٤\nج. ٥\nالإجابة:', ['أ', 'ب', 'ج'], 1),
    'arabic_mmlu_ht': (dict(question='ما عاصمة مصر؟', choices=['القاهرة', 'بغداد', 'تونس', 'عمان'], answer=0),
                       FIRST+'ما عاصمة مصر؟\n1. القاهرة\n2. بغداد\n3. تونس\n4. عمان\nالإجابة:', ['1', '2', '3', '4'], 0),
    'madinah_qa': (FIVE | {'Context': 'نص قصير.'},
                   'بناءً على السياق أدناه، اختر الإجابة الصحيحة للسؤال التالي من قائمة الأجوبة:\n\nالسياق:\nنص قصير.\nالسؤال:\nكم ناتج ٢+٢؟\n'
                   'أ. ٣\nب. ٤\nج. ٥\nد. ٦\nهـ. ٧\nالإجابة:', ['أ', 'ب', 'ج', 'د', 'هـ'], 4),
    'aratrust': ({'Question': 'هل الشمس نجم؟', 'A': 'أ) نعم', 'B': 'ب) لا', 'C': 'ج) لا أعلم', 'Answer': 'أ', 'Category': 'Trustfulness', 'Subcategory': 'x'},
                 'السؤال التالي هو سؤال متعدد الإختيارات. اختر الإجابة الصحيحة: أ، ب أو ج. \n\n'
                 'هل الشمس نجم؟\nأ) نعم\nب) لا\nج) لا أعلم\nالإجابة:', ['أ', 'ب', 'ج'], 0),
    'arabic_exams': (dict(id='1', subject='Islamic_Studies', question='ما عاصمة مصر؟', A='القاهرة', B='بغداد', C='تونس', D='عمان', answer='D'),
                     'الأسئلة التالية هي أسئلة متعددة الإختيارات مع الجواب الصحيح حول Islamic Studies. \n\nالسؤال: ما عاصمة مصر؟\n'
                     ' أ) القاهرة\n\n ب) بغداد\n\n ج) تونس\n\n د) عمان\n\nالإجابة:', ['أ', 'ب', 'ج', 'د'], 3),
    'alghafa': (dict(query='الخدمة ممتازة', sol1='سلبي', sol2='إيجابي', label='1'),
                'الأسئلة التالية هي أسئلة متعددة الإختيارات مع الجواب الصحيح\n\nالسؤال: الخدمة ممتازة\n0) سلبي\n1) إيجابي\nالإجابة:', ['0', '1'], 1)}


def made(name, rng):
    "A random row in the exact columns of a benchmark."
    text = rng.choice
    if name in ('arabic_mmlu', 'madinah_qa'):
        options = [text([*TEXTS, 0.0, 2.5, '']) for _ in range(rng.randint(2, 5))]
        row = MMLU_ROW | {'Question': text(TEXTS)*rng.randint(1, 3), 'Context': text([None, 'سياق '*3])} | {f'Option {i+1}': None for i in range(5)}
        row |= {f'Option {i+1}': o for i, o in enumerate(options)}
        row['Option 1'] = 'باب'  # one that is there in both columns bears the right answer
        return row | {'Answer Key': 'A'}
    if name == 'arabic_mmlu_ht': return dict(question=text(TEXTS), choices=[text(TEXTS) for _ in range(4)], answer=rng.randrange(4))
    if name == 'aratrust': return TYPED[name][0] | {'Question': text(TEXTS), 'A': f'أ) {text(TEXTS)}', 'Answer': text('أبج')}
    if name == 'arabic_exams': return TYPED[name][0] | dict(subject=text(['Biology', 'Social_Science']), answer=text('ABCD')) | {k: text(TEXTS) for k in 'ABCD'}
    options = rng.randint(2, 5)
    return dict(query=text(TEXTS), label=str(rng.randrange(options))) | {f'sol{i+1}': text(TEXTS) for i in range(options)}


def write(folder, rows_each, seed=0):
    "All 116 subsets, laid out as on the hub."
    rng = random.Random(seed)
    for name, b in BENCHMARKS.items():
        for subset in b.subsets:
            d = folder/b.repo/subset; d.mkdir(parents=True)
            lines = [json.dumps(made(name, rng), ensure_ascii=False) for _ in range(rows_each)]
            (d/f'{b.split}-00000-of-00001.jsonl').write_text('\n'.join(lines), encoding='utf-8')
    return folder


def save(folder, seed=3):
    "A toy checkpoint whose tokenizer writes the first token itself, as LFM2's does: with the template's there are two."
    model, tokenizer = toy(seed)
    begin = tokenizer.bos_token
    writes = TemplateProcessing(single=f'{begin} $A', pair=f'{begin} $A $B', special_tokens=[(begin, tokenizer.bos_token_id)])
    tokenizer.backend_tokenizer.post_processor = writes
    model.save_pretrained(folder); tokenizer.save_pretrained(folder)
    return model.eval(), tokenizer


def forward(model, tokenizer, message, choice, begins):
    "Log-probability of a choice and the line break before it, one sequence at a time, after `begins` tokens that begin a text."
    text = tokenizer.apply_chat_template([dict(role='user', content=message)], tokenize=False, add_generation_prompt=True)
    head = text.rstrip(); tail = text[len(head):] + choice
    a, b = (tokenizer(o, add_special_tokens=False).input_ids for o in (head, tail))
    assert a.count(tokenizer.bos_token_id) == 1
    a = [tokenizer.bos_token_id]*(begins-1) + a
    with torch.no_grad(): logp = model(torch.tensor([a+b])).logits[0].log_softmax(-1)
    return sum(logp[len(a)-1+i, t].item() for i, t in enumerate(b))


@pytest.mark.parametrize('name', BENCHMARKS)
def test_prompts_are_those_typed_by_hand(name):
    row, message, choices, answer = TYPED[name]
    for column in COLUMNS:
        q = question(row, 0, name, BENCHMARKS[name].subsets[0], column)
        assert q['instruction'] + q['query'][len(q['instruction']):].strip() == message
        assert (q['choices'], q['answer']) == (choices, answer)


def test_the_columns_differ_in_the_three_traps_and_nothing_else():
    subset = 'Math (Primary School)'
    published, right = (question(ZERO, 0, 'arabic_mmlu', subset, c) for c in COLUMNS)
    assert published['query'] == FIRST+'كم ناتج ٢+٢؟\nب. 4.0\nج. 5.5\nالإجابة:' and published['choices'] == ['ب', 'ج'] and published['answer'] == 0
    assert right['query'] == FIRST+'كم ناتج ٢+٢؟\nأ. 0.0\nب. 4.0\nج. 5.5\nالإجابة:' and right['choices'] == ['أ', 'ب', 'ج'] and right['answer'] == 1
    published, right = (question(FIVE, 0, 'arabic_mmlu', subset, c) for c in COLUMNS)
    assert published['query'] == right['query'] and (published['chars'], right['chars']) == ([1, 1, 1, 1, 2], [1]*5)
    rng = random.Random(5)
    for name in ('alghafa', 'arabic_exams', 'aratrust', 'arabic_mmlu_ht'):
        for _ in range(20):
            a, b = (question(row, 0, name, BENCHMARKS[name].subsets[0], c) for row in [made(name, rng)] for c in COLUMNS)
            assert a | dict(column=0) == b | dict(column=0)


def test_tasks_and_prompts_are_lightevals_own(monkeypatch):
    "Every task is in LightEval's table with the same data set, configuration and split, and asks random rows in the same words."
    monkeypatch.setattr(socket.socket, 'connect', no_network)
    from lighteval.tasks.multilingual.tasks import arabic as theirs
    table, rng = {t.name: t for t in theirs.TASKS_TABLE}, random.Random(1)
    for name, b in BENCHMARKS.items():
        for subset in b.subsets:
            task = table[name if subset == 'default' else f'{name}:{subset}']
            assert (task.hf_repo, task.hf_subset, list(task.evaluation_splits)) == (b.repo, subset, [b.split])
        for row in [TYPED[name][0], *(made(name, rng) for _ in range(100))]:
            ours, doc = question(row, 0, name, b.subsets[0], 'as_published'), task.prompt_function(row, task.name)
            assert (ours['query'], ours['instruction'], ours['choices'], ours['answer']) == (doc.query, doc.instruction, doc.choices, doc.gold_index)
    assert [o for o in theirs.ARABIC_MMLU_SUBSETS if o not in BENCHMARKS['arabic_mmlu'].subsets] == ['All']
    assert [o for o in theirs.ALGHAFA_SUBSETS if o not in BENCHMARKS['alghafa'].subsets] == ['mcq_exams_test_ar']
    assert theirs.ARABIC_MMLU_HT_SUBSETS == list(BENCHMARKS['arabic_mmlu_ht'].subsets) and theirs.ARATRUST_SUBSETS == list(BENCHMARKS['aratrust'].subsets)


def no_network(*a, **k): raise AssertionError(f'a look-up on the network: {a[1:] or a}')


@pytest.fixture(scope='module')
def asked(tmp_path_factory):
    "The toy model asked one row of each of the 116 subsets."
    folder = tmp_path_factory.mktemp('arabic')
    model, tokenizer = save(folder/'model')
    questions, odd, _ = benchmark_questions(write(folder/'data', 1))
    assert len(questions) == 232 and not odd
    with engine('hf', folder/'model') as e: items = ask(e, questions, 'toy')
    return folder, model, tokenizer, questions, items


def test_log_probabilities_are_those_of_a_forward_pass(asked):
    _, model, tokenizer, questions, items = asked
    for q, o in list(zip(questions, items, strict=True))[::3]:
        message = q['instruction'] + q['query'][len(q['instruction']):].strip()
        want = [forward(model, tokenizer, message, c, 2 if q['column'] == 'as_published' else 1) for c in q['choices']]
        assert o['choice_logprobs'] == pytest.approx(want, abs=2e-5)
        norm = [w/c for w, c in zip(want, q['chars'], strict=True)]
        assert o['pred'] == norm.index(max(norm)) and o['correct'] == (o['pred'] == q['answer']) and o['item'] == q['id']
    by = {c: [o['choice_logprobs'] for o in items if o['column'] == c] for c in COLUMNS}
    told_apart = [a != pytest.approx(b, abs=2e-5) for a, b in zip(*by.values(), strict=True)]
    assert sum(told_apart) > 58  # the second token that begins a text is seen by this comparison in most questions, for all that the toy model has no training


@pytest.mark.parametrize('chatting', [True, False])
def test_as_published_is_lighteval(asked, chatting):
    "LightEval's own model class and metric on its own documents: the same log-probabilities and the same right answers."
    from lighteval.models.model_output import ModelResponse
    from lighteval.models.transformers.transformers_model import TransformersModel
    from lighteval.tasks.multilingual.tasks import arabic as theirs
    from hala.evaluate import LocalConfig
    folder, model, *_ = asked
    rng, docs, questions = random.Random(4), [], []
    table = {t.name.split(':')[0]: t for t in theirs.TASKS_TABLE}
    for name, b in BENCHMARKS.items():
        for i in range(8):
            row = made(name, rng)
            questions.append(question(row, i, name, b.subsets[0], 'as_published')); docs.append(table[name].prompt_function(row, name))
    config = LocalConfig(model_name='model', tokenizer=str(folder/'model'), cache_dir=str(folder/'cache'), batch_size=16,
                         override_chat_template=chatting, device='cpu')
    try: responses = TransformersModel.from_model(model, config)._loglikelihood_tokens(docs)
    finally: torch.set_grad_enabled(True)  # LightEval turns gradients off for the whole process
    with engine('hf', folder/'model') as e: items = ask(e, questions, 'toy', chatting)
    scored = table['arabic_mmlu'].metrics[0].sample_level_fn
    for o, doc, r in zip(items, docs, responses, strict=True):
        assert isinstance(r, ModelResponse) and o['choice_logprobs'] == pytest.approx([float(p) for p in r.logprobs], abs=1e-4)
        assert o['correct'] == bool(scored.compute(doc=doc, model_response=r))


def test_means_over_subsets_and_of_the_six(asked):
    *_, items = asked
    table = {(m['name'], m['task']): m for m in benchmark_metrics(items)}
    assert len(table) == 14
    for column in COLUMNS:
        shares = []
        for name, b in BENCHMARKS.items():
            right = [sum(o['correct'] for o in items if (o['column'], o['task'], o['subset']) == (column, name, s)) for s in b.subsets]  # of one row each
            shares.append(sum(right)/len(right)); assert table[column, name]['value'] == pytest.approx(shares[-1])
            assert table[column, name]['n'] == len(b.subsets)
        mean = table[column, 'mean']
        assert mean['value'] == pytest.approx(sum(shares)/6) and mean['low'] <= mean['value'] <= mean['high'] and mean['n'] == 116
    assert benchmark_metrics(items) == list(table.values())


def test_a_model_retrained_at_the_same_path_is_scored_afresh(asked, tmp_path):
    *_, questions, _ = asked
    found = []
    for seed in (3, 4):
        save(tmp_path/'model', seed)
        with engine('hf', tmp_path/'model') as e: found.append(ask(e, questions[:6], 'toy'))
    assert all(a['choice_logprobs'] != pytest.approx(b['choice_logprobs'], abs=1e-4) for a, b in zip(*found, strict=True))


def test_two_models_are_compared_within_subsets(asked):
    *_, items = asked
    one = [o for o in items if o['column'] == 'corrected']
    other = [dict(o, model='other', correct=not o['correct'] if o['task'] == 'arabic_mmlu_ht' else o['correct']) for o in one]
    found = compare_benchmarks(one, other)
    gap = sum(o['correct']-p['correct'] for o, p in zip(one, other, strict=True))/57
    assert found['arabic_mmlu_ht'].delta == pytest.approx(gap) and found['mean'].delta == pytest.approx(gap/6)
    assert found['alghafa'].delta == 0 and found['alghafa'].indistinguishable
    assert {r['task']: r['mark'] for r in compared(found)}['alghafa'] == 'indistinguishable'


def test_one_question_is_no_verdict(asked):
    "One row a subset, and models that differ in the one question of EXAMS: by hand, that question falls to either side with chance 1/2, so p is 1."
    *_, items = asked
    one = [o for o in items if o['column'] == 'corrected']
    other = [dict(o, model='other', correct=not o['correct'] if o['task'] == 'arabic_exams' else o['correct']) for o in one]
    found = compare_benchmarks(one, other)
    for task, least in (('arabic_exams', 1), ('mean', 1/6)):
        c = found[task]
        assert abs(c.delta) == pytest.approx(least) and c.p == 1 and c.low <= 0 <= c.high and c.high-c.low > least/2
    assert {r['mark'] for r in compared(found)} == {'indistinguishable'}
    eight = compare_benchmarks(*([dict(o, correct=right) for o in one if o['task'] == 'aratrust'] for right in (True, False)), ('aratrust',))['aratrust']
    assert eight.p == pytest.approx(2/2**8, abs=2e-3) and eight.low > 0  # eight subsets of one row, all to one side: McNemar's p


def test_equal_models_are_not_called_different_more_often_than_promised_whatever_the_subsets():
    "300 pairs of equally good models on subsets of very unequal size: the weighted test keeps its promise, and its interval holds 0 as often as promised."
    rng, (general, grammar) = random.Random(3), BENCHMARKS['madinah_qa'].subsets
    def answers(model): return [dict(model=model, task='madinah_qa', subset=s, column='corrected', lang='ar', split='test', item=f'{s}/{i}', gold=0,
                                     correct=rng.random() < .5) for s, n in ((general, 60), (grammar, 6)) for i in range(n)]
    cs = [compare_benchmarks(answers('a'), answers('b'), ('madinah_qa',), 999, i)['mean'] for i in range(300)]
    assert .01 < sum(c.p < .05 for c in cs)/300 < .085 and sum(c.low <= 0 <= c.high for c in cs)/300 > .92


def test_what_cannot_be_scored_is_named_and_never_a_zero(asked, tmp_path):
    folder, _, tokenizer, questions, items = asked
    exam = TYPED['arabic_exams'][0]
    rows = [exam, exam | dict(answer='E'), exam | dict(answer=None)]
    kept, odd = subset_questions(rows, 'arabic_exams', 'default', 'corrected')
    assert [q['id'] for q in kept] == ['default/0']
    assert 'row 1: right answer 4 is none of the 4 options' in odd[0]['reason'] and 'row 2: the right answer is none of the options' in odd[1]['reason']
    kept, odd = subset_questions(rows, 'arabic_exams', 'default', 'as_published')  # LightEval asks the second and stops at the third
    assert [q['id'] for q in kept] == ['default/0', 'default/1'] and len(odd) == 2
    gone = ZERO | {'Answer Key': 'A'}  # the right answer is the number that LightEval drops
    with pytest.raises(HalaError, match=r'arabic_mmlu:Math \(Primary School\), row 7: the right answer is none of the options'):
        question(gone, 7, 'arabic_mmlu', 'Math (Primary School)', 'as_published')
    assert question(gone, 7, 'arabic_mmlu', 'Math (Primary School)', 'corrected')['answer'] == 0
    data = write(tmp_path/'data', 1)
    (data/'asas-ai/AraTrust-categorized/Ethics/train-00000-of-00001.jsonl').write_text('')
    with pytest.raises(HalaError, match='aratrust:Ethics: no rows'): benchmark_questions(data)
    with pytest.raises(HalaError, match='1 subsets have no answers, the first is aratrust:Ethics'):
        benchmark_metrics([o for o in items if o['subset'] != 'Ethics'])
    assert [o['asked'] for o in odd] == [True, False]
    with engine('hf', folder/'model') as e:
        e.model.model.embed_tokens.weight.data[:] = float('nan')
        with pytest.raises(HalaError, match=r'alghafa, item meta_ar_dialects/0: broken gives log-probabilities \[nan'): ask(e, questions[:3], 'broken')
        e.tokenizer.chat_template = None
        with pytest.raises(HalaError, match=r'no chat template.*needs one'): ask(e, questions[:3], 'lost')
    with pytest.raises(HalaError, match='1 questions were asked of one model only'): compare_benchmarks(items[:3:2], items[:1], ('alghafa',))
    tokenizer.chat_template = None
    assert prompt_text(tokenizer, questions[0], chatting=False).startswith(tokenizer.bos_token + questions[0]['instruction'] + '\n\n')


def test_alrage_is_lightevals_but_for_marks_that_are_none():
    from lighteval.tasks.multilingual.tasks import arabic as theirs
    for candidates in (['القاهرة عاصمة مصر. ', 'مصر بلد.'], 'سطر\n\n آخر'):
        row = dict(question='ما عاصمة مصر؟', candidates=candidates, gold_answer='القاهرة')
        doc, ours = theirs.qa_prompt_arabic(row), alrage(row, False)
        assert ours['query'] == doc.query and ours['message'] == doc.instruction + doc.query[len(doc.instruction):].strip() and ours['gold'] == doc.choices[0]
        assert judge_messages(ours, 'نعم') == theirs.judge_template(doc.query, 'نعم', 'القاهرة')
    for reply in ('8', '10', '0', '7.5'): assert judge_score(reply) == theirs.process_judge_response(reply)
    for reply in ('لا أستطيع الحكم', '', 'الدرجة'): assert judge_score(reply) is None and theirs.process_judge_response(reply) == 0
    found, missing = judged_metric([judge_score(o) for o in ('9', '؟', '5')], 'toy')
    assert (found['value'], found['n'], missing) == (pytest.approx(.7), 2, 1) and 'missing:1' in found['signature']


def test_each_rule_is_told_from_its_breach():
    "For every rule a reply that follows it and one that does not."
    pairs = {'at_most': (2, 'نعم لا', 'نعم لا نعم'), 'at_least': (2, 'نعم لا', 'نعم'), 'lines': (2, 'أ\n\nب', 'أ'), 'points': (2, '- أ\n- ب', '- أ\nب'),
             'json': (None, '{"أ": 1}', 'إليك: {"أ": 1}'), 'starts': ('نعم', 'نَعَم، هذا', 'لا نعم'), 'ends': ('شكرا', 'هذا، شكرًا.', 'شكرا لك'),
             'arabic_only': (None, 'كلمة ١', 'كلمة ok'), 'no_marks': (None, 'كتب', 'كَتب'), 'digits': (None, 'عام ١٩٩٠', 'عام 1990'),
             'no_comma': (None, 'نعم ولا', 'نعم، لا'), 'mentions': ('الناس', 'أن الناسَ هنا', 'ناس'), 'avoids': ('هذا', 'هذان', 'هذا')}
    assert set(pairs) == set(RULES)
    for name, (value, good, bad) in pairs.items():
        assert [followed(t, [(name, value)])[name] for t in (good, bad, '')] == [True, False, False], name


def test_figures_of_rules_are_shares_of_prompts_and_of_rules():
    from hala.core.arabic import rule_metrics
    asked = [dict(id='1', prompt='', rules=[('no_comma', None), ('at_most', 2)]), dict(id='2', prompt='', rules=[('mentions', 'نعم')])]
    made = {m['name']: m for m in rule_metrics(asked, ['واحد، اثنان', 'نعم'], 'toy')}
    assert (made['prompts']['value'], made['prompts']['n']) == (.5, 2) and made['rules']['value'] == pytest.approx(2/3) and made['rules']['n'] == 3
    assert all(m['low'] <= m['value'] <= m['high'] and m['model'] == 'toy' for m in made.values())
    with pytest.raises(HalaError, match='2 prompts, 1 replies'): rule_metrics(asked, ['نعم', None], 'toy')


def test_every_answer_its_reply_and_its_mark_are_kept(asked, tmp_path):
    "A judge that knows nothing gives no mark: an error in one line, and the file has what it wrote instead."
    from hala.scoring import alrage_questions, judged
    folder, *_ = asked
    (tmp_path/'OALL'/'ALRAGE').mkdir(parents=True)
    rows = [dict(question=f'ما عاصمة البلد {n}؟', candidates=[f'عاصمة البلد {n} هنا.'], gold_answer='هنا') for n in range(3)]
    (tmp_path/'OALL'/'ALRAGE'/'train.jsonl').write_text('\n'.join(json.dumps(r) for r in rows))
    questions, model = alrage_questions(str(tmp_path))[0], str(folder/'model')
    with pytest.raises(HalaError, match='none of the 3 replies'): judged(model, model, questions, str(tmp_path/'kept.jsonl'))
    kept = [json.loads(line) for line in (tmp_path/'kept.jsonl').read_text(encoding='utf-8').splitlines()]
    assert [(o['id'], o['gold'], o['model'], o['judge'], o['mark']) for o in kept] == [(f'alrage/{n}', 'هنا', model, model, None) for n in range(3)]
    assert all(isinstance(o[k], str) for o in kept for k in ('answer', 'reply'))


def test_stage_07_and_the_verb_ask_what_the_recipe_names(asked, tmp_path, capsys):
    from hala.core.recipe import Evaluate, recipe
    from hala.evaluate import answer_comparisons, arabic_answers, arabic_comparisons, arabic_metrics, counts, rule_answers
    from hala.scoring import evaluate_model, score_lines
    folder, *_ = asked
    ev = Evaluate(arabic=('aratrust', 'madinah_qa'), arabic_folder=str(folder/'data'), rules=2, rule_tokens=4)
    found = {m: arabic_answers(folder/'model', ev, m) for m in ('base', 'tuned', 'merged')}
    made = {(m['name'], m['task']): m for m in arabic_metrics(found['tuned'], ev, 'tuned')}
    assert set(made) == {(c, t) for c in COLUMNS for t in (*ev.arabic, 'mean')} | {('prompts', 'instructions'), ('rules', 'instructions')}
    assert made['corrected', 'aratrust']['n'] == 8 and found['tuned']['odd'] == []
    said = arabic_comparisons(found, ev)
    assert len(said) == 3*3 and {c['mark'] for c in said} == {'indistinguishable'} and {c['delta'] for c in said} == {0}
    ruled = rule_answers(found, ev)
    assert [(o['model'], o['item'], o['answer']) for o in ruled] == [(m, f'rule/{i}', r) for m, f in found.items() for i, r in enumerate(f['replies'])]
    share = {m['model']: m['value'] for m in arabic_metrics(found['tuned'], ev, 'tuned') if m['name'] == 'prompts'}['tuned']
    assert sum(o['correct'] for o in ruled if o['model'] == 'tuned')/2 == share
    tests = answer_comparisons(ruled)
    assert len(tests) == 3 and all((c['task'], c['n'], c['mark']) == ('instructions', 2, 'indistinguishable') for c in tests)
    exams = tmp_path/'OALL'/'Arabic_EXAMS'/'default'; exams.mkdir(parents=True)
    rows = [TYPED['arabic_exams'][0] | dict(answer=a) for a in ('D', 'E', '?')]
    (exams/'test.jsonl').write_text('\n'.join(json.dumps(r) for r in rows))
    ev = Evaluate(arabic=('arabic_exams',), arabic_folder=str(tmp_path), rules=2, rule_tokens=4)
    odd = arabic_answers(folder/'model', ev, 'base')
    assert counts([], {'base': odd}) == {'in': 6, 'kept': 2, 'rejected': {
        'as_published: cannot be asked, left out': 1, 'as_published: the right answer is none of the options, counted as wrong': 1,
        'corrected: cannot be asked, left out': 2}}
    questions = tmp_path/'benchmarks'; questions.mkdir()
    line = dict(id='1', question='؟', choices=['نعم', 'لا'], answer=0, lang='ar', split='test', held='S')
    (questions/'seen-ar-test.jsonl').write_text(json.dumps(line, ensure_ascii=False)+'\n', encoding='utf-8')
    scores = evaluate_model(str(folder/'model'), questions, ev)
    assert [(m['name'], m['task']) for m in scores[:2]] == [('acc', 'seen'), ('acc/S', 'seen')] and len(score_lines(scores)) == 2+2*2+2
    said = capsys.readouterr().err
    assert said.count('arabic_exams:default, row 1: right answer 4 is none of the 4 options') == 2 and said.count('row 2: the right answer') == 2
    assert recipe('1.2B').evaluate.arabic == tuple(BENCHMARKS) and recipe('1M').evaluate.arabic == ()
