"""chrF++ counted at once against sacrebleu, the tests of significance against known answers, and what must be named."""
import importlib.util
import math
import random
import subprocess
import sys
import sysconfig
import time
import venv

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from hala.core.metrics import (aligned, approximate_randomisation, bleu, bootstrap_deltas, chrf_counts, chrf_each, chrf_interval, chrf_of, coin,
                               comet_each, common_subsequence, compare_answers, compared, holm, mcnemar, non_inferiority, paired_bootstrap,
                               paired_counts, rouge_each, row_scores, translation_scores)
from hala.core.recipe import HalaError

ALPHABETS = ['ابتثج حخد.،؟ ', 'abcAB (x)!"\'- ',
             '٠١٢3 4\u064b\u0651\u0640\u200f\u00a0\u2028\t\n\x1c ', ''.join(map(chr, range(0x4e00, 0x4f00)))+' ', '👍🏽é\u0301 z', '\ud800 a']


def texts(rng, n, longest=60):
    "Random strings of one alphabet or a mixture, empty ones among them."
    def one():
        alphabet = rng.choice([*ALPHABETS, ''.join(ALPHABETS)])
        return ''.join(rng.choices(alphabet, k=rng.choice([0, 1, 2, 5, rng.randint(0, longest)])))
    return [one() for _ in range(n)]


def sentences(rng, n):
    words = [''.join(rng.choices('ابتثجحخدرسشعفقكلمنهوي', k=rng.randint(2, 7))) for _ in range(300)]
    return [' '.join(rng.choices(words, k=rng.randint(5, 25))) + rng.choice('.؟') for _ in range(n)], words


def noisy(rng, refs, words, share): return [' '.join(rng.choice(words) if rng.random() < share else w for w in r.split()) for r in refs]


def theirs(system, refs): return np.array(CHRF(word_order=2)._extract_corpus_statistics(system, [refs]))


@pytest.mark.parametrize('seed', range(6))
def test_counts_are_sacrebleus_whatever_the_text(seed):
    rng = random.Random(seed)
    refs, a = texts(rng, 300), texts(rng, 300)
    b = [r if rng.random() < .5 else r[::-1] + x for r, x in zip(refs, a, strict=True)]
    counts = chrf_counts(refs, a, b)
    assert (counts[0] == theirs(a, refs)).all() and (counts[1] == theirs(b, refs)).all()
    m = CHRF(word_order=2)
    assert chrf_each(b, refs) == pytest.approx([m.sentence_score(h, [r]).score for h, r in zip(b, refs, strict=True)], abs=1e-11)
    assert chrf_of(counts.sum(1))[1] == pytest.approx(m.corpus_score(b, [refs]).score, abs=1e-11)


def test_rows_that_do_not_fit_are_halved_or_left_to_sacrebleu():
    "Six hundred characters fit for a few rows at once; 1100 in one row for none; and a single text of many thousand."
    rng = random.Random(1)
    many = [''.join(rng.choices([chr(0x4e00+i) for i in range(600)], k=200)) for _ in range(20)]
    refs = [*many, ''.join(map(chr, range(0x4e00, 0x4e00+1100))), 'كلمة '*20000, '']
    hyps = [*many[::-1], refs[20][::-1], 'كلمة أخرى '*9000, 'x']
    assert (chrf_counts(refs, hyps)[0] == theirs(hyps, refs)).all()


def test_paired_bootstrap_is_sacrebleus(monkeypatch):
    "Its own test, run on the same seed, has the same scores and the same p; its code on the same draws the same differences; its interval is near ours."
    monkeypatch.setenv('SACREBLEU_SEED', '5')
    rng = random.Random(2)
    refs, words = sentences(rng, 150)
    for share in (.31, .36, .5):
        a, b = noisy(rng, refs, words, .3), noisy(rng, refs, words, share)
        _, found = PairedTest([('b', b), ('a', a)], {'chrf': CHRF(word_order=2, references=[refs])}, None, test_type='bs', n_samples=500)()
        base, system = found['chrF2++']
        ours = paired_bootstrap(a, b, refs, n_resamples=500, seed=5)
        assert (ours.a, ours.b) == pytest.approx((system.score, base.score), abs=1e-10) and ours.delta == ours.a-ours.b
        assert ours.p_sacrebleu == pytest.approx(system.p_value, abs=1.1/501)  # theirs are float32: one draw may fall on the other side
        x, y = theirs(a, refs), theirs(b, refs)
        drawn, m = np.random.default_rng(5).choice(150, size=(500, 150), replace=True), CHRF(word_order=2)
        want = [m._compute_f_score(x[i].sum(0).tolist()) - m._compute_f_score(y[i].sum(0).tolist()) for i in drawn]
        assert bootstrap_deltas(paired_counts(a, b, refs, 'chrf'), 'chrf', 500, 5)[1] == pytest.approx(np.array(want), abs=1e-10)
        assert (ours.low, ours.high) == pytest.approx(np.quantile(want, [.025, .975]), abs=1e-10)
    monkeypatch.setenv('SACREBLEU_SEED', '0')
    single = CHRF(word_order=2).corpus_score(a, [refs], n_bootstrap=1000)
    low, high = chrf_interval(a, refs)
    assert (high-low)/2 == pytest.approx(single._ci, rel=.02)


