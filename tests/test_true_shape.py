"LFM2-350M in its true shape, with random weights, once through tuning, merging, scoring and cards: about ten minutes and 9 GiB, so only where HALA_SLOW=1."
import json
import os
import shutil

import pytest
import torch
from conftest import PROBE, hala
from test_shapes import SIZES, published
from transformers import AutoModelForCausalLM

from hala.core.store import manifest
from hala.core.world import toy

pytestmark = pytest.mark.skipif(os.environ.get('HALA_SLOW') != '1', reason='takes minutes and 9 GiB: HALA_SLOW=1, or make shape')
# two steps; ten questions in each language; a sweep of one t: what is new here is the width, not the figures
FAMILY = '''
import importlib.util
from dataclasses import replace
from hala.core.recipe import Pretrained
spec = importlib.util.spec_from_file_location('probe', {probe!r}); probe = importlib.util.module_from_spec(spec); spec.loader.exec_module(probe)
small = probe.RECIPES[0]
RECIPES = [small, replace(small, size='true', sources=replace(small.sources, base=Pretrained({base!r}, licence='apache-2.0')),
    sft=replace(small.sft, learning_rate=1e-5, batch_tokens=512, max_steps=2, eval_steps=2), merge=replace(small.merge, questions=10),
    evaluate=replace(small.evaluate, questions=10, generate=10))]
'''


def random_base(folder, size='350M'):
    "The published shape and a tokenizer, with weights drawn as a training would start."
    *shape, wanted = SIZES[size]
    torch.manual_seed(1)
    model, (_, tokenizer) = AutoModelForCausalLM.from_config(published(*shape)), toy()
    for name in ('pad', 'bos', 'eos'): setattr(model.config, f'{name}_token_id', getattr(tokenizer, f'{name}_token_id'))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    assert sum(p.numel() for p in model.parameters()) == wanted
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def test_05_to_08(runs, tmp_path):
    random_base(tmp_path/'base')
    recipes, there = tmp_path/'family.py', shutil.copytree(runs, tmp_path/'runs')
    recipes.write_text(FAMILY.format(probe=str(PROBE), base=str(tmp_path/'base')))
    how = ('--size', 'true', '--runs', there, '--recipes', recipes)
    said = hala('run', *how, HALA_RECIPES='')
    rows = json.loads(hala('status', *how, '--json', HALA_RECIPES=''))
    assert {r['state'] for r in rows} == {'made'}, said
    folder = {r['artifact']: r['folder'] for r in rows}
    sft, scores = manifest(folder['05_sft']), manifest(folder['07_evaluate'])
    assert sft['files'] and next(f['bytes'] for f in sft['files'] if f['path'] == 'model/model.safetensors') == pytest.approx(354_483_968*4, rel=.01)
    assert {m['n'] for m in scores['metrics'] if m['model'] == 'tuned' and m['name'] == 'acc'} == {10}
    for a in ('05_sft', '06_merge', '07_evaluate', '08_release'): print(a, manifest(folder[a])['seconds'], 'seconds')
