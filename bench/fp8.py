"""Does FP8 lose nothing, whatever teacher the seed gives? Several teachers of size 1M that differ in the order of their lessons alone, each
compressed and tested by stage 01 as its recipe says (a thousand held-out sentences, margin 1 chrF++). Writes docs/results/fp8.json.

    python bench/fp8.py --runs DIR --seeds 5        # about 7 minutes on two cores beyond the first teacher, which `hala run --size 1M` makes
"""
import argparse
import os
from pathlib import Path

from hala.core.arms import arm_plan, make_side_by_side
from hala.core.store import manifest, write_json

SHOWN = ('n', 'a', 'b', 'delta', 'low', 'margin', 'power', 'met')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--runs', default='', help='where runs live, as for hala run')
    parser.add_argument('--seeds', type=int, default=5)
    a = parser.parse_args()
    changes = {'main' if n == 1 else f'teacher-{n}': '' if n == 1 else f'sources.teacher.training.seed={n}' for n in range(1, a.seeds+1)}
    plans = {name: arm_plan('1M', a.runs, name, o) for name, o in changes.items()}
    make_side_by_side(plans, changes, os.cpu_count() or 1, '01_compress')
    rows = []
    for n, p in enumerate(plans.values(), 1):
        said = manifest(p.folder('01_compress'))
        rows.append(dict(seed=n, **{k: said['non_inferiority'][k] for k in SHOWN}))
    for row in rows: print('  '.join(f'{k} {v:.3f}' if isinstance(v, float) else f'{k} {v}' for k, v in row.items()))
    write_json(Path(__file__).parents[1]/'docs'/'results'/'fp8.json', dict(
        what='tiny 1M: FP8 teacher against float, chrF++, low: one-sided 95 %', seeds=rows, passed=sum(r['met'] for r in rows), machine=said['machine']))


if __name__ == '__main__': main()
