"""Spans, checks, duplicates and contamination against the usual way to do each, side by side in one process: `python bench/text.py [--rows 20000]`"""
import argparse
import json
import platform
import random
import re
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from defects import clean, planted

from hala.core import text as T
from hala.core.overlap import BANDS, ROWS, contaminated, folding, near_duplicates
from hala.core.quality import failed, measure
from hala.core.store import machine
from hala.core.world import documents, questions

# The usual way: one alternation of every kind of span, tried at every character. The same kinds, each in its plainest spelling.
ALTERNATIONS = re.compile('|'.join([
    r'(?s:```.*?```)', '`[^`\n]+`', r'(?s:\$\$.+?\$\$)', r'\$(?=[^\s\d])[^$\n]*[^\s$]\$(?!\d)', r'\\\(.*?\\\)', r'\\\[.*?\\\]',
    r'(?s:\\begin\{(\w+\*?)\}.*?\\end\{\1\})',
    r'\\[A-Za-z]+(?:\{[^{}]*\})+', r'[A-Za-z][\w+.-]*://[^\s<>"،؛؟]*[^\s<>"،؛؟.,;:!?)]', r'www\.[^\s<>"]+', r'[\w.%+-]+@(?:[\w-]+\.)+[A-Za-z]{2,}',
    r'[A-Za-z]:\\[^\s:*?"<>|]+', r'(?:~|\.{1,2})?(?:/[\w.+-]+){2,}/?', r'[\w.-]+(?:/[\w.-]+)*\.(?:py|txt|md|json|csv|html|sh|c|h|js)\b', r'<!--.*?-->',
    r'</?[A-Za-z][^<>]*>',
    r'<\d+>', r'&(?:#\d+|\w+);', r'\{\{[^{}]*\}\}', r'\$\{\w+\}', r'\{[\w.:]*\}', r'%\(\w+\)[a-z]', r'%[sdif]\b', r'⟦\d+⟧']))


def usual_protect(text):
    spans = []
    def mark(m): spans.append(m[0]); return f'⟦{len(spans)-1}⟧'
    return ALTERNATIONS.sub(mark, text), spans


def usual_restore(masked, spans): return re.sub(r'⟦(\d+)⟧', lambda m: spans[int(m[1])], masked)


FOLD = {n: None if f == 0 else chr(f) for n, f in enumerate(folding().tolist()) if f != n}


def usual_words(text): return text.translate(FOLD).split()


def usual_near(texts, least=.8, size=3):
    "The same pipeline (shingles of three words, 128 orders, 32 bands) with sets of tuples, as it is usually written."
    r = np.random.default_rng(1)
    a, b = (r.integers(1, 2**32, ROWS*BANDS, np.uint64) for _ in 'ab')
    signed, buckets, leader = [], defaultdict(dict), list(range(len(texts)))
    for i, t in enumerate(texts):
        words = usual_words(t)
        some = {' '.join(words[n:n+size]) for n in range(max(1, len(words)-size+1))}
        h = np.array([hash(s) & 0xffffffff for s in some], np.uint64)
        signed.append(((h[:, None]*a + b) & np.uint64(0xffffffff)).min(0))
        for band in range(BANDS):
            first = buckets[band].setdefault(signed[i][band*ROWS:(band+1)*ROWS].tobytes(), i)
            if first < i and leader[i] == i and (signed[i] == signed[first]).mean() >= least: leader[i] = leader[first]
    return leader


def usual_contaminated(texts, items, size=8):
    "A set of n-grams."
    grams = {tuple(w[n:n+size]) for w in map(usual_words, items) for n in range(len(w)-size+1)}
    def held(t):
        w = usual_words(t)
        return any(tuple(w[n:n+size]) in grams for n in range(len(w)-size+1))
    return [held(t) for t in texts]


def fastest(ways, again=5):
    "CPU seconds of each way on one core, the fastest of several, the ways taking turns: what else the machine does is not counted."
    best = dict.fromkeys(ways, float('inf'))
    for _ in range(again):
        for name, way in ways.items():
            start = time.process_time(); way(); best[name] = min(best[name], time.process_time()-start)
    return best


def prose(rows, words, seed=0):
    "Texts of a given length made of the embedded world's sentences, English and Arabic by turns."
    r = random.Random(seed)
    said = [[m['content'] for d in documents() for m in d[column] or ()] for column in ('messages_source', 'messages')]
    said = [[s for s in some if not T.spans_of(s)] for some in said]
    def one(some):
        out = []
        while len(out) < words: out += r.choice(some).split()
        return ' '.join(out[:words])
    return [one(said[n % 2]) for n in range(rows)]


