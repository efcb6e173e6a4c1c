"04 as tasks of Ray on two local nodes, through the kill of a driver, of a worker and of a node: minutes, so only where HALA_SLOW=1 and Ray is installed."
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from conftest import ROOT, files, made
from test_workers import FEW, answers, emptied, module, same

cluster_utils = pytest.importorskip('ray.cluster_utils', reason='Ray is not installed here: pip install -e .[ray]')
pytestmark = pytest.mark.skipif(os.environ.get('HALA_SLOW') != '1', reason='takes minutes: HALA_SLOW=1')


@pytest.fixture
def cluster():
    "Two nodes of one CPU each on this machine. Ray gives a node 30 seconds to start, which on a busy machine may take more: so it may try again."
    for tries in range(10, 0, -1):
        c = cluster_utils.Cluster()
        try: nodes = [c.add_node(num_cpus=1, include_dashboard=False), c.add_node(num_cpus=1)]
        except Exception as e: # of no class of its own
            c.shutdown()
            if tries == 1 or 'timed out' not in str(e): raise
        else: break
    yield c, nodes
    c.shutdown()


def driver(folder, address, log):
    command = [sys.executable, '-m', 'hala.cli', 'run', '--size', 'probe', '--runs', str(folder), '--from', '04', '--to', '04', '--on', 'ray']
    return subprocess.Popen(command, cwd=ROOT, stdout=open(log, 'a'), stderr=subprocess.STDOUT,
                            env={**os.environ, 'RAY_ADDRESS': address, 'HALA_RECIPES': str(FEW)})


def until(what, seconds=900):
    for _ in range(seconds*10):
        if found := what(): return found
        time.sleep(.1)
    raise AssertionError('it never came to that')


def workers(folder):
    "The processes that answer a part."
    found = []
    for p in psutil.process_iter():
        try:
            if 'hala.corpus' in p.cmdline() and str(folder) in p.cmdline(): found.append(p)
        except psutil.Error: pass
    return found


def test_whoever_is_killed(runs, cluster, tmp_path):
    c, (_, second) = cluster
    alone, folder, log = emptied(runs, tmp_path/'alone', '04'), emptied(runs, tmp_path/'runs', '04'), tmp_path/'said'
    module('04', alone)
    first = driver(folder, c.address, log)
    until(lambda: answers(folder)[0] or first.poll() is not None)
    first.send_signal(signal.SIGKILL)
    first.wait()
    kept = answers(folder)[1]
    assert kept and len(kept) < len(answers(alone)[1]), log.read_text()
    until(lambda: not workers(folder)) # its tasks end with it
    again = driver(folder, c.address, log)
    until(lambda: workers(folder) or again.poll() is not None)
    for p in workers(folder)[:1]: p.kill()
    until(lambda: len(answers(folder)[1]) > len(kept) or again.poll() is not None)
    c.remove_node(second, allow_graceful=False)
    assert again.wait(900) == 0, log.read_text()
    said = log.read_text()
    assert said.count('5 parts on 2 nodes') == 2, said
    assert {*kept} <= {*answers(folder)[1]} # what was there was not made again
    same(folder, (files(made(alone, '04_corpus')), answers(alone)))
