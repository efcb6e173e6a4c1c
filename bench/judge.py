"""How well do judges and checks tell wrong pairs from right ones? `python bench/judge.py [SIZE]` after `hala run`.

The pairs are the embedded world's sentences, alone and together, with one kind of error planted at a time: easy kinds, which make another text of
it, and hard ones, which change one thing. The judges are those of hala.core.quality: `xent` asks the run's FP8 teacher, `embed` the sentence
embeddings, `llm` a Qwen2 of the true architecture that has learned nothing: its figures are chance and show only that it runs; `language` tells how
far a text is from Arabic, whatever it says, and `proportion` how far the two lengths are from those of a translation.
The named checks are those of 02 and 04 and the two of meaning that `hala check` adds; `any check` is their verdict, rejected or not, and pairs of
the same verdict are put in order by `language`.
All of it five times, each time with other pairs and other errors. Writes docs/results/judge.json: the area under the ROC curve of each judge and of
the best check for each kind, the mean of the five draws, and the lowest of the judge and the check that do best in the mean; 0.5 is chance."""
import gettext
import json
import random
import re
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from defects import clean, measured, words_at
from scipy.stats import rankdata

from hala.core.engine import engine
from hala.core.pipeline import plan
from hala.core.quality import CHECKS, JUDGES, doubt, failed, measure
from hala.core.recipe import recipe
from hala.core.store import machine
from hala.core.world import CATALOG, LICENCES, catalogs, human, names, package, tokenizer

EACH, DRAWS = 100, 5 # planted pairs of each kind, times that pairs and errors are drawn
NOT_EN, NOT_AR = re.compile(r"\b(?:not|cannot|no|never)\b|n't\b", re.I), re.compile(r'(?<!\w)[وف]?(?:لا|لم|لن|ليس|ليست|غير|بدون|دون|عدم)(?!\w) ?')


def bare(t): return ' '.join(re.findall(r'\w+', t))


@cache
def arabic():
    "Strings that are Arabic, whatever else they are too (حذف is Persian as well): those of the packages' Arabic catalogs, punctuation apart."
    files = [package(name).locate_file(p) for name in LICENCES for p in package(name).files or () if CATALOG.search(str(p))]
    found = set()
    for p in files:
        with open(p, 'rb') as f: found |= {bare(t) for t in gettext.GNUTranslations(f)._catalog.values()}
    return found


@cache
def foreign():
    "Django's strings in languages that are not Arabic, those that are Arabic too left out: English -> texts."
    found, files = {}, [p for p in package('Django').files if re.search(r'locale/(fr|fa|de|ru|ur)/LC_MESSAGES/\w+\.mo$', str(p))]
    for p in files:
        with open(package('Django').locate_file(p), 'rb') as f: entries = gettext.GNUTranslations(f)._catalog
        for english, other in entries.items():
            if not isinstance(english, str) or not other or other == english or bare(other) in arabic(): continue
            found.setdefault(english.split('\x04')[-1], []).append(other)
    return found


def swapped(s, t, r):
    "Another name of the same kind in the translation."
    known = [n for n in names() if n.kind == 'territory' and n.english in s and re.search(rf'(?<!\w){n.arabic}(?!\w)', t)]
    if not known: return None
    other = r.choice([n for n in names() if n.kind == 'territory' and n.arabic not in t])
    return t.replace(known[0].arabic, other.arabic, 1)


def sentences(t): return re.findall(r'.+?[.!?؟](?:\s+|$)', t)


def without_one(s, t, r):
    some = sentences(t)
    return t.replace(r.choice(some), '', 1).strip() if len(some) > 1 else None