def test_the_other_metrics_are_resampled_too():
    rng = random.Random(3)
    refs, words = sentences(rng, 60)
    a, b = noisy(rng, refs, words, .2), noisy(rng, refs, words, .6)
    drawn, m = np.random.default_rng(1).choice(60, size=(20, 60), replace=True), BLEU()
    want = [m.corpus_score([a[i] for i in o], [[refs[i] for i in o]]).score - m.corpus_score([b[i] for i in o], [[refs[i] for i in o]]).score for o in drawn]
    assert bootstrap_deltas(paired_counts(a, b, refs, 'bleu'), 'bleu', 20, 1)[1] == pytest.approx(np.array(want), abs=1e-9)
    each = np.array(rouge_each(a, refs))-np.array(rouge_each(b, refs))
    assert bootstrap_deltas(paired_counts(a, b, refs, 'rouge'), 'rouge', 20, 1)[1] == pytest.approx(each[drawn].mean(1), abs=1e-9)
    for metric in ('chrf', 'bleu', 'rouge'): assert paired_bootstrap(a, b, refs, metric, 200).p < .01


def test_fifteen_times_faster_than_sacrebleu(monkeypatch):
    "The figure is docs/results/metrics.json's; here, beside other work, only that it is many times faster: the best of three turns each, taken in turns."
    monkeypatch.setenv('SACREBLEU_SEED', '1')
    rng = random.Random(4)
    refs, words = sentences(rng, 2000)
    a, b = noisy(rng, refs, words, .3), noisy(rng, refs, words, .32)
    def other(): PairedTest([('b', b), ('a', a)], {'chrf': CHRF(word_order=2, references=[refs])}, None, test_type='bs', n_samples=1000)()
    def timed(f): start = time.perf_counter(); f(); return time.perf_counter()-start
    turns = [(timed(lambda: paired_bootstrap(a, b, refs)), timed(other)) for _ in range(3)]
    assert min(t[1] for t in turns) > 5*min(t[0] for t in turns)


@pytest.mark.parametrize('test', ['bootstrap', 'randomisation'])
def test_equal_models_are_called_different_as_often_as_promised(test):
    "200 pairs of models that are equally good: about 5 % of the p lie below 0.05. sacrebleu's p calls about twice as many different."
    rng = np.random.default_rng(0)
    ps, moses = [], []
    for i in range(200):
        a, b = rng.normal(0, 1, (2, 80))
        if test == 'randomisation': ps.append(approximate_randomisation(a, b, metric='mean', n_trials=400, seed=i)); continue
        c = paired_bootstrap(a, b, metric='mean', n_resamples=400, seed=i)
        ps.append(c.p); moses.append(c.p_sacrebleu)
    share = np.mean(np.array(ps) < .05)
    assert .01 <= share <= .10
    if moses: assert np.mean(np.array(moses) < .05) > 1.4*share


def test_intervals_hold_the_truth_as_often_as_promised():
    "The mean difference is 0.3; 95 % intervals of 200 samples hold it in 90 to 99 % of them."
    rng = np.random.default_rng(1)
    held = []
    for i in range(200):
        a, b = rng.normal(.3, 1, 60), rng.normal(0, 1, 60)
        c = paired_bootstrap(a, b, metric='mean', n_resamples=400, seed=i)
        held.append(c.low <= .3 <= c.high)
    assert .90 <= np.mean(held) <= .99


