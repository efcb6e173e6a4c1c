"""A million generated chats through stage 04 with an instant engine and every check of the recipe: rows/s, peak memory, `hala status`, resume after a kill.
Beside it, on the same rows and the same instant answers: a `datasets` map and, where it is installed, datatrove's checkpointed writer.
Use: python bench/scale.py [ROWS]; writes docs/results/scale.json. Everything happens in a folder that is deleted at the end."""
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT/'tests'))
WORDS = 'river stone market teacher harbour letter garden winter engine bridge lesson captain island kitchen morning paper signal window'.split()
ARABIC = 'نهر حجر سوق معلم ميناء رسالة حديقة شتاء محرك جسر درس قائد جزيرة مطبخ صباح ورق إشارة نافذة'.split()


def english(n, turn):
    "A message; one in ten questions was asked before."
    k = n % (n//10+1) if turn == 0 and n % 10 == 0 else n
    picked = [WORDS[int(c, 16)] for c in hashlib.sha256(f'{k}/{turn}'.encode()).hexdigest()[:18 if turn else 10]]
    return f'{"Answer" if turn else "Question"} {k}: ' + ' '.join(picked)


def arabic(text): return ' '.join(ARABIC[WORDS.index(w)] if w in WORDS else w for w in text.split())


class Instant:
    "Answers at once: word by word from a list."
    rows = 2048

    def __init__(self, model): pass

    def close(self): pass

    def generate(self, prompts, sampling, seeds=None):
        from hala.core.engine import Output
        return [Output(arabic(p[-1]['content'].rsplit('\n', 1)[-1]), 20, 20, 'stop') for p in prompts]


def chats(rows):
    from hala.core.text import row
    for n in range(rows):
        talk = [dict(role='user', content=english(n, 0)), dict(role='assistant', content=english(n, 1))]
        yield row('bench/chats', str(n), 'train', english=talk, licence='cc0-1.0')


def inputs(runs, rows):
    "The artifacts that 04 reads: a text with that many instructions, and a translator that nobody will open."
    import pyarrow as pa
    import pyarrow.parquet as pq
    from hala.core.pipeline import plan
    from hala.core.store import GROUP, making, schema
    from hala.core.world import toy
    p = plan('probe', str(runs))
    with making(p.home('text'), p.keys['text'], dict(stage='00')) as (out, report):
        with pq.ParquetWriter(out/'instructions.parquet', schema(), compression='zstd') as w:
            some = []
            for n, r in enumerate(chats(rows), 1):
                some.append(r)
                if len(some) == GROUP or n == rows: w.write_table(pa.Table.from_pylist(some, schema=schema())); some = []
        report['licences'] = ['cc0-1.0']
    with making(p.home('03_translator'), p.keys['03_translator'], dict(stage='03')) as (out, report):
        model, tokenizer = toy()
        model.save_pretrained(out/'model'); tokenizer.save_pretrained(out/'model')


def stage(runs, said):
    "Stage 04 in this process; seconds and peak memory go to `said`."
    from hala import corpus
    from hala.core import engine, pipeline
    engine.ENGINES['hf'] = Instant
    start = time.perf_counter()
    pipeline.run_stage('04', corpus.MAKERS, 'probe', runs, override="corpus.reject=('empty','truncated','not Arabic')")
    Path(said).write_text(json.dumps(dict(seconds=time.perf_counter()-start, peak_gib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20)))


def run(*arguments, kill=0.):
    "A part of this benchmark in a process of its own; killed after some seconds if asked. Returns its seconds, start included."
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, __file__, *map(str, arguments)], env={**os.environ, 'HALA_RECIPES': str(ROOT/'tests/probe.py')})
    if kill:
        time.sleep(kill)
        child.send_signal(signal.SIGKILL)
    code = child.wait()
    assert code == (-signal.SIGKILL if kill else 0), code
    return time.perf_counter()-start


def hala_status(runs):
    start = time.perf_counter()
    subprocess.run([sys.executable, '-m', 'hala.cli', 'status', '--size', 'probe', '--runs', runs], check=True, capture_output=True,
                   env={**os.environ, 'HALA_RECIPES': str(ROOT/'tests/probe.py')})
    return time.perf_counter()-start


def mapped(source, out, said):
    "The plain way: one `datasets` map over the same file, answers and check; nothing is kept before the end."
    import datasets
    datasets.disable_progress_bars()
    from hala.core.quality import decide
    start = time.perf_counter()

    def translate(r):
        r = decide(dict(r, messages=[dict(role=m['role'], content=arabic(m['content'])) for m in r['messages_source']], finish='stop'),
                   ('empty', 'truncated', 'not Arabic'))
        return {k: r[k] for k in ('messages', 'finish', 'verdict')}
    rows = datasets.Dataset.from_parquet(source, cache_dir=f'{out}/cache')
    rows.map(translate, cache_file_name=f'{out}/mapped.arrow').to_parquet(f'{out}/mapped.parquet')
    Path(said).write_text(json.dumps(dict(seconds=time.perf_counter()-start, peak_gib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20)))


def main(rows):
    from hala.core.store import machine, write_json
    with tempfile.TemporaryDirectory(prefix='hala-scale-') as d:
        d = Path(d)
        runs, said = d/'runs', d/'said'
        run('inputs', runs, rows)
        source, = runs.glob('probe/text/*/instructions.parquet')
        whole = run('stage', runs, said)
        hala = json.loads(said.read_text())
        first = digest(runs)
        status = hala_status(runs)
        print(f'04: {rows/hala["seconds"]:.0f} rows/s, {hala["peak_gib"]:.2f} GiB at most, status {status:.1f} s', flush=True)
        for k, part in enumerate((.3, .9)): # killed while translating, and while deciding
            for name in ('04_corpus', 'rows', 'probe'): shutil.rmtree(runs/'probe'/name, ignore_errors=True)
            run('stage', runs, said, kill=whole*part)
            hala[f'status_after_kill_{k}'] = hala_status(runs)
            hala[f'resumed_{k}'] = run('stage', runs, said)
            hala[f'lost_{k}'] = hala[f'resumed_{k}']-(1-part)*whole # what the kill cost: beyond the work that was left
            assert digest(runs) == first
        run('mapped', source, d, said)
        plain = json.loads(said.read_text())
    try: datatrove = version('datatrove')
    except PackageNotFoundError: datatrove = 'not installed, not measured'
    write_json(ROOT/'docs/results/scale.json', dict(rows=rows, machine=machine(), rows_per_second=rows/hala['seconds'], status_seconds=status, hala=hala,
               datasets=dict(plain, rows_per_second=rows/plain['seconds']), datatrove=datatrove))
    print((ROOT/'docs/results/scale.json').read_text())


def digest(runs):
    "The bytes of the corpus."
    found = hashlib.sha256()
    for p in sorted(runs.glob('probe/04_corpus/*/*.parquet')): found.update(p.name.encode()+hashlib.sha256(p.read_bytes()).digest())
    return found.hexdigest()


if __name__ == '__main__':
    match sys.argv[1:]:
        case ['inputs', runs, rows]: inputs(Path(runs), int(rows))
        case ['stage', runs, said]: stage(runs, said)
        case ['mapped', source, out, said]: mapped(source, out, said)
        case [rows]: os.environ['HALA_RECIPES'] = str(ROOT/'tests/probe.py'); main(int(rows))
        case []: main(1_000_000)
