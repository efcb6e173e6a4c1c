"""One process that has imported everything and forks a child for each line it reads; the child runs a stage and is killed where the line says.
test_crash.py uses it, and run as `python tests/crash.py torture RUNS [KILLS ...]` it does the same many times over (`make torture`)."""
import gc
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

TESTS = Path(__file__).resolve().parent
MODULES = {'02': 'bilingual', '03': 'translator', '04': 'corpus', '05': 'sft', '07': 'evaluate'}
HOME = {'02': 'probe/02_bilingual', '03': 'probe/03_translator', '04': 'probe/04_corpus', '05': 'probe/probe/05_sft', '07': 'probe/probe/07_evaluate'}
INPUTS = {'02': ['text', '01_compress', 'benchmarks'], '03': ['text', 'base-probe', '02_bilingual'], '04': ['text', '03_translator', 'benchmarks'],
          '05': ['base-probe', '04_corpus'],
          '07': ['text', 'benchmarks', 'base-probe', 'probe/05_sft', 'probe/06_merge', '01_compress', '03_translator']}
# little work, but several parts and several checkpoints of it
SMALL = {'02': 'bilingual.pairs=6; bilingual.human=4', '03': 'translator.max_steps=4; translator.eval_steps=2; translator.sentences=2',
         '04': '', '05': 'sft.max_steps=4; sft.eval_steps=2', '07': 'evaluate.questions=2; evaluate.generate=2'}
ROWS = 12 # of the instructions that 04 reads
THIN = {'02_bilingual': 10, '04_corpus': 20} # of what 03 and 05 read, one row in so many
real_write, real_fsync = os.write, os.fsync


