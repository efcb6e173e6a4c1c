"""How well do three judges tell wrong pairs from right ones? `python bench/judge.py [SIZE]` after `hala run`.

The pairs are the embedded world's human pairs with other planted errors than the recipe's (seed 2), the judge is the run's FP8 teacher.
Writes docs/results/judge.json: the area under the ROC curve of each score, 0.5 is chance."""
import json
import sys
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from hala.core.engine import engine
from hala.core.pipeline import plan
from hala.core.store import machine
from hala.core.text import ask, content
from hala.core.world import human

p = plan(sys.argv[1] if sys.argv[1:] else '1M')
prompt, reverse, rows = p.recipe.bilingual.prompt, p.recipe.bilingual.reverse, human(2)
english, arabic = ([content(r[column]) for r in rows] for column in ('messages_source', 'messages'))
nothing = ['']*len(rows)
with engine('hf', p.folder('01_compress')/'model') as e:
    costs = [[-np.array(logp) for logp in e.score([ask(task, g) for g in given], texts)]
             for task, given, texts in ((prompt, english, arabic), (reverse, arabic, english), (prompt, nothing, arabic), (reverse, nothing, english))]
mean, dearest = (np.array([[f(c) for c in some] for some in costs]) for f in (np.mean, np.max))
scores = {'mean cost, both directions': mean[0] + mean[1], 'mean cost less that of the text alone': mean[0] - mean[2] + mean[1] - mean[3],
          'dearest token, geometric mean': np.sqrt(dearest[0]*dearest[1])}
wrong = np.array([r['source_id'].endswith('!noise') for r in rows])


def area(score, wrong):
    "Mann and Whitney's count: how often a wrong pair scores above a right one."
    n = wrong.sum()
    return (rankdata(score)[wrong].sum() - n*(n+1)/2) / (n*(~wrong).sum())


kinds = np.array([r['source_id'].split('/')[1] for r in rows])
found = {name: {'all': area(s, wrong), **{k: area(s[kinds == k], wrong[kinds == k]) for k in sorted(set(kinds))}} for name, s in scores.items()}
found = {name: {k: round(float(a), 4) for k, a in areas.items()} for name, areas in found.items()}
out = Path(__file__).parents[1]/'docs'/'results'/'judge.json'
out.write_text(json.dumps(dict(pairs=len(rows), wrong=int(wrong.sum()), area_under_curve=found, machine=machine()), indent=1)+'\n')
for name, areas in found.items(): print(f'{name:<40}', '  '.join(f'{k} {a:.3f}' for k, a in areas.items()))
