"""What a translator does with spans, and what `hala translate` costs beside the bare engine: `python bench/translator.py [SIZE]` after `hala run`.

Rows: every question of the embedded world's `other` (territories that neither teacher nor translator read sentences about), once as it is and once
with a sentence behind it that holds code, an address, a formula or a placeholder. Kept: by the recipe's checks. What stands before that sentence is
compared by chrF++ with the reference, and so is the same text translated without it. Writes docs/results/translator.json."""
import gc
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from sacrebleu.metrics import CHRF

from hala.core import engine
from hala.core.pipeline import plan
from hala.core.quality import failed, limits, measure
from hala.core.store import machine
from hala.core.tables import shape_of
from hala.core.text import content, cut, intact, spans_of, translate_texts
from hala.core.translating import translated
from hala.core.world import REQUESTS, other, reference

ASKED = [r for r in REQUESTS if spans_of(r[2])]


def carrying():
    "(English, Arabic) with a span, (English, Arabic) without, row by row."
    ids, out = {r['id'] for r in other()}, []
    for n, r in enumerate(r for r in reference() if r['id'] in ids):
        pair = [content(r['messages_source']), content(r['messages'])]
        for *ends, kept in REQUESTS:
            pair = [s.removesuffix(' '+end.format(p=kept)) for s, end in zip(pair, ends)]
        *ends, kept = ASKED[n % len(ASKED)]
        out.append(([f'{s} {end.format(p=kept)}' for s, end in zip(pair, ends)], pair))
    return out


def first(text):
    "A text without its spans, and without the last sentence, which they stood in."
    for s in spans_of(text): text = text.replace(s, ' ', 1)
    parts = cut(' '.join(text.split()), 2)
    return ''.join(parts[:-1]).strip() or parts[0]


def spans(e, recipe):
    rows, t = carrying(), recipe.translator
    def through(texts): return translate_texts(texts, lambda some: engine.translate(e, some, t.prompt, t.max_tokens), engine.WINDOW*t.max_tokens)
    def why(source, o): return o.reason or failed(measure(source, o.text, o.finish), limits(recipe.corpus.most))
    with_, without = (through([r[k][0] for r in rows]) for k in (0, 1))
    reasons, plain = [why(r[0][0], o) for r, o in zip(rows, with_)], [why(r[1][0], o) for r, o in zip(rows, without)]
    kept = [n for n, reason in enumerate(reasons) if not reason]
    def chrf(said): return round(CHRF(word_order=2).corpus_score([said(n) for n in kept], [[rows[n][1][1] for n in kept]]).score, 2)
    around, same = chrf(lambda n: first(with_[n].text)), chrf(lambda n: without[n].text)
    return dict(rows=len(rows), kept=round(len(kept)/len(rows), 4), kept_without_spans=round(plain.count(None)/len(rows), 4),
                intact=round(sum(intact(rows[n][0][0], with_[n].text) for n in kept)/len(kept), 4), rejected={k: n for k, n in Counter(reasons).items() if k},
                ways=dict(Counter(o.way for o in with_)), chrf_around=around, chrf_same_rows_without=same, difference=round(around-same, 2))


def speed(folder, recipe, rows=1_000, again=8):
    """CPU seconds on one core of `hala translate` and of the engine alone, by turns; the fastest of each. The engine gets the prompts in the same calls, for
    which texts are asked about once more is known from their answers only."""
    t, asked = recipe.translator, []
    records = [dict(text=content(r['messages_source'])) for r in other()[:rows]]
    class Heard(engine.Hf):
        def generate(self, prompts, *more, **how):
            asked.append(prompts); return super().generate(prompts, *more, **how)
    def all_of_it():
        with tempfile.TemporaryDirectory() as d, engine.kept(Path(d), 'hf', folder) as e:
            translated(records, shape_of(records), e, t.prompt, t.max_tokens, (), 'replaced')
    engine.ENGINES['hf'] = Heard; all_of_it(); engine.ENGINES['hf'] = engine.Hf
    tokens = 0
    def alone():
        nonlocal tokens
        with engine.engine('hf', folder) as e:
            gc.freeze() # as a kept engine does; without it the garbage collector takes up to a tenth of the time, and the bare engine looks slower than it is
            tokens = sum(o.tokens_out for some in asked for o in e.generate(some, engine.Sampling(t.max_tokens)))
            gc.unfreeze()
    best = dict.fromkeys((alone, all_of_it), float('inf'))
    for _ in range(again):
        for way in best:
            start = time.process_time(); way(); best[way] = min(best[way], time.process_time()-start)
    rates = dict(engine=round(tokens/best[alone]), hala_translate=round(tokens/best[all_of_it]))
    return dict(records=rows, prompts=sum(map(len, asked)), tokens=tokens, tokens_per_s=rates,
                ratio=round(best[alone]/best[all_of_it], 4))


if __name__ == '__main__':
    p = plan(sys.argv[1] if sys.argv[1:] else '1M')
    folder = p.home('03_translator')/(p.home('03_translator')/'current').read_text().strip()/'model'
    found = dict(size=p.recipe.size, speed=speed(folder, p.recipe))
    print(json.dumps(found['speed'], indent=1), flush=True)
    with engine.engine('hf', folder) as e: found['spans'] = spans(e, p.recipe)
    print(json.dumps(found['spans'], indent=1))
    (Path(__file__).parents[1]/'docs'/'results'/'translator.json').write_text(json.dumps(found | dict(machine=machine()), indent=1)+'\n')
