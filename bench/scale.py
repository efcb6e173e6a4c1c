"""A million generated chats through stage 04 with an instant engine and every check of the recipe: rows/s, peak memory, `hala status`, resume after kills.
Beside it, on the same rows and the same instant answers: a plain `datasets` pass, and datatrove's checkpointed writer where datatrove is installed.
Use: python bench/scale.py [ROWS]; writes docs/results/scale.json, of another number scale-ROWS.json. All else is in a folder that is deleted."""
import asyncio
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
from importlib.util import find_spec
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
    with making(p.home('benchmarks'), p.keys['benchmarks'], dict(stage='00')): pass # no questions
    with making(p.home('03_translator'), p.keys['03_translator'], dict(stage='03')) as (out, report):
        model, tokenizer = toy()
        model.save_pretrained(out/'model'); tokenizer.save_pretrained(out/'model')


def stage(runs, said):
    "Stage 04 in this process; what it cost goes to `said`."
    from hala import corpus
    from hala.core import engine, pipeline
    engine.ENGINES['hf'], Instant.diary = Instant, Path(f'{said}.diary')
    start = time.perf_counter()
    override = 'corpus.max_tokens=64; corpus.most.empty=0; corpus.most.truncated=0; corpus.most.not_arabic=0.5'
    pipeline.run_stage('04', corpus.MAKERS, 'probe', runs, override=override)
    tell(said, start)


def tell(said, start):
    "Seconds by the clock and of this process's own computing, and the most memory it had."
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20
    Path(said).write_text(json.dumps(dict(seconds=time.perf_counter()-start, cpu_seconds=time.process_time(), peak_gib=peak)))


def begin(*arguments):
    "A part of this benchmark in a process of its own."
    return subprocess.Popen([sys.executable, __file__, *map(str, arguments)], env={**os.environ, 'HALA_RECIPES': str(ROOT/'tests/probe.py')})


def run(*arguments):
    code = begin(*arguments).wait()
    assert code == 0, code


def wait_until(child, reached):
    "Look twenty times a second; what is waited for must come before the process ends."
    while not reached():
        assert child.poll() is None, child.returncode
        time.sleep(.05)


def share_done(runs):
    "How far stage 04 is, as its bar shows it: the first half is translating, the second deciding."
    try: said = json.loads(next(runs.glob('probe/04_corpus/*.part/progress.json')).read_text())
    except (StopIteration, ValueError): return 0.
    return said['done']/said['total']


def resumed(runs, said, kill=None):
    """Start stage 04 again, and kill it at a share of the work if asked. Returns seconds until it goes on, that is until it asks the engine or ends
    a part that was not there: by the clock, and of its own computing."""
    import psutil
    there, begun = set(decided(runs)), time.time()
    child = begin('stage', runs, said)
    wait_until(child, lambda: asked(said)[0] > begun or set(decided(runs))-there)
    clock, own = time.time()-begun, psutil.Process(child.pid).cpu_times()
    if kill is None: assert child.wait() == 0
    else: killed(child, runs, kill)
    return clock, own.user+own.system


def killed(child, runs, share):
    wait_until(child, lambda: share_done(runs) >= share)
    child.send_signal(signal.SIGKILL)
    child.wait()


def hala_status(runs):
    start = time.perf_counter()
    subprocess.run([sys.executable, '-m', 'hala.cli', 'status', '--size', 'probe', '--runs', runs], check=True, capture_output=True,
                   env={**os.environ, 'HALA_RECIPES': str(ROOT/'tests/probe.py')})
    return time.perf_counter()-start


def translated(r):
    "A row with its answers and verdict, as the two peers make it."
    from hala.core.quality import check_row
    r = check_row(dict(r, messages=[dict(role=m['role'], content=arabic(m['content'])) for m in r['messages_source']], finish='stop'))
    return {k: r[k] for k in ('messages', 'finish', 'verdict')}