def test_a_model_is_not_different_from_itself():
    refs, words = sentences(random.Random(6), 40)
    a = noisy(random.Random(7), refs, words, .3)
    c = paired_bootstrap(a, list(a), refs)
    assert (c.delta, c.low, c.high, c.p) == (0, 0, 0, 1) and c.indistinguishable and 'indistinguishable' in str(c)
    assert c.p_sacrebleu == 1/1001  # theirs says otherwise
    assert approximate_randomisation(a, list(a), refs, n_trials=99) == 1
    found, back = paired_bootstrap(a, refs, refs), paired_bootstrap(refs, a, refs)
    assert (found.delta, found.low, found.high, found.p) == pytest.approx((-back.delta, -back.high, -back.low, back.p))


def items(right, model, **more): return [dict(model=model, task='t', lang='ar', split='test', item=i, gold=0, correct=c) | more for i, c in enumerate(right)]


def test_mcnemar_is_the_exact_binomial():
    stats = pytest.importorskip('scipy.stats')
    for heads, tails in ((0, 0), (5, 0), (3, 9), (40, 61), (700, 801), (2, 2)):
        want = stats.binomtest(heads, heads+tails).pvalue if heads+tails else 1
        assert coin(heads, tails) == coin(tails, heads) == pytest.approx(want, rel=1e-9)
    assert coin(6000, 6400) == pytest.approx(stats.binomtest(6000, 12400).pvalue, rel=1e-9)
    a, b = items([1]*30+[0]*20, 'a'), items([1]*20+[0]*25+[1]*5, 'b')
    assert mcnemar(a, b) == (10, 5, pytest.approx(stats.binomtest(5, 15).pvalue))
    c = compare_answers(a, b)
    assert (c.delta, c.p) == (pytest.approx(.1), pytest.approx(stats.binomtest(5, 15).pvalue)) and c.low < 0 < .1 < c.high and c.indistinguishable


def test_holm_keeps_the_promise_for_the_whole_table():
    "By hand; and of 300 tables of 20 true nulls about 5 % have any difference called real, where uncorrected more than half have."
    assert holm([.04, .01, .03, .005]) == pytest.approx([.06, .03, .06, .02])
    rng = np.random.default_rng(2)
    tables = rng.random((300, 20))
    assert np.mean([min(holm(t.tolist())) < .05 for t in tables]) < .09 and np.mean(tables.min(1) < .05) > .5
    with pytest.raises(HalaError, match='nan is no p'): holm([.5, math.nan])
    c = paired_bootstrap([1]*30+[0]*10, [0]*8+[1]*22+[0]*10, metric='mean')
    rows = compared({'one': c, **{f'same {i}': paired_bootstrap([1, 0], [1, 0], metric='mean') for i in range(60)}})
    assert not c.indistinguishable and c.p < .05 and rows[0]['mark'] == 'indistinguishable'  # one of 61 tests: no longer


def test_non_inferiority_and_its_power():
    "With noise of known size: the test passes as often as the power it prints, and rejects a model that lost the whole margin in 5 % of cases."
    rng = np.random.default_rng(3)
    def share(loss, rounds=150):
        found = [non_inferiority(rng.normal(-loss, 1, 200), rng.normal(0, 1, 200), None, .25, 'mean', 300, i) for i in range(rounds)]
        return np.mean([o.met for o in found]), np.mean([o.power for o in found]), found[0]
    passed, power, one = share(0)
    assert power == pytest.approx(passed, abs=.10) and .6 < power < .95  # by hand: margin 0.25, sigma sqrt(2/200): Phi(2.5-1.645) = 0.80
    assert 120 < one.needed < 350
    assert share(.25)[0] < .11
    assert 'margin 0.25' in str(one) and 'power' in str(one)
    with pytest.raises(HalaError, match='margin of -1'): non_inferiority(['a'], ['a'], ['a'], -1)


@pytest.mark.parametrize('n', [1, 2, 5, 6, 40])
def test_few_rows_carry_no_verdict(n):
    "Rows that all fall to one side: no test can give less than 2/2^rows, whatever the metric, and rows in which both are equal say nothing."
    least = 2/2**n
    one, other, refs = ['نعم نعم']*n, ['كلا']*n, ['نعم نعم']*n
    for c in (paired_bootstrap(one, other, refs), paired_bootstrap([1]*n+[0]*50, [0]*n+[0]*50, metric='mean'), paired_bootstrap([1.]*n, [0.]*n, metric='mean')):
        assert c.p >= least*(1-1e-9) and c.indistinguishable == (n < 6) and (c.low <= 0) == (n < 6)
    c = compare_answers(items([1]*n, 'a'), items([0]*n, 'b'))
    assert c.p == pytest.approx(least) and (c.low <= 0) == (n < 6)