def with_spans(texts, each=100, seed=0):
    "The same with a span in every hundred characters."
    r, kinds = random.Random(seed), ['`x = 1`', 'https://example.org/a/b?c=1', '$x^2$', '{name}',
                                '%(count)s', '<b>', 'me@example.org', '/usr/local/bin', '${HOME}', '&amp;']
    def one(t):
        out = []
        for part in re.findall(rf'(?s).{{1,{each}}}(?:\s|$)', t): out += [part.strip(), r.choice(kinds)]
        return ' '.join(out)
    return [one(t) for t in texts]


def spans(rows):
    out = {}
    for name, texts in (('no spans', plain := prose(rows, 130)), ('a span per 100 characters', with_spans(plain))):
        assert all(T.restore(*T.protect(t)) == t for t in texts)
        size = sum(len(t.encode()) for t in texts)/1e6
        s = fastest({'hala': lambda texts=texts: [T.restore(*T.protect(t)) for t in texts],
                     're': lambda texts=texts: [usual_restore(*usual_protect(t)) for t in texts]})
        same = sum(T.protect(t)[0] == usual_protect(t)[0] for t in texts)/len(texts)
        out[name] = dict(mb_per_s={k: round(size/v, 1) for k, v in s.items()}, ratio=round(s['re']/s['hala'], 2), same_masks=round(same, 4))
    return out


def checks(rows):
    pairs = planted(rows, seed=101) # a seed that no threshold was settled on
    found, clean_ = defaultdict(Counter), Counter()
    for source, target, finish, name in pairs: (found[name] if name else clean_)[failed(measure(source, target, finish))] += 1
    some = clean(min(rows, 5_000), seed=102)
    s = fastest({'hala': lambda: [failed(measure(a, b)) for a, b in some]}, 3)
    return dict(rows_per_s=round(len(some)/s['hala']), rows=rows, caught={k: round(1-n[None]/n.total(), 4) for k, n in found.items()},
                caught_all=round(1-sum(n[None] for n in found.values())/sum(n.total() for n in found.values()), 4),
                clean_rejected=round(1-clean_[None]/clean_.total(), 5), clean_rejected_by={k: n for k, n in clean_.items() if k})


def duplicates(rows):
    texts, r = prose(rows, 130, seed=3), random.Random(4)
    texts += [' '.join(w if r.random() > .02 else 'other' for w in t.split()) for t in texts[:rows//10]] # one word in fifty changed
    s = fastest({'hala': lambda: near_duplicates(texts), 'Python shingles': lambda: usual_near(texts)}, 3)
    a, b = near_duplicates(texts), usual_near(texts)
    return dict(docs_per_s={k: round(len(texts)/v) for k, v in s.items()}, ratio=round(s['Python shingles']/s['hala'], 2),
                duplicates=sum(x != i for i, x in enumerate(a)), duplicates_usual=sum(x != i for i, x in enumerate(b)))


def contamination(rows):
    texts, r = prose(rows, 130, seed=5), random.Random(6)
    items = [q['question'] for q in questions()] + [' '.join(r.choices([w for t in texts[:50] for w in t.split()], k=20)) for _ in range(10_000)]
    for n in range(100): texts[n] += ' ' + items[-1-n]
    words = sum(len(t.split()) for t in texts)/1e6
    s = fastest({'hala': lambda: contaminated(texts, items), 'set of n-grams': lambda: usual_contaminated(texts, items)}, 3)
    a, b = contaminated(texts, items), usual_contaminated(texts, items)
    return dict(mwords_per_s={k: round(words/v, 2) for k, v in s.items()}, ratio=round(s['set of n-grams']/s['hala'], 2), planted=100,
                found=sum(x is not None for x in a), found_usual=sum(b))


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--rows', type=int, default=10_000, help='texts in each measurement')
    p.add_argument('--out', type=Path, default=Path(__file__).parents[1]/'docs'/'results'/'bench-text.json')
    a = p.parse_args()
    found = dict(python=platform.python_version(), numpy=np.__version__, rows=a.rows)
    for name, part in (('spans', spans), ('checks', checks), ('near duplicates', duplicates), ('contamination', contamination)):
        found[name] = part(a.rows); print(name, json.dumps(found[name], indent=1, ensure_ascii=False), flush=True)
    a.out.write_text(json.dumps(found | dict(machine=machine()), indent=1, ensure_ascii=False)+'\n')