EASY = {'shuffled': lambda s, t, r: r.choice(POOL)[1], 'copied': lambda s, t, r: s,
        'wrong language': lambda s, t, r: r.choice(foreign()[s]) if s in foreign() else None,
        'half translated': lambda s, t, r: s[:len(s)//2] + t[len(t)//2:] if len(s.split()) >= 6 else None,
        'truncated': lambda s, t, r: ' '.join(t.split()[:len(t.split())//2]) if len(t.split()) > 5 and s[-1] in '.?!' else None,
        'looping': lambda s, t, r: t + (' ' + ' '.join(t.split()[-r.randint(1, 3):]))*r.randint(4, 20)}
HARD = {'one number changed': lambda s, t, r: (u := re.sub(r'\d+', lambda m: str(int(m[0])+r.randint(1, 9)), t, count=1)) != t and u or None,
        'negation dropped': lambda s, t, r: NOT_AR.sub('', t, count=1).strip() if NOT_EN.search(s) and len(NOT_AR.findall(t)) == 1 else None,
        'clause missing': without_one,
        'clause added': lambda s, t, r: t[:(i := words_at(t, r) if r.random() < .5 else len(t))] + ' ' + r.choice(POOL)[1] + ' ' + t[i:],
        'entity swapped': swapped}


def pairs(seed):
    "Sentences alone and together, strings of programs, and those of them that deny something."
    r = random.Random(seed)
    denied = [(e.english, e.arabic) for e in catalogs() if NOT_EN.search(e.english) and len(NOT_AR.findall(e.arabic)) == 1]
    return clean(3_000, seed) + [measured(r) for _ in range(EACH)] + denied + [(e.english, e.arabic) for e in catalogs() if e.english in foreign()][:EACH]


def planted(seed):
    "Right pairs, and wrong ones by kind."
    r, found = random.Random(seed), {}
    for kind, plant in (EASY | HARD).items():
        some = r.sample(POOL, len(POOL))
        made = ((s, plant(s, t, r), t) for s, t in some)
        found[kind] = [(s, t) for s, t, was in made if t and t != was][:EACH]
    return r.sample(POOL, 5*EACH), found


def area(wrong, right):
    "Mann and Whitney's count: how often a wrong pair scores above a right one."
    n, m = len(wrong), len(right)
    return float((rankdata(np.concatenate([wrong, right]))[:n].sum() - n*(n+1)/2) / (n*m))


def untaught(folder):
    "A Qwen2 of two layers with weights as drawn."
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM
    torch.manual_seed(1)
    tok = tokenizer([s for n in names() for s in (n.english, n.arabic)], 2048)
    config = Qwen2Config(vocab_size=len(tok), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
                         pad_token_id=tok.pad_token_id, bos_token_id=tok.bos_token_id, eos_token_id=tok.eos_token_id)
    Qwen2ForCausalLM(config).save_pretrained(folder); tok.save_pretrained(folder)
    return folder


def scored(judge, e, b, some): return np.array(doubt(judge, e, [s for s, _ in some], [t for _, t in some], b))


def drawn(seed, teacher, model, b):
    "The area of each judge and check for each kind, and how many pairs were right and wrong."
    global POOL
    POOL = pairs(seed)
    right, wrong = planted(seed+1)
    every = [*right, *(x for some in wrong.values() for x in some)]
    edges = np.cumsum([len(right), *map(len, wrong.values())])
    with engine('hf', teacher) as e: scores = dict(xent=scored('xent', e, b, every))
    scores |= {judge: scored(judge, None, b, every) for judge in ('embed', 'language', 'proportion')}
    with engine('hf', model) as e: scores['llm'] = scored('llm', e, recipe('1.2B').bilingual, every)
    checks = [measure(s, t) for s, t in every]
    for name in CHECKS: scores[name] = np.array([c[name] for c in checks])
    rejected = np.array([failed(c) is not None for c in checks])
    scores['any check'] = 2*rejected + scores['language']
    areas = {kind: {name: area(x[a:z], x[:edges[0]]) for name, x in scores.items()} for kind, a, z in zip(wrong, edges, edges[1:])}
    return areas, len(right), {kind: len(some) for kind, some in wrong.items()}


def summed(kind, draws):
    "What is recorded of a kind: the mean over the draws, and the lowest of the check and of the judge that do best in the mean."
    each = {name: [d[0][kind][name] for d in draws] for name in draws[0][0][kind]}
    mean = {name: round(float(np.mean(x)), 4) for name, x in each.items()}
    judge, check = (max((n for n in mean if (n in JUDGES) == of), key=mean.get) for of in (True, False))
    return dict(hard=kind in HARD, pairs=sum(d[2][kind] for d in draws), **{j: mean[j] for j in JUDGES}, judge_lowest=round(min(each[judge]), 4),
                check=check, check_area=mean[check], check_lowest=round(min(each[check]), 4))


if __name__ == '__main__':
    p = plan(sys.argv[1] if sys.argv[1:] else '1M')
    b, teacher = p.recipe.bilingual, p.folder('01_compress')/'model'
    with tempfile.TemporaryDirectory() as d:
        model = untaught(d)
        draws = [drawn(2+100*n, teacher, model, b) for n in range(DRAWS)]
    found = {kind: summed(kind, draws) for kind in EASY | HARD}
    # the recipe's own human pairs, other errors than it was settled on
    people = human(2)
    noise = np.array([r['source_id'].endswith('!noise') for r in people])
    said = [(r['messages_source'][0]['content'], r['messages'][0]['content']) for r in people]
    with engine('hf', teacher) as e: on = dict(xent=scored('xent', e, b, said))
    on['embed'] = scored('embed', None, b, said)
    out = Path(__file__).parents[1]/'docs'/'results'/'judge.json'
    out.write_text(json.dumps(dict(right=sum(d[1] for d in draws), draws=DRAWS, kinds=found, human=dict(pairs=len(people), wrong=int(noise.sum()),
                   **{j: round(area(x[noise], x[~noise]), 4) for j, x in on.items()}), machine=machine()), indent=1)+'\n')
    for kind, f in found.items(): print(f'{kind:<20}', f)