def mapped(source, out, said):
    "The plain way: one `datasets` map over the same file, then to_parquet; nothing is kept before the end."
    import datasets
    datasets.disable_progress_bars()
    start = time.perf_counter()
    rows = datasets.Dataset.from_parquet(source, cache_dir=f'{out}/cache')
    rows.map(translated, cache_file_name=f'{out}/mapped.arrow').to_parquet(f'{out}/mapped.parquet')
    tell(said, start)


def checkpointed(source, out, said):
    "datatrove's way to survive a kill: each finished document is appended to the checkpoint of its chunk, and goes into Parquet. No fsync."
    from datatrove.data import Document
    from datatrove.pipeline.inference.checkpointing import CheckpointManager
    from datatrove.pipeline.writers.parquet import ParquetWriter
    from loguru import logger
    from hala.core.store import SLICE, Table
    logger.remove()
    start, table = time.perf_counter(), Table(source)

    async def write():
        manager = CheckpointManager(f'{out}/checkpoints', SLICE)
        with ParquetWriter(f'{out}/datatrove', '${rank}_${chunk_index}.parquet') as writer:
            for k in range(0, table.rows, SLICE):
                for r in table.read(k, min(k+SLICE, table.rows)).to_pylist():
                    document = Document(r['messages_source'][0]['content'], r['id'], metadata=r | translated(r))
                    await manager.write_document(document, 0, k//SLICE, writer)
            await manager.cleanup_last_chunk(0, (table.rows-1)//SLICE)
    asyncio.run(write())
    tell(said, start)


def main(rows):
    from hala.core.store import machine, write_json
    figures = dict(rows=rows, machine=machine(), load={})

    def note(step, **more): # after each step: a broken benchmark leaves what it has measured
        figures['load'][step] = os.getloadavg()[1]
        figures.update(more)
        write_json(ROOT/f'docs/results/scale{"" if rows == 1_000_000 else f"-{rows}"}.json', figures)
        print(step, more, flush=True)
    with tempfile.TemporaryDirectory(prefix='hala-scale-') as d:
        d = Path(d)
        runs, said = d/'runs', d/'said'
        run('inputs', runs, rows)
        source, = runs.glob('probe/text/*/instructions.parquet')
        run('stage', runs, said)
        hala = json.loads(said.read_text())
        first, once = digest(runs), asked(said)[1]
        hala.update(rows_per_second=rows/hala['seconds'], status_seconds=hala_status(runs))
        note('unbroken', hala=hala)
        for name in ('04_corpus', 'rows', 'probe'): shutil.rmtree(runs/'probe'/name)
        killed(begin('stage', runs, said), runs, .3)
        in_all, kills = asked(said)[1], []
        for share, then in ((.3, .9), (.9, None)):
            status, before = hala_status(runs), asked(said)
            clock, own = resumed(runs, said, then)
            in_all += asked(said)[1] if asked(said) != before else 0
            kills.append(dict(killed_at=share, status_seconds=status, seconds_until_it_goes_on=clock, cpu_seconds_until_it_goes_on=own))
            note(f'killed at {share}', hala=dict(hala, kills=kills))
        assert digest(runs) == first, 'other bytes after two kills'
        note('resumed', hala=dict(hala, kills=kills, asked_twice=in_all-once))
        for peer, part in (('datasets', 'mapped'), ('datatrove', 'checkpointed')):
            if not find_spec(peer): print(f'{peer} is not installed: not measured'); continue
            run(part, source, d, said)
            plain = json.loads(said.read_text())
            note(peer, **{peer: dict(plain, rows_per_second=rows/plain['seconds'])})


def asked(said):
    "When the engine was first asked by the last process that asked it, and how much by it in all."
    try: found = json.loads(Path(f'{said}.diary').read_text())
    except FileNotFoundError: return 0., 0
    return found['first'], found['asked']


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
        case ['checkpointed', source, out, said]: checkpointed(source, out, said)
        case [rows]: os.environ['HALA_RECIPES'] = str(ROOT/'tests/probe.py'); main(int(rows))
        case []: main(1_000_000)
