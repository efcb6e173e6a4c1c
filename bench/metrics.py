"""The paired bootstrap of chrF++ beside sacrebleu's, on the same sentences in the same process: `python bench/metrics.py`.

Both get the same two lists of translations and the same references and go from texts to a p. sacrebleu has its references counted
beforehand and once for both systems, as its command line does; the time of that is part of the measurement, since ours counts them too.
They take turns, so that whatever else the machine does falls on both; the figures are medians, of the wall clock and of the processor's."""
import os
import random
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import sacrebleu
from sacrebleu.metrics import CHRF
from sacrebleu.significance import PairedTest

from hala.core.metrics import bootstrap_deltas, chrf_counts, chrf_interval, paired_bootstrap, paired_counts, resampled
from hala.core.store import machine, write_json

ROWS, DRAWS, SEED, TURNS = 2000, 1000, 1, 9
LETTERS = 'ابتثجحخدذرزسشصضطظعغفقكلمنهويةىأإ'


def sentences(rows, words):
    "Arabic-looking sentences with a natural spread of word frequencies, and two translations with about a third of the words wrong."
    rng = random.Random(SEED)
    vocabulary = [''.join(rng.choices(LETTERS, k=rng.randint(2, 8))) for _ in range(4000)]
    weights = [1/(i+1) for i in range(4000)]
    def sentence(): return ' '.join(rng.choices(vocabulary, weights, k=rng.randint(words//2, words*3//2))) + rng.choice('.؟!')
    def noisy(text, share): return ' '.join(rng.choices(vocabulary, weights)[0] if rng.random() < share else w for w in text.split())
    refs = [sentence() for _ in range(rows)]
    return [noisy(r, .30) for r in refs], [noisy(r, .32) for r in refs], refs


def theirs(a, b, refs):
    "sacrebleu's paired bootstrap of chrF++; b is its baseline."
    metric = CHRF(word_order=2, references=[refs])
    _, found = PairedTest([('b', b), ('a', a)], {'chrf': metric}, None, test_type='bs', n_samples=DRAWS)()
    return found['chrF2++']


def timed(function, *arguments):
    "Seconds of the wall clock, and of the processor for this process alone."
    start = time.perf_counter(), time.process_time(); function(*arguments)
    return time.perf_counter()-start[0], time.process_time()-start[1]


def median(times): return [statistics.median(t) for t in zip(*times, strict=True)]


def measured(words):
    "Seconds of both for sentences of about `words` words, and how far apart their answers are."
    a, b, refs = sentences(ROWS, words)
    turns = [(timed(paired_bootstrap, a, b, refs), timed(theirs, a, b, refs)) for _ in range(TURNS+1)][1:]  # the first warms both up
    (ours, ours_cpu), (other, other_cpu) = (median(side) for side in zip(*turns, strict=True))
    found, (base, system) = paired_bootstrap(a, b, refs), theirs(a, b, refs)
    metric, counts = CHRF(word_order=2), paired_counts(a, b, refs, 'chrf')
    table = [np.array(metric._extract_corpus_statistics(s, [refs])) for s in (a, b)]
    drawn = np.random.default_rng(SEED).choice(ROWS, size=(DRAWS, ROWS), replace=True)
    deltas = [metric._compute_f_score(table[0][i].sum(0).tolist()) - metric._compute_f_score(table[1][i].sum(0).tolist()) for i in drawn]
    return dict(words=words, characters=sum(map(len, refs))/ROWS, hala_seconds=ours, sacrebleu_seconds=other, times_faster=other/ours,
                hala_cpu_seconds=ours_cpu, sacrebleu_cpu_seconds=other_cpu, times_faster_cpu=other_cpu/ours_cpu,
                counting_seconds=median(timed(chrf_counts, refs, a, b) for _ in range(TURNS))[0],
                resampling_seconds=median(timed(resampled, counts, DRAWS, SEED) for _ in range(TURNS))[0],
                same_counts=bool((counts == np.array(table)).all()), score_difference=max(abs(found.a-system.score), abs(found.b-base.score)),
                delta_difference=float(np.abs(bootstrap_deltas(counts, 'chrf', DRAWS, SEED)[1]-deltas).max()),
                p_sacrebleu=system.p_value, p_sacrebleu_here=found.p_sacrebleu, p=found.p)


def main(out):
    os.environ['SACREBLEU_SEED'] = str(SEED)
    rows = [measured(words) for words in (7, 20)]
    for r in rows:
        print(f'{r["words"]} words a sentence: {r["hala_seconds"]*1e3:.0f} ms against {r["sacrebleu_seconds"]*1e3:.0f} ms, '
              f'{r["times_faster"]:.1f} times faster ({r["times_faster_cpu"]:.1f} in processor time); deltas differ by {r["delta_difference"]:.1g} at most')
    a, _, refs = sentences(ROWS, 20)
    metric = CHRF(word_order=2)
    single = dict(hala_seconds=timed(chrf_interval, a, refs)[0], sacrebleu_seconds=timed(lambda: metric.corpus_score(a, [refs], n_bootstrap=DRAWS))[0])
    write_json(out, dict(rows=ROWS, resamples=DRAWS, metric='chrF++', turns=TURNS, sacrebleu=sacrebleu.__version__, numpy=np.__version__,
                         python=sys.version.split()[0], threads=os.environ.get('OMP_NUM_THREADS'), machine=machine(), paired_bootstrap=rows, interval=single))


if __name__ == '__main__':
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]/'docs'/'results'/'metrics.json')