class Instant:
    "The one stand-in: an engine that answers at once, always the same, and writes down what it was asked."
    rows, asked, deadly = 4, '', ''

    def __init__(self, model): pass

    def close(self): pass

    def note(self, kind, prompts):
        texts = [p[-1]['content'] for p in prompts]
        fd = os.open(self.asked, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        real_write(fd, ''.join(json.dumps([kind, t])+'\n' for t in texts).encode())
        os.close(fd)
        if self.deadly and any(self.deadly in t for t in texts): os.kill(os.getpid(), signal.SIGKILL)

    def generate(self, prompts, sampling, seeds=None):
        from hala.core.engine import Output
        self.note('generate', prompts)
        numbers = [int(hashlib.sha256(p[-1]['content'].encode()).hexdigest()[:8], 16) for p in prompts]
        return [Output(f'ترجمة {n}' if n % 5 else 'not Arabic', 3, n % 9, 'stop' if n % 7 else 'length') for n in numbers]

    def score(self, prompts, continuations):
        self.note('score', prompts)
        return [[-b/64 for b in hashlib.sha256(f'{p[-1]["content"]}\0{c}'.encode()).digest()[:4]] for p, c in zip(prompts, continuations)]


def die_at(fatal, folder, copies=None, fine=False):
    """Everything that changes the disk below `folder` is a write point, but for the bar, which is drawn by the clock. At the one with the number
    `fatal` this process dies, a write half done.
    With `copies`, the folder as it stands at each of them is copied there, unless there is a copy like it: what a kill there would leave.
    Returns the list whose length is the number of points passed."""
    seen, states, folder, changes = [], set(), str(folder), {'os.rename', 'os.remove', 'os.mkdir', 'os.rmdir', 'os.truncate'}

    def point(torn=lambda: 0):
        seen.append(0)
        if len(seen) == fatal: torn(); os.kill(os.getpid(), signal.SIGKILL)
        if not copies: return 0
        done, top = torn(), Path(folder).parent
        if (there := state(top, fine)) not in states:
            states.add(there)
            shutil.copytree(top, f'{copies}/{len(seen):04d}', symlinks=True)
        return done

    def hook(event, args):
        if 'progress.json' in str(args[:1]): return # the bar, drawn by the clock
        if event == 'open' and isinstance(args[0], str) and args[0].startswith(folder):
            if set('wax+') & set(args[1] or '') or not args[1] and args[2] & (os.O_WRONLY | os.O_RDWR): point()
        elif event in changes and str(args[0]).startswith(folder): point()

    def write(fd, data):
        done = point(lambda: real_write(fd, data[:len(data)//2]))
        return done+real_write(fd, data[done:])

    def fsync(fd):
        point()
        real_fsync(fd)
    os.write, os.fsync = write, fsync
    sys.addaudithook(hook)
    return seen


def note_steps(module, path):
    "Write down which step of 07 is about to be made, as the instant engine writes down what it is asked."
    once = module.once

    def noted(file, make):
        def made():
            with open(path, 'a') as f: f.write(file.name+'\n')
            return make()
        return once(file, made)
    module.once = noted


def child(job):
    "Run a stage as the job says, in this process."
    from hala.core import engine, pipeline, store
    from hala.core.recipe import HalaError
    if job.get('instant', job['stage'] in ('02', '04')):
        engine.ENGINES['hf'] = Instant
        Instant.asked, Instant.deadly = job['asked'], job.get('deadly', '')
    store.SLICE = job.get('slice', store.SLICE)
    if limit := job.get('largest'): resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if job.get('nobody'): os.setuid(65534)
    p = pipeline.plan('probe', job['runs'], override=job['override'])
    for a in (i.split('/')[-1] for i in INPUTS[job['stage']]): # a changed prompt changes the keys of what learned it; only this stage shall see it
        if not p.folder(a).exists(): p.folder(a).symlink_to(next(d for d in p.home(a).iterdir() if d.is_dir()))
    seen = die_at(job.get('point'), job['runs'], job.get('copies'), job.get('fine'))
    module = import_module(f'hala.{MODULES[job["stage"]]}')
    if job['stage'] == '07': note_steps(module, job['asked'])
    try: pipeline.run_stage(job['stage'], module.MAKERS, 'probe', job['runs'], override=job['override'])
    except HalaError as e: Path(job['said']).write_text(str(e)); return 1
    Path(job['said']).write_text(str(len(seen)))
    return 0


def serve():
    "The process that forks."
    import torch
    torch.set_num_threads(1)
    for stage in ('02', '03', '04', '05'): import_module(f'hala.{MODULES[stage]}')
    from hala.core import pipeline, store
    pipeline.plan('probe'); store.machine() # what else is slow, once
    gc.collect(); gc.freeze()
    print('ready', flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        import_module(f'hala.{MODULES[job["stage"]]}') # 07 stands on much that the others do not need
        start = time.perf_counter()
        pids = [fork(job | {name: f'{job[name]}{k or ""}' for name in ('said', 'asked')}) for k in range(job.get('workers', 1))]
        if 'after' in job: time.sleep(job['after']); os.kill(pids[0], signal.SIGKILL)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        print(json.dumps([codes[0] if len(codes) == 1 else codes, time.perf_counter()-start]), flush=True)


def fork(job):
    "The child's process id."
    if pid := os.fork(): return pid
    os.dup2(2, 1) # what a stage prints is no answer to who asked for it
    code = 70 # an exception, whose story is on stderr
    try: code = child(job)
    except BaseException: sys.excepthook(*sys.exc_info())
    finally: sys.stderr.flush(); os._exit(code)


class Forker:
    "The other end: asks for children, prepares folders, compares."
    def __init__(self, runs, place):
        self.finished, self.place = Path(runs), Path(place)
        self.process = subprocess.Popen([sys.executable, __file__, 'serve'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, 'HALA_RECIPES': str(TESTS/'probe.py'), 'OMP_NUM_THREADS': '1'})
        assert self.process.stdout.readline() == 'ready\n'

    def ask(self, folder, stage, **job):
        "(exit code, seconds, what it said: the number of write points or the error) of a child."
        said, asked = folder/'said', folder/'asked'
        said.unlink(missing_ok=True)
        job = dict(stage=stage, runs=str(folder/'runs'), said=str(said), asked=str(asked), override=SMALL[stage], slice=8) | job
        print(json.dumps(job), file=self.process.stdin, flush=True)
        code, seconds = json.loads(self.process.stdout.readline())
        return code, seconds, said.read_text() if said.exists() else ''

    def folder(self, stage, name):
        "A fresh runs folder with what a stage reads."
        folder = self.place/name
        shutil.rmtree(folder, ignore_errors=True)
        (folder/'runs/probe').mkdir(parents=True)
        for artifact in INPUTS[stage]:
            home = self.few(artifact) if stage in ('03', '04', '05') else self.finished/'probe'/artifact
            made, = (d for d in home.iterdir() if d.is_dir())
            (folder/'runs/probe'/artifact).mkdir(parents=True)
            (folder/'runs/probe'/artifact/made.name).symlink_to(made)
        return folder

    def few(self, artifact):
        "An input of 03, 04 or 05; where it is large a copy with few rows."
        from hala.core.store import listing, manifest, read_rows, write_manifest, write_rows
        if artifact not in ('text', *THIN): return self.finished/'probe'/artifact
        copy = self.place/artifact
        if not copy.exists():
            shutil.copytree(self.finished/'probe'/artifact, copy)
            there = next(d for d in copy.iterdir() if d.is_dir())
            if artifact == 'text':
                rows = read_rows(there/'instructions.parquet')
                held = [r for r in rows if any(mark in r['messages_source'][0]['content'] for mark in '`$⟦')] # asked again, with marks
                write_rows(there/'instructions.parquet', rows[:ROWS-4]+held[:4])
            else:
                for f in there.glob('*.parquet'): write_rows(f, read_rows(f)[::THIN[artifact]])
            write_manifest(there, manifest(there) | dict(files=listing(there)))
        return copy

    def unbroken(self, stage, **job):
        "(folder, bytes of the artifact, seconds, write points, what was asked) of a run that nobody disturbed."
        folder = self.folder(stage, f'unbroken-{stage}')
        code, seconds, said = self.ask(folder, stage, **job)
        assert code == 0, said
        return folder, artifact(folder, stage), seconds, int(said), asked(folder)

    def close(self): self.process.stdin.close(); self.process.wait(); self.process.stdout.close()


def artifact(folder, stage):
    "Every byte of what a stage made, but for time and machine; nothing half-made may lie beside it."
    home = folder/'runs'/HOME[stage]
    left = [p for p in (folder/'runs').rglob('*') if p.suffix in ('.part', '.tmp', '.log')]
    assert not left, left
    made, = (d for d in home.iterdir() if d.is_dir())
    whole = {p.relative_to(made).as_posix(): p.read_bytes() for p in sorted(made.rglob('*')) if p.is_file()}
    manifest = json.loads(whole.pop('manifest.json'))
    return whole | {k: v for k, v in manifest.items() if k not in ('seconds', 'machine', 'versions', 'checksum')}


def asked(folder):
    "What the engine was asked, with repetitions; by all workers."
    return [line for f in sorted(folder.glob('asked*')) for line in f.read_text().splitlines()]


def chain(forker, stage, unbroken, **job):
    "Kill a run at its first write point, take it up, kill it at its second, and so on to the end; compare. Returns the number of kills."
    _, whole, _, _, once = unbroken
    folder, n = forker.folder(stage, 'chain'), 0
    while True:
        n += 1
        code, _, said = forker.ask(folder, stage, point=n, **job)
        if code == 0: break
        assert code == -signal.SIGKILL, (n, said)
    assert artifact(folder, stage) == whole, stage
    assert not set(once)-set(asked(folder)) and len(asked(folder)) <= len(once)+Instant.rows*(n-1)
    return n-1


def state(folder, fine=False):
    """What a killed run leaves: names without process ids, sizes where no times are in the file, and how much it asked.
    Of a checkpoint that has no mark yet, or no longer, only that it is there, unless `fine`: it is taken away whatever is in it."""
    def unmarked(p): return not fine and p.name.startswith('checkpoint-') and not (p/'whole').exists()
    def size(p): return p.stat().st_size if p.is_file() and not p.name.startswith(('manifest.json', 'holder.json', 'trainer_state.json')) else -1
    found = [p for p in (folder/'runs').rglob('*') if not any(unmarked(d) for d in p.parents)]
    there = [(re.sub(r'\.\d+\.tmp$', '.tmp', str(p.relative_to(folder))), size(p)) for p in found]
    return tuple(sorted(x for x in there if 'progress.json' not in x[0])), len(asked(folder)) # the bar is drawn by the clock


def every_point(forker, stage, unbroken, kills, fine=False):
    """What a kill leaves at each write point of a run: copies of its folder at that moment, equal ones once. Each is finished and compared.
    At `kills` of the points, drawn by lot, a run is killed in earnest: it leaves what its copy says. Returns how many different remains there were."""
    _, whole, _, _, once = unbroken
    copies, folder = forker.place/'copies', forker.folder(stage, 'point')
    shutil.rmtree(copies, ignore_errors=True)
    code, _, said = forker.ask(folder, stage, copies=str(copies), fine=fine)
    assert code == 0 and artifact(folder, stage) == whole, said
    points, left = int(said), {int(c.name): c for c in sorted(copies.iterdir())}
    as_copied = {n: state(c, fine) for n, c in left.items()}
    for n in sorted(random.Random(stage).sample(range(1, points+1), min(kills, points))):
        folder = forker.folder(stage, 'point')
        code, _, said = forker.ask(folder, stage, point=n)
        assert code == -signal.SIGKILL and state(folder, fine) in as_copied.values(), (n, said)
    for n, copy in left.items():
        code, _, said = forker.ask(copy, stage)
        assert code == 0 and artifact(copy, stage) == whole, (n, said)
        assert not set(once)-set(asked(copy)) and len(asked(copy)) <= len(once)+Instant.rows, n
    return len(left)


def damage(path, how, draw):
    data = path.read_bytes()
    if how == 'deleted': path.unlink()
    elif how == 'emptied': path.write_bytes(b'')
    elif how == 'cut': path.write_bytes(data[:draw.randrange(len(data))])
    else:
        at = draw.randrange(len(data))
        path.write_bytes(data[:at]+bytes([data[at] ^ 1 << draw.randrange(8)])+data[at+1:])


WAYS = 'cut', 'emptied', 'bit flipped', 'deleted'


def torn(forker, stage, unbroken, ways):
    """A run broken off in the middle, later and near the end, each file of it then damaged in some ways drawn by lot: the resumed artifact has the same bytes.
    Returns how many damages were repaired."""
    _, whole, _, points, _ = unbroken
    draw, repaired = random.Random(stage), 0
    for point in (points//2, 3*points//4, points):
        while True: # the last moments are after the rename
            broken = forker.folder(stage, 'broken')
            forker.ask(broken, stage, point=point)
            if list((broken/'runs'/HOME[stage]).glob('*.part')): break
            point -= 2
        tops = broken/'runs/probe/rows', (broken/'runs'/HOME[stage])
        names = [p.relative_to(broken) for top in tops for p in sorted(top.rglob('*')) if p.is_file()]
        assert len(names) > 3
        for name, how in [(n, w) for n in names for w in draw.sample(WAYS, ways)]:
            folder = forker.place/'torn'
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(broken, folder, symlinks=True)
            if not (folder/name).stat().st_size and how != 'deleted': continue
            damage(folder/name, how, draw)
            code, _, said = forker.ask(folder, stage)
            assert code == 0 and artifact(folder, stage) == whole, (name, how, said)
            repaired += 1
    return repaired


def random_moments(forker, stage, moments, seed, **job):
    "Kill a fresh run at a random moment, finish it, compare; until as many kills as asked have hit. Returns (kills that came too late, rows asked again)."
    folder, whole, seconds, _, once = forker.unbroken(stage, **job)
    draw, hit, late, again = random.Random(seed), 0, 0, 0
    while hit < moments:
        folder = forker.folder(stage, f'random-{stage}')
        code, took, _ = forker.ask(folder, stage, after=draw.uniform(0, seconds), **job)
        if code == 0: late += 1; seconds = min(seconds, took); continue
        assert code == -signal.SIGKILL, code
        hit += 1
        code, _, said = forker.ask(folder, stage, **job)
        assert code == 0 and artifact(folder, stage) == whole, (stage, hit, said)
        assert len(asked(folder)) <= len(once)+Instant.rows, (stage, hit)
        again += len(asked(folder))-len(once)
    return late, again


def torture(runs, place, kills):
    "What `make torture` runs; `kills`: random moments in 02, 04, 03 and 05, and in 04 with the `hf` engine."
    forker = Forker(runs, place)
    for stage in ('02', '04', '03', '05'):
        unbroken = forker.unbroken(stage)
        remains = every_point(forker, stage, unbroken, unbroken[3], fine=True)
        again, damaged = chain(forker, stage, unbroken), torn(forker, stage, unbroken, len(WAYS))
        print(f'{stage}: kills at each of {unbroken[3]} write points, {remains} different remains; one run killed {again} times; {damaged} files damaged',
              flush=True)
    for stage, moments, instant in zip(('02', '04', '03', '05', '04'), kills, (True, True, False, False, False)):
        start = time.perf_counter()
        late, again = random_moments(forker, stage, moments, seed=stage, instant=instant)
        print(f'{stage} with {"the instant engine" if instant else "hf"}: {moments} kills at random moments ({late} more came too late), {again} rows asked '
              f'again, every artifact byte-identical, {time.perf_counter()-start:.0f} s', flush=True)
    forker.close()


if __name__ == '__main__':
    if sys.argv[1] == 'serve': serve()
    if sys.argv[1] == 'torture':
        with tempfile.TemporaryDirectory() as place: torture(sys.argv[2], Path(place), [int(n) for n in sys.argv[3:]] or (200, 200, 10, 10, 5))