def test_equal_models_on_few_rows_are_not_called_different_more_often_than_promised():
    "400 pairs of models that are equally good, of ten rows each: at 5 %, about one in twenty, where resampling alone says it of more than one in ten."
    rng = np.random.default_rng(8)
    cs = [paired_bootstrap(*rng.normal(0, 1, (2, 10)), metric='mean', n_resamples=300, seed=i) for i in range(400)]
    assert np.mean([c.p < .05 for c in cs]) < .075 and all(c.low <= 0 <= c.high for c in cs if c.p >= .05)


def test_a_loss_that_may_sit_in_rows_not_seen_is_not_ruled_out():
    "Equal outputs of few rows: a margin of 1 in 100 is lost where one row in a hundred is lost, and 298 rows may well hold none of these."
    for n in (1, 42, 298):
        found = non_inferiority(['a']*n, ['a']*n, ['a']*n, 1.)
        assert not found.met and 'too few rows' in str(found) and found.power == 0 and found.needed == found.least == 299
        assert found.p == pytest.approx(.99**n, abs=.01)
    assert all(non_inferiority(*[['a']*n]*3, margin).met for n, margin in ((299, 1.), (5, 50.)))
    assert not non_inferiority([1.], [1.], None, .5, 'mean').met and not non_inferiority([0.]*2, [0.]*2, None, .5, 'mean').met


def test_rouge_on_english_is_the_packages_and_on_arabic_is_not():
    package = pytest.importorskip('rouge_score.rouge_scorer')
    scorer, rng = package.RougeScorer(['rougeL']), random.Random(5)
    words = 'the cat sat on a mat and then it slept 12 34'.split()
    pairs = [(' '.join(rng.choices(words, k=rng.randint(1, 15))), ' '.join(rng.choices(words, k=rng.randint(1, 15)))) for _ in range(100)]
    hyps, refs = zip(*pairs, strict=True)
    assert rouge_each(hyps, refs) == pytest.approx([100*scorer.score(r, h)['rougeL'].fmeasure for h, r in pairs])
    arabic = 'عاصمة فرنسا هي باريس'
    assert scorer.score(arabic, arabic)['rougeL'].fmeasure == 0 and rouge_each([arabic], [arabic]) == [100]
    only_digits = scorer.score('سنة 1990', 'يوم 1990')['rougeL'].fmeasure
    assert only_digits == 1 and rouge_each(['يوم 1990'], ['سنة 1990']) == [50]
    def table(a, b): # the textbook recursion
        row = [0]*(len(b)+1)
        for x in a:
            before = 0
            for j, y in enumerate(b): before, row[j+1] = row[j+1], before+1 if x == y else max(row[j+1], row[j])
        return row[-1]
    for _ in range(200):
        a, b = (rng.choices('abcd', k=rng.randint(0, 80)) for _ in range(2))
        assert common_subsequence(a, b) == table(a, b)


COMET_PY = """
import os
from types import SimpleNamespace
import torch
print('a line of a library on standard output')
class Model:
    def predict(self, rows, batch_size, gpus):
        assert gpus == min(1, torch.cuda.device_count())
        if rows[0]['src'] == 'die': os._exit(3)
        if rows[0]['src'] == 'few': rows = rows[:-1]
        return SimpleNamespace(scores=[torch.tensor(float('nan') if r['src'] == 'odd' else float(r['mt'] == r['ref'])) for r in rows])
def download_model(name):
    assert name == 'Unbabel/wmt22-comet-da'
    if os.environ.get('NO_WEIGHTS'): raise OSError('We could not connect\\nto the hub')
    return name
def load_from_checkpoint(path): return Model()
"""


@pytest.fixture(scope='module')
def scorer(tmp_path_factory):
    "Another interpreter, in an environment of its own where a module `comet` has the interface of unbabel-comet 2.2.7; torch is this one's."
    home = tmp_path_factory.mktemp('scorer')
    venv.create(home/'env', symlinks=True)
    packages = next((home/'env'/'lib').glob('python*/site-packages'))
    (packages/'comet.py').write_text(COMET_PY); (packages/'torch.pth').write_text(sysconfig.get_path('purelib')+'\n')
    return str(home/'env'/'bin'/'python')


