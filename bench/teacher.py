"""Is the teacher better than its pupil? Stage 03 scores the translator on two hundred sentences, too few to tell two good models apart. Here it
translates what stage 01 had the FP8 teacher translate, a thousand held-out rows, and the paired bootstrap decides.

    python bench/teacher.py [SIZE]        # seconds, after `hala run`; writes docs/results/teacher.json
"""
import sys
from pathlib import Path

from hala.core.engine import engine, translate_rows
from hala.core.metrics import paired_bootstrap, references
from hala.core.pipeline import plan
from hala.core.store import machine, read_rows, write_json
from hala.core.text import content

KINDS = {'sentences on places that no lesson describes, test': [('world/unseen', 'test')],
         'the same, validation': [('world/unseen', 'validation'), ('world/more', 'validation')],
         'strings of real software, test': [('world/catalog', 'test')]}


def main(size):
    p = plan(size)
    t, right = p.recipe.translator, {r['id']: content(r['messages']) for r in references(p.folder('text'))}
    taught = [r for r in read_rows(p.folder('01_compress')/'translations.parquet') if r['model'] == 'teacher_fp8']
    with engine('hf', p.folder('03_translator')/'model') as e: learned = translate_rows(e, taught, t.prompt, t.max_tokens, 'translator')
    found = []
    for name, of in {**KINDS, 'all of them': sorted({(r['source'], r['split']) for r in taught})}.items():
        pairs = [(a, b) for a, b in zip(taught, learned) if (a['source'], a['split']) in of]
        teacher, pupil = ([content(r['messages']) for r in some] for some in zip(*pairs))
        refs = [right[a['id']] for a, _ in pairs]
        d = paired_bootstrap(teacher, pupil, refs)
        exact = {who: sum(x == y for x, y in zip(said, refs))/len(refs) for who, said in (('teacher', teacher), ('translator', pupil))}
        found.append(dict(rows=name, n=d.n, teacher=d.a, translator=d.b, delta=d.delta, low=d.low, high=d.high, p=d.p, exact=exact))
        print(f'{name}: n = {d.n}, teacher {d.a:.1f}, translator {d.b:.1f}, {d.delta:+.2f} ({d.low:.2f} to {d.high:.2f}), p = {d.p:.4f}; '
              f'exact {exact["teacher"]:.1%} and {exact["translator"]:.1%}')
    write_json(Path(__file__).parents[1]/'docs'/'results'/'teacher.json',
               dict(what=f'tiny {size}: FP8 teacher against translator, chrF++, 95 %', sets=found, machine=machine()))


if __name__ == '__main__': main(*sys.argv[1:2] or ['1M'])
