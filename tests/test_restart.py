"A run that is stopped, or whose kernel is killed: nothing is left behind, nothing is lost, and the last line says how to go on."
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import psutil
import pytest
from conftest import PROBE, ROOT, files, hala, made, without

from hala.core.pipeline import MARK, SAME, started
from hala.core.store import ended, orphaned


def begin(runs, *arguments):
    "`hala run` of the probe, in a session of its own as on a terminal of its own."
    command = [sys.executable, '-m', 'hala.cli', 'run', '--size', 'probe', '--runs', str(runs), *arguments]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, 'HALA_RECIPES': str(PROBE)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, stdin=subprocess.DEVNULL, start_new_session=True,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # a shell has what runs in its background ignore it


def kernel_of(run):
    "The process of the kernel that a run has started, once it is there."
    for _ in range(1200):
        if run.poll() is not None: pytest.fail(f'the run ended: {run.stdout.read()}')
        with suppress(psutil.Error):  # one that has just died
            for child in psutil.Process(run.pid).children(recursive=True):
                if 'ipykernel' in ' '.join(child.cmdline()): return child
        time.sleep(.1)
    pytest.fail('no kernel came')


def begun(run, home, pattern='*.part/*'):
    "Wait until a stage is being made."
    for _ in range(6000):
        if list(home.glob(pattern)): return
        if run.poll() is not None: pytest.fail(f'the run ended: {run.stdout.read()}')
        time.sleep(.02)
    pytest.fail(f'nothing in {home}')


@pytest.mark.parametrize('number, artifact, processes', [(signal.SIGINT, '02_bilingual', 1), (signal.SIGTERM, '05_sft', 2)])
def test_stopped_within_seconds_and_goes_on(copied, number, artifact, processes):
    "Nobody is left: not the kernel, not the training processes it started in sessions of their own."
    for sign in ('progress.json', 'progress.json', ''):  # 02 of the probe takes seconds: it may have ended when the signal comes, which then comes earlier
        held = without(copied, artifact)
        shutil.rmtree(copied/'probe/rows', ignore_errors=True)  # or all answers are there
        home, stage = made(copied, 'text').parents[1]/('probe' if artifact > '05' else '')/artifact, artifact[:2]
        more = ('--processes', '2') if processes == 2 else ()
        run = begin(copied, '--from', stage, '--to', stage, '--name', 'b', *more)
        kernel = kernel_of(run)  # before the stage has begun, for this one is short
        begun(run, home, '*.part/checkpoints/checkpoint-*/whole' if processes == 2 else f'*.part/{sign}')
        kernel.suspend()  # to count who is there takes as long as the rest of the stage
        mark = kernel.environ()[MARK]
        family = started(mark)
        assert len(family) >= (4 if processes == 2 else 1)  # a kernel; and a launcher with two workers
        start = time.monotonic()
        run.send_signal(number)
        kernel.resume()
        said = run.communicate(timeout=60)[0]
        took = time.monotonic() - start
        if run.returncode: break
    assert took < 30, took  # generous: other work may share the cores
    assert started(mark) == [] and not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family)
    assert run.returncode == 1 and 'Traceback' not in said and not list(home.glob('*/manifest.json'))
    command = re.search(rf'^hala: stopped in stage {stage}; go on with: hala (run .*)$', said, re.MULTILINE)[1]
    assert '--name b' in command
    if processes == 1:  # tests/test_run.py kills and resumes two
        hala(*shlex.split(command))
        assert files(made(copied, artifact)) == held[artifact]


def test_killed_kernel_is_started_again(copied):
    "Out of memory looks like this. The stage goes on from its checkpoint and ends with the same bytes."
    held = without(copied, '05_sft')
    run = begin(copied, '--from', '05', '--to', '05')
    begun(run, copied/'probe/probe/05_sft', '*.part/checkpoints/checkpoint-*/whole')
    kernel_of(run).kill()
    said = run.communicate(timeout=300)[0]
    assert run.returncode == 0, said
    assert said.count('its kernel was killed by signal 9 (out of memory?); started again') == 1
    assert files(made(copied, '05_sft')) == held['05_sft']


def cell(runs):
    "What a notebook runs for stage 05."
    return f"from hala.core.pipeline import run_stage; import hala.sft; run_stage('05', hala.sft.MAKERS, size='probe', runs={str(runs)!r})"


@contextmanager
def in_a_kernel():
    "The client of a kernel as Jupyter starts it."
    from jupyter_client.manager import start_new_kernel
    manager, client = start_new_kernel(env={**os.environ, 'HALA_RECIPES': str(PROBE)}, cwd=ROOT)
    try: yield client
    finally: client.stop_channels(); manager.shutdown_kernel(now=True)


def test_training_survives_its_kernel(copied):
    "A kernel is killed while it trains: the training goes on, whoever runs the cell again waits for it, and the bytes are those of an unbroken run."
    held = without(copied, '05_sft')
    home = copied/'probe/probe/05_sft'
    with in_a_kernel() as client:
        client.execute(cell(copied))
        for _ in range(1200):
            if list(home.glob('*.part/checkpoints/checkpoint-*/whole')): break
            time.sleep(.1)
        part, = home.glob('*.part')
        by = json.loads((part/'holder.json').read_text())
        child, kernel = psutil.Process(by['pid']), psutil.Process(by['trains_for'])
        assert 'hala.sft' in child.cmdline() and 'ipykernel' in ' '.join(kernel.cmdline()) and not orphaned(by)
        kernel.kill()
        child.suspend()  # it would be done before another kernel has started
        while not ended(kernel.pid): time.sleep(.05)
        assert child.is_running() and orphaned(by) and not (part/'fit.json').exists()
    said, fitted = [], []

    def listen(message):
        said.extend([message['content'].get('text', ''), *message['content'].get('traceback', ())])
        if fitted or 'has trained here since' not in ''.join(said): return
        child.resume()
        while not ended(child.pid): time.sleep(.05)
        fitted.append((part/'fit.json').exists())  # by the child: who waited has to start first
    with in_a_kernel() as client: client.execute_interactive(cell(copied), timeout=600, output_hook=listen)
    said = ''.join(said)
    assert f'process {child.pid} has trained here since' in said and fitted == [True], said
    assert files(made(copied, '05_sft')) == held['05_sft']


def test_gives_up_after_three_deaths_without_progress(copied):
    without(copied, '06_merge')
    run = begin(copied, '--from', '06', '--to', '06')
    killed = set()
    while run.poll() is None and len(killed) < SAME:
        kernel = kernel_of(run)
        if kernel.pid not in killed: kernel.kill(); killed.add(kernel.pid)
        time.sleep(.05)
    said = run.communicate(timeout=120)[0].strip().splitlines()
    assert run.returncode == 1 and sum('started again' in line for line in said) == SAME-1
    assert re.match(r'hala: stage 06 \(merge\): its kernel was killed by signal 9 .* 3 times in a row without getting further', said[-1]), said
    assert 'Traceback' not in '\n'.join(said)
    hala('run', '--size', 'probe', '--runs', copied, '--from', '06', '--to', '06')