def test_comet_is_a_column_where_an_interpreter_is_named(scorer, monkeypatch, capfd):
    hyps, refs, sources = ['نعم\u2028', 'لا'], ['نعم\u2028', 'كلا'], ['yes', 'no "\n"']
    monkeypatch.delenv('HALA_COMET', raising=False)
    assert set(row_scores(hyps, refs, sources)) == {'chrf', 'bleu', 'rouge', 'exact'}
    monkeypatch.setenv('HALA_COMET', scorer)
    rows = row_scores(hyps, refs, sources)
    assert rows['comet'] == [1, 0] and 'comet' not in row_scores(hyps, refs)  # without sources there is nothing to ask it
    found = {m['name']: m for m in translation_scores('translator', 'catalog', 'ar', hyps, refs, rows=rows)}
    assert found['comet']['value'] == .5 and found['comet']['low'] <= .5 <= found['comet']['high'] and found['comet']['signature'] == 'Unbabel/wmt22-comet-da'
    assert found['bleu']['value'] == bleu(hyps, refs)[0] and found['exact']['value'] == .5 and found['rouge']['n'] == 2
    assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize('source, python, weights, says', [
    ('yes', '', '1', 'OSError: We could not connect to the hub'), ('yes', '/no/such/python', '', 'No such file'), ('die', '', '', 'status 3'),
    ('few', '', '', '1 scores for 2 rows'), ('odd', '', '', 'nan'), ('yes', sys.executable, '', "No module named 'comet'")])
def test_a_comet_that_fails_is_told_in_one_line_and_its_column_is_missing(scorer, monkeypatch, capsys, source, python, weights, says):
    if python == sys.executable and importlib.util.find_spec('comet'): pytest.skip('COMET is installed beside hala')
    monkeypatch.setenv('HALA_COMET', python or scorer); monkeypatch.setenv('NO_WEIGHTS', weights)
    with pytest.raises(HalaError, match='HALA_COMET') as e: comet_each([source]*2, ['نعم']*2, ['نعم']*2)
    assert says in str(e.value) and '\n' not in str(e.value)
    assert set(row_scores(['نعم']*2, ['نعم']*2, [source]*2)) == {'chrf', 'bleu', 'rouge', 'exact'}
    said = capsys.readouterr()
    assert said.out == '' and len(said.err.splitlines()) == 1 and says in said.err and 'no column comet' in said.err


def test_other_rows_and_missing_outputs_are_named():
    with pytest.raises(HalaError, match=r"not the same test rows: \{'a': 2, 'b': 3, 'refs': 3\}"): paired_bootstrap(['a']*2, ['a']*3, ['a']*3)
    with pytest.raises(HalaError, match='no test rows'): paired_bootstrap([], [], [])
    with pytest.raises(HalaError, match='row 1 of b is None'): approximate_randomisation(['a', 'b'], ['a', None], ['a', 'b'])
    with pytest.raises(HalaError, match='row 0 of a is nan'): paired_bootstrap([math.nan], [1.], metric='mean')
    with pytest.raises(HalaError, match="no metric 'ter'"): paired_bootstrap(['a'], ['a'], ['a'], 'ter')
    with pytest.raises(HalaError, match='chrf needs references'): paired_bootstrap(['a'], ['a'])
    assert aligned(dict(x='1', y='2'), dict(y='3', x='4'), dict(x='5', y='6', z='7')) == (['x', 'y'], ['1', '2'], ['4', '3'], ['5', '6'])
    with pytest.raises(HalaError, match="2 rows are in one run only, the first is 'y'"): aligned(dict(x='1', y='2'), dict(x='3', z='2'), dict(x='5', y='6'))
    with pytest.raises(HalaError, match="1 rows have no reference, the first is 'y'"): aligned(dict(x='1', y='2'), dict(x='3', y='2'), dict(x='5'))
    a = items([1, 0], 'a')
    with pytest.raises(HalaError, match='1 questions were asked of one model only'): mcnemar(a, items([1], 'b'))
    with pytest.raises(HalaError, match='2 questions have another right answer'): mcnemar(a, items([1, 0], 'b', gold=2))
    with pytest.raises(HalaError, match='2 questions were asked twice of a'): mcnemar(a+a, a)
    with pytest.raises(HalaError, match='no questions'): mcnemar([], [])


def test_importing_needs_neither_torch_nor_transformers():
    code = 'import sys, hala.core.metrics, hala.core.arabic; print([m for m in ("torch", "transformers", "datasets", "lighteval") if m in sys.modules])'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'
