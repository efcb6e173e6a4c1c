"""mergekit's slerp against double precision, and what a merged folder must hold."""
import math

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from hala.core.recipe import HalaError
from hala.core.store import sha256
from hala.core.world import toy
from hala.merge import arcs, merge


def slerp(t, a, b):
    "Shoemake's formula, on its own: (merged, whether the angle was too small for it)."
    a, b = a.double(), b.double()
    cos = (a*b).sum()/(a.norm()*b.norm())
    if abs(cos) > .9995: return (1-t)*a + t*b, True
    angle = math.acos(cos)
    return (math.sin((1-t)*angle)*a + math.sin(t*angle)*b)/math.sin(angle), False


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
    "A base and a tuned model: every other tensor hardly moved, the rest far. The + and @ are there because mergekit reads them in text."
    home = tmp_path_factory.mktemp('run+a@b')
    model, tokenizer = toy()
    model.save_pretrained(home/'base'); tokenizer.save_pretrained(home/'base')
    torch.manual_seed(1)
    with torch.no_grad():
        for i, p in enumerate(model.parameters()): p += (.3 if i % 2 else .003)*(p.std() if p.std() > 0 else 1)*torch.randn_like(p)
    tokenizer.chat_template += '{# of the tuned model #}'
    model.save_pretrained(home/'tuned'); tokenizer.save_pretrained(home/'tuned')
    return home


@pytest.fixture(scope='module')
def merged(pair): return merge(pair/'base', pair/'tuned', .3, pair/'merged')


def read(folder): return load_file(folder/'model.safetensors')


def test_every_tensor_is_the_float64_slerp(pair, merged):
    a, b, m = read(pair/'base'), read(pair/'tuned'), read(merged)
    assert a.keys() == b.keys() == m.keys()
    straight = set()
    for name in a:
        want, linear = slerp(.3, a[name], b[name])
        straight.add(linear)
        assert m[name].dtype == torch.float32
        assert (want-m[name].double()).abs().max() <= 1e-6*want.abs().max(), name
    assert straight == {True, False}   # both the arc and the straight line were walked


def test_the_straight_line_is_the_weighted_mean(pair):
    a, b, m = read(pair/'base'), read(pair/'tuned'), read(merge(pair/'base', pair/'tuned', .3, pair/'line', 'linear'))
    assert a.keys() == m.keys()
    for name in a: assert (.7*a[name].double()+.3*b[name].double()-m[name].double()).abs().max() <= 1e-6*m[name].abs().max(), name


def test_zero_is_the_base_and_one_is_the_tuned_model(pair):
    for t, end in ((0, 'base'), (1, 'tuned')):
        m = read(merge(pair/'base', pair/'tuned', t, pair/f'end{t}'))
        assert all(torch.equal(m[n], w) for n, w in read(pair/end).items())


def test_a_merge_lies_between(pair, merged):
    whole, first, second = (arcs(pair/a, pair/b) for a, b in (('base', 'tuned'), ('base', 'merged'), ('merged', 'tuned')))
    for w, f, s in zip(whole, first, second, strict=True):
        assert 0 < f['radians'] < s['radians'] < w['radians'], w['name']                     # t=0.3 is nearer to the base
        assert f['radians']+s['radians'] == pytest.approx(w['radians'], abs=1e-6), w['name']   # and on the way: no detour


def test_what_stands_beside_the_weights(pair, merged):
    m = AutoModelForCausalLM.from_pretrained(merged)
    assert m.config.tie_word_embeddings and m.lm_head.weight is m.model.embed_tokens.weight
    tokenizer, tuned = (AutoTokenizer.from_pretrained(f) for f in (merged, pair/'tuned'))
    assert tokenizer.chat_template == tuned.chat_template and 'of the tuned model' in tokenizer.chat_template
    assert tokenizer.get_vocab() == tuned.get_vocab() and tokenizer.eos_token == tuned.eos_token
    assert (merged/'generation_config.json').read_bytes() == (pair/'tuned'/'generation_config.json').read_bytes()
    assert not [p.name for p in merged.iterdir() if str(pair).encode() in p.read_bytes()]   # no path of this machine


def test_merging_again_gives_the_same_bytes(pair, merged):
    again = merge(pair/'base', pair/'tuned', .3, pair/'again')
    assert {p.name: sha256(p) for p in again.iterdir()} == {p.name: sha256(p) for p in merged.iterdir()}


def test_bfloat16_stays_bfloat16(pair):
    for name in ('base', 'tuned'):
        AutoModelForCausalLM.from_pretrained(pair/name, dtype=torch.bfloat16).save_pretrained(pair/f'{name}16')
    m = read(merge(pair/'base16', pair/'tuned16', .5, pair/'merged16'))
    assert {w.dtype for w in m.values()} == {torch.bfloat16}


def test_models_that_do_not_fit_are_refused(pair, tmp_path):
    model, _ = toy()
    model.resize_token_embeddings(model.config.vocab_size+8)
    model.save_pretrained(tmp_path/'wider')
    with pytest.raises(HalaError, match=r'1 tensors differ.*embed_tokens'): merge(pair/'base', tmp_path/'wider', .5, tmp_path/'out')
    (tmp_path/'empty').mkdir()
    with pytest.raises(HalaError, match='no safetensors'): merge(pair/'base', tmp_path/'empty', .5, tmp_path/'out')
    with pytest.raises(HalaError, match=r'merge\.t is -0\.1'): merge(pair/'base', pair/'tuned', -.1, tmp_path/'out')
    assert not (tmp_path/'out').exists()
