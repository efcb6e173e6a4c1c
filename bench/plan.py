"""Was the plan right? A finished run beside what `hala plan` says of it where nothing was made yet: by the reference alone, and with a calibration of
the machine. Seconds of every artifact's making, which are added up; a calibration reads no run, so it may come after it.

    python bench/plan.py [SIZE]              # two minutes, after `make run`, as idle as it was then; writes docs/results/plan.json
    python bench/plan.py --reference [SIZE]  # the run as what later plans start from, measured in the same way; writes docs/results/plan-reference.json
"""
import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from hala.core.pipeline import plan
from hala.core.plan import SPAN, calibrate, planned, record, weights_in
from hala.core.store import manifest, write_json

RESULTS = Path(__file__).resolve().parents[1]/'docs'/'results'
RATES = 'parameters', 'train', 'generate', 'seconds'


def made(size, runs=''):
    "What each artifact of a finished run took and holds."
    p = plan(size, runs)
    if missing := [a for a in p.graph if not p.made(a)]: sys.exit(f'{size} is not finished, {missing[0]} is missing: hala run --size {size}')
    found = {a: (manifest(p.folder(a)), weights_in(p.folder(a))) for a in p.graph}
    return {a: dict(record(said), parameters=n) for a, (said, n) in found.items()}, found['08_release'][0]['machine']


def rates(p, span):
    "How fast this machine learns and writes, noted in the plan's folder of runs."
    said = calibrate(p, span)[p.recipe.family]
    return {k: said[k] for k in RATES}


def compared(size, runs='', span=SPAN):
    "docs/results/plan.json."
    actual, where = made(size, runs)
    with TemporaryDirectory() as d: # where nothing was made yet
        def estimated(): return {r['artifact']: r['seconds'] for r in planned(plan(size, d))}
        by_reference, measured, calibrated = estimated(), rates(plan(size, d), span), estimated()
    rows = {a: dict(tokens=r['tokens'], by_reference=round(by_reference[a], 1), calibrated=round(calibrated[a], 1), actual=r['seconds'])
            for a, r in actual.items()}
    total = {k: round(sum(r[k] for r in rows.values()), 1) for k in ('by_reference', 'calibrated', 'actual')}
    off = {f'{k}_off_percent': round(100*(total[k]/total['actual']-1), 1) for k in ('by_reference', 'calibrated')}
    return dict(what=f'{size}: seconds, estimated and taken', total=total | off, artifacts=rows, calibration=measured, machine=where)


def as_reference(size, runs='', span=SPAN):
    "docs/results/plan-reference.json."
    actual, where = made(size, runs)
    with TemporaryDirectory() as d: measured = rates(plan(size, d), span)
    keys = 'seconds', 'rows', 'tokens', 'bytes', 'parameters', 'epochs'
    return dict(what=f'{size}: a finished run, which plans start from where nothing was made yet',
                artifacts={a: {k: r[k] for k in keys} for a, r in actual.items()}, calibration=measured, machine=where)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('size', nargs='?', default='1M')
    p.add_argument('--reference', action='store_true')
    p.add_argument('--runs', default='')
    a = p.parse_args()
    if a.reference: return write_json(RESULTS/'plan-reference.json', as_reference(a.size, a.runs))
    found = compared(a.size, a.runs)
    for a, r in found['artifacts'].items(): print(f"{a:<14} {r['by_reference']:8.1f} {r['calibrated']:8.1f} {r['actual']:8.1f}")
    print(found['total'])
    write_json(RESULTS/'plan.json', found)


if __name__ == '__main__': main()
