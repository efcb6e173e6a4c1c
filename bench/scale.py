"""A million generated chats through stage 04 with an instant engine and every check of the recipe: rows/s, peak memory, `hala status`, resume after a kill.
Beside it, on the same rows and the same instant answers: a `datasets` map.
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
    "Answers at once: word by word from a list. Writes down when it was first asked, and how much in all."
    rows, diary, asked = 2048, None, 0

    def __init__(self, model): pass

    def close(self): pass

    def generate(self, prompts, sampling, seeds=None):
        from hala.core.engine import Output
        self.asked += len(prompts)
        first = json.loads(self.diary.read_text())['first'] if self.asked > len(prompts) else time.time()
        aside = Path(f'{self.diary}.tmp')
        aside.write_text(json.dumps(dict(first=first, asked=self.asked)))
        os.replace(aside, self.diary)
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
    engine.ENGINES['hf'], Instant.diary = Instant, Path(f'{said}.diary')
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
    figures = dict(rows=rows, machine=machine())

    def note(**more): # after each step: a broken benchmark leaves what it has measured
        figures.update(more)
        write_json(ROOT/'docs/results/scale.json', figures)
        print(more, flush=True)
    with tempfile.TemporaryDirectory(prefix='hala-scale-') as d:
        d = Path(d)
        runs, said = d/'runs', d/'said'
        run('inputs', runs, rows)
        source, = runs.glob('probe/text/*/instructions.parquet')
        whole = run('stage', runs, said)
        hala = json.loads(said.read_text())
        first, asked = digest(runs), diary(said)['asked']
        status = hala_status(runs)
        note(rows_per_second=rows/hala['seconds'], status_seconds=status, hala=hala)
        for part in (.3, .9): # killed while translating, and near the end
            for name in ('04_corpus', 'rows', 'probe'): shutil.rmtree(runs/'probe'/name, ignore_errors=True)
            run('stage', runs, said, kill=whole*part)
            before, begun, there = diary(said)['asked'], time.time(), decided(runs)
            hala.setdefault('status_after_kill', []).append(hala_status(runs))
            run('stage', runs, said)
            new = [f.stat().st_mtime for n, f in decided(runs).items() if n not in there]
            moments = [diary(said)['first'], *new] if diary(said)['first'] > begun else [*new, time.time()]
            hala.setdefault('seconds_until_it_goes_on', []).append(min(moments)-begun-hala['status_after_kill'][-1])
            hala.setdefault('asked_twice', []).append(before+(diary(said)['asked'] if diary(said)['first'] > begun else 0)-asked)
            assert digest(runs) == first
            note(hala=hala)
        run('mapped', source, d, said)
        plain = json.loads(said.read_text())
        note(datasets=dict(plain, rows_per_second=rows/plain['seconds']))


def diary(said): return json.loads(Path(f'{said}.diary').read_text())


def decided(runs):
    "The parts of the corpus so far: name -> file."
    return {p.name: p for p in runs.glob('probe/04_corpus/*/corpus-*.parquet')}


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
