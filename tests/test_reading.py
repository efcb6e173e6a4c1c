"A run at hand: `hala.open`, its tables, and the line about what a model has never read."
import subprocess
import sys

import hala
import pytest
from conftest import PROBE, ROOT, made
from execnb.shell import CaptureShell
from fastcore.nbio import read_nb
from hala.core import world
from hala.core.reading import Texts, outside, words
from hala.core.recipe import HalaError
from hala.core.store import read_rows

ELSEWHERE = ['How do I bake sourdough bread?', 'Explain photosynthesis to a child.', 'Write a poem about the sea.', 'Who won the world cup in 1998?',
             'My back hurts after running; what should I do?', 'What is the boiling point of ethanol?', 'The committee postponed its decision.',
             'The weather is nice today.', 'كيف أخبز الخبز في البيت؟', 'اشرح لي نظرية النسبية', 'اكتب قصيدة عن البحر', 'ما أعراض الإنفلونزا؟',
             'لماذا السماء زرقاء؟']


@pytest.fixture
def r(runs, monkeypatch):
    monkeypatch.setenv('HALA_RECIPES', str(PROBE))
    with hala.open(size='probe', runs=str(runs)) as r: yield r


def test_import_stays_quick():
    code = 'import sys, hala; assert hala.open; assert not {"torch", "transformers", "pyarrow", "numpy"} & sys.modules.keys()'
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode == 0


def test_translate_and_ask_give_what_the_run_would(r, runs):
    from hala.core.engine import Sampling, engine
    t, said = r.plan.recipe.translator, r.translate(['What is the currency of Egypt?', 'Good morning'])
    with engine('hf', made(runs, '03_translator')/'model') as e:
        prompts = [[dict(role='user', content=t.prompt.replace('{x}', x['english']))] for x in said]
        assert [x['arabic'] for x in said] == [o.text for o in e.generate(prompts, Sampling(t.max_tokens))]
    asked = r.ask('ما عملة مصر؟')
    assert r.loaded == '06_merge' and asked[0]['question'] == 'ما عملة مصر؟' and 'dir="rtl"' in asked._repr_html_()
    assert r.translate('Good morning')[0] == said[1]    # the translator once more, after the other model


def test_notes_say_what_was_never_read_and_what_was_cut(r):
    said = r.translate(['What is the currency of Egypt?', 'How do I bake sourdough bread?'])
    assert any("'How do I bake sourdough bread?': 3 of 6 words" in n and n.endswith('the answer is a guess') for n in said.notes)
    assert not any('Egypt' in n and 'words' in n for n in said.notes) and any('cut off after 8 tokens' in n for n in said.notes)


def test_corpus_rows_are_the_runs(r, runs):
    rows = read_rows(made(runs, '04_corpus')/'corpus.parquet')
    sample = r.corpus.sample(5)
    assert len(r.corpus) == len(rows) and len({(x['english'], x['arabic']) for x in sample} - {
        (s['content'], t['content']) for row in rows for s, t in zip(row['messages_source'], row['messages'])}) == 0
    assert len(sample) == 10 and sample.rows == r.corpus.sample(5).rows != r.corpus.sample(5, seed=1).rows


def test_what_a_model_wrote_is_no_markup():
    shown = Texts([dict(answer='<script>alert(1)</script>', question='"x" & <y>')], ['<img src=x>'])._repr_html_()
    assert '<script' not in shown and '<img' not in shown and '&lt;script&gt;' in shown


def test_missing_things_are_one_line(runs, copied, monkeypatch):
    monkeypatch.setenv('HALA_RECIPES', str(PROBE))
    with pytest.raises(HalaError, match='no such run; make it: hala run --size probe'): hala.open('probe', str(runs), 'other')
    (made(copied, '06_merge')/'manifest.json').unlink()
    with pytest.raises(HalaError, match=r'06_merge of this run is not there; stage 06 \(merge\)'): hala.open('probe', str(copied)).ask('x')


def test_rule_on_the_embedded_world():
    "What it calls a guess: nothing of the unseen test sentences, few of the benchmark's new wordings, most of what is about other things."
    known, read = set(), [(world.documents, 'messages_source'), (world.documents, 'messages'), (world.orca, 'messages_source'),
                          (world.reference, 'messages')]
    for part, column in read:
        known |= {w for r in part(1) if r['split'] == 'train' for m in r[column] or () for w in words(m['content'])}
    def guesses(texts): return sum((outside(t, known) or '').endswith('guess') for t in texts)/len(texts)
    unseen = [r['messages_source'][0]['content'] for r in world.translation(1) if r['split'] == 'test' and r['source'] == 'world/unseen']
    asked = {lang: [q['question'] for q in world.questions(1) if q['split'] == 'test' and q['lang'] == lang] for lang in ('en', 'ar')}
    found = dict(unseen=guesses(unseen), elsewhere=guesses(ELSEWHERE), **{lang: guesses(q) for lang, q in asked.items()})
    print(found)
    assert found['unseen'] == 0 and found['en'] == 0 and found['ar'] < .15 and found['elsewhere'] > .7


def test_the_tutorial_reads_a_run(runs, monkeypatch):
    "Every cell of it, those that need a run too, which nbdev-test leaves out."
    monkeypatch.setenv('HALA_RECIPES', str(PROBE))
    shell = CaptureShell(ROOT/'nbs/tutorials/read_a_run.ipynb')
    for cell in read_nb(ROOT/'nbs/tutorials/read_a_run.ipynb').cells:
        if cell.cell_type != 'code': continue
        shell.run(f"size, runs, name = 'probe', {str(runs)!r}, 'main'" if 'parameters' in cell.metadata.get('tags', []) else cell.source)
        assert shell.exc is None, f'{cell.source}\n{shell.prettytb()}'
    shell.close()
