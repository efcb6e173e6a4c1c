"The measurement for GPUs runs where there is none, small; only its times mean nothing."
import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

from hala.core.recipe import recipe

NO_GPU = {**os.environ, 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'}


@pytest.fixture(scope='module')
def said(tmp_path_factory):
    out = tmp_path_factory.mktemp('bench')/'gpu.json'
    subprocess.run([sys.executable, ROOT/'bench'/'gpu.py', out, '--small'], check=True, capture_output=True, env=NO_GPU)
    return json.loads(out.read_text())


def test_fp8_against_bf16(said):
    assert said['device'].endswith('not a measurement') and said['fp8']['layers'] == 2 and said['fp8']['slice_by'] == 'eager: a CPU'
    assert [r['batch'] for r in said['fp8']['rows']] == [1, 16, 64]
    for r in said['fp8']['rows']:
        for what in ('product', 'slice'): assert r[f'{what}_ratio'] == pytest.approx(r[f'{what}_bf16']/r[f'{what}_fp8'])
        assert 0 < r['product_error'] < r['slice_error'] < .1


def test_a_step_of_05(said):
    [step] = said['training']
    assert step['parameters'] > 0 and step['tokens_per_second'] > 0 and step['rows']*step['length'] == 128


def test_the_step_is_that_of_the_recipes(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT/'bench'))
    import gpu
    for size in gpu.SHAPES:
        s = recipe(size).sft
        assert (s.batch_tokens//s.max_length, s.max_length) == gpu.ROWS


def test_without_a_gpu_it_says_so():
    done = subprocess.run([sys.executable, ROOT/'bench'/'gpu.py'], capture_output=True, text=True, env=NO_GPU)
    assert done.returncode == 1 and 'no GPU here: python bench/gpu.py --small' in done.stderr
