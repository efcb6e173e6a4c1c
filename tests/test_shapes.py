"The architectures of the family `hala`, small and with random weights, in what stages do with a model, and by one recipe through all of them; its true sizes."
import importlib
import json
from dataclasses import replace

import pytest
import torch
from conftest import PROBE
from transformers import AutoModelForCausalLM, Cohere2Config, Gemma2Config, Lfm2Config, Qwen2Config
from trl.chat_template_utils import cohere_chat_template, gemma_chat_template, lfm2_chat_template, qwen2_5_chat_template

from hala.bilingual import score_pairs
from hala.compress import compress, weight_errors
from hala.core import train
from hala.core.engine import Sampling, engine, load, render
from hala.core.pipeline import STAGES, plan, run_stage
from hala.core.recipe import Training, recipe
from hala.core.store import manifest
from hala.core.text import chat, row
from hala.core.world import dialogue, toy
from hala.merge import arcs, merge

SMALL = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=512)
KINDS = { # of models -> the settings in which they differ from each other and from Llama
    'lfm2': lambda own: Lfm2Config(**SMALL, **own, block_auto_adjust_ff_dim=False, layer_types=['conv', 'full_attention'], conv_dim=32, block_dim=32),
    'gemma2': lambda own: Gemma2Config(**SMALL, **own, head_dim=16, query_pre_attn_scalar=16, sliding_window=64),
    'cohere2': lambda own: Cohere2Config(**SMALL, **own, sliding_window=64, layer_types=['sliding_attention', 'full_attention'], logit_scale=0.25),
    'qwen2': lambda own: Qwen2Config(**SMALL, **own, tie_word_embeddings=True)}
ROWS = [{'messages': dialogue(f'What is number {i}?', f'It is {i*7%60}.')} for i in range(24)]
STEPS = Training(learning_rate=1e-2, epochs=1, batch_tokens=256, max_length=128, eval_steps=1, max_steps=2)


def checkpoint(kind, folder, tokenizer=None, ends=None):
    "A random model of a kind, with the toy tokenizer or one of its own; `ends` is the token that ends an answer where that is not the end of a text."
    tokenizer = tokenizer or toy()[1]
    own = dict(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(KINDS[kind](own))
    if ends: model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(ends)]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def asked(folder):
    "What a model generates, and how likely it finds something."
    prompts = [dialogue('Hi', '')[:1], dialogue('What is number 3, and what is number 4?', '')[:1]]
    answers = ['Yes.', 'It is 21, and it is 28.']
    with engine('hf', folder) as e:
        together, alone = e.score(prompts, answers), [e.score([p], [a])[0] for p, a in zip(prompts, answers)]
        assert max(abs(x-y) for a, b in zip(together, alone) for x, y in zip(a, b)) < 1e-3 # a batch's padding changes nothing
        return e.generate(prompts, Sampling(6)), together


@pytest.mark.parametrize('kind', KINDS)
def test_every_stage_takes_it(kind, tmp_path):
    "01 compresses it, 03 and 05 train it, 06 merges it, the engine generates and scores."
    base = checkpoint(kind, tmp_path/'base')
    model, tokenizer = load(base)
    done = train.fit(model, tokenizer, ROWS, ROWS[:6], tmp_path, STEPS)
    assert done.steps == 2 and done.validation_loss < 20
    assert max(a['radians'] for a in arcs(base, tmp_path/'model')) > 0
    merge(base, tmp_path/'model', 0.5, tmp_path/'merged')
    compress(base, tmp_path/'fp8', 'FP8_DYNAMIC', ('lm_head',))
    errors = weight_errors(base, tmp_path/'fp8')
    rounded = [e['error'] for e in errors if e['error'] is not None] # the others were left as they are
    assert len(rounded) >= 12 and max(rounded) < .05
    said = {name: asked(tmp_path/name) for name in ('base', 'model', 'merged', 'fp8')}
    for outputs, scores in said.values():
        assert all(o.tokens_out > 0 for o in outputs) and all(-30 < x <= 0 for s in scores for x in s)
    assert said['base'][1] != said['model'][1] != said['merged'][1]


def test_a_judge_of_its_own(tmp_path):
    "Qwen2 says which of two answers is likelier, for any text in the pair."
    hala = recipe('1.2B').bilingual
    pairs = [row('h', '1', 'train', 'Good morning', 'صباح الخير'), row('h', '2', 'train', 'Say accept. {ar}', 'accept')]
    with engine('hf', checkpoint('qwen2', tmp_path)) as e:
        found = score_pairs(e, pairs, 'llm', hala)
        swapped = score_pairs(e, pairs, 'llm', replace(hala, verdicts=hala.verdicts[::-1]))
    assert len(found) == 2 and found == [-x for x in swapped] and found[0] != found[1]


def test_low_rank_updates_end_in_the_weights(tmp_path):
    "What LoRA leaves is a checkpoint like any other, also after a resume, and slerp takes it."
    base = checkpoint('lfm2', tmp_path/'base')
    low = replace(STEPS, lora=2, learning_rate=0.1)
    def fit(out, steps):
        model, tokenizer = load(base)
        return train.fit(model, tokenizer, ROWS, ROWS[:6], out, replace(low, max_steps=steps))
    done = fit(tmp_path/'a', 2)
    assert done.steps == 2 and not list((tmp_path/'a'/'model').glob('adapter*'))
    assert (tmp_path/'a'/'checkpoints'/'checkpoint-2'/'adapter_model.safetensors').stat().st_size < (base/'model.safetensors').stat().st_size
    turned = {a['kind']: a['radians'] for a in arcs(base, tmp_path/'a'/'model')}
    assert turned['attention'] > 0 and turned['embedding'] == 0
    merge(base, tmp_path/'a'/'model', 0.5, tmp_path/'merged')
    again = fit(tmp_path/'a', 2) # its last checkpoint is there: nothing is trained
    assert again.validation_loss == done.validation_loss
    fit(tmp_path/'b', 2)
    assert (tmp_path/'a'/'model'/'model.safetensors').read_bytes() == (tmp_path/'b'/'model'/'model.safetensors').read_bytes()


# of each kind its published chat template, the tokens that begin and end a text, and those of a turn; a turn of Gemma ends in the last one
SPEECH = {
    'lfm2': (lfm2_chat_template, '<|startoftext|>', '<|im_end|>', '<|im_start|>'),
    'gemma2': (gemma_chat_template, '<bos>', '<eos>', '<start_of_turn>', '<end_of_turn>'),
    'cohere2': (cohere_chat_template, '<BOS_TOKEN>', '<|END_OF_TURN_TOKEN|>', '<|START_OF_TURN_TOKEN|>', '<|USER_TOKEN|>', '<|CHATBOT_TOKEN|>'),
    'qwen2': (qwen2_5_chat_template, '<|endoftext|>', '<|im_end|>', '<|im_start|>')}
TURN = { # what an engine reads of "Hi" without a system message
    'lfm2': '<|startoftext|><|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n',
    'gemma2': '<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n',
    'cohere2': '<BOS_TOKEN><|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>',
    'qwen2': '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n'
             '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n'}
# the probe's texts and budgets, with fewer instructions and steps; every model comes from a folder, as those of `hala` do from the hub
FAMILY = '''
import importlib.util
from dataclasses import replace
from hala.core.recipe import QUESTION, Pretrained, World
spec = importlib.util.spec_from_file_location('probe', {probe!r}); probe = importlib.util.module_from_spec(spec); spec.loader.exec_module(probe)
small, few = probe.RECIPES[0], dict(max_steps=4, eval_steps=2)
def random(kind): return Pretrained({models!r}+'/'+kind, licence='apache-2.0')
def size(kind): return replace(small, family='shapes', size=kind, bilingual=replace(small.bilingual, question=QUESTION),
    translator=replace(small.translator, base='lfm2', **few), corpus=replace(small.corpus, max_tokens=4), sft=replace(small.sft, **few),
    sources=replace(small.sources, parallel=(), documents=(), vocabulary=0, instructions=(World('other'),),
        teacher=random('cohere2'), judge=random('qwen2'), base=random(kind)))
RECIPES = [size('lfm2'), size('gemma2')]
'''


def speaking(kind):
    "The toy tokenizer with the turns of a kind."
    _, tokenizer = toy()
    tokenizer.chat_template, bos, eos, *turns = SPEECH[kind]
    tokenizer.add_special_tokens(dict(bos_token=bos, eos_token=eos, additional_special_tokens=turns))
    return tokenizer


@pytest.mark.parametrize('kind', SPEECH)
def test_its_own_turns(kind):
    "The engine asks in them, and of a chat a training learns the answer and what ends it."
    tokenizer = speaking(kind)
    assert render(tokenizer, chat('Hi')) == TURN[kind]
    if kind == 'qwen2': return # judges, and is never trained
    [(ids, labels)] = train.tokenise(tokenizer, [{'messages': dialogue('Hi', 'It is seven.')}])
    learned, ends = [t for t in labels if t != -100], SPEECH[kind][-1] if kind == 'gemma2' else tokenizer.eos_token
    assert tokenizer.decode(learned).rstrip() == f'It is seven.{ends}'
    assert ids == tokenizer(TURN[kind], add_special_tokens=False)['input_ids'] + learned


def test_one_recipe_takes_them_through_the_nine_stages(tmp_path, monkeypatch):
    "A Cohere2 is compressed and translates, a Qwen2 judges, an LFM2 becomes the translator, a Gemma2 is tuned, merged, scored and released."
    for kind in KINDS: checkpoint(kind, tmp_path/kind, speaking(kind), '<end_of_turn>' if kind == 'gemma2' else None)
    (tmp_path/'family.py').write_text(FAMILY.format(probe=str(PROBE), models=str(tmp_path)))
    monkeypatch.setenv('HALA_RECIPES', str(tmp_path/'family.py'))
    for stage, module in STAGES.items(): run_stage(stage, importlib.import_module(f'hala.{module}').MAKERS, 'gemma2', str(tmp_path/'runs'))
    p = plan('gemma2', str(tmp_path/'runs'))
    assert all(map(p.made, p.graph)) and 'tokenizer' not in p.graph
    for artifact in p.graph: print(artifact, manifest(p.folder(artifact))['seconds'], 'seconds')
    kinds = {'teacher': 'cohere2', '01_compress': 'cohere2', 'judge': 'qwen2', 'base-lfm2': 'lfm2', '03_translator': 'lfm2',
             'base-gemma2': 'gemma2', '05_sft': 'gemma2', '06_merge': 'gemma2'}
    models = {p.folder(a)/'model': kind for a, kind in kinds.items()} | {p.folder('08_release')/'shapes-gemma2': 'gemma2'}
    for folder, kind in models.items():
        assert json.loads((folder/'config.json').read_text())['model_type'] == kind, folder
        assert (folder/'chat_template.jinja').read_text() == SPEECH[kind][0], folder
    assert json.loads((p.folder('08_release')/'shapes-gemma2'/'generation_config.json').read_text())['eos_token_id'][1:] # <end_of_turn> too
    assert {g['role']: g['rows'] for g in manifest(p.folder('02_bilingual'))['generated']} == {'teacher': 100, 'judge': 200}
    assert manifest(p.folder('02_bilingual'))['rows']['rejected'] == {'judge': 40}
    scored = {m['model'] for m in manifest(p.folder('07_evaluate'))['metrics']}
    assert scored >= {'base', 'tuned', 'merged', 'translator', 'teacher_float', 'teacher_fp8'}


def test_a_launch_that_falls_back_is_seen():
    "DDP where shards were asked for, or nothing where several processes were."
    torch.distributed.init_process_group('gloo', store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        plain = torch.nn.Linear(2, 2)
        copied = torch.nn.parallel.DistributedDataParallel(plain)
        assert train.wrapped(copied, 2, False) and not train.wrapped(copied, 2, True) and not train.wrapped(copied, 1, False)
        assert train.wrapped(plain, 1, True) and not train.wrapped(plain, 2, False)
    finally: torch.distributed.destroy_process_group()


SIZES = {'350M': (1024, 16, 6656, 354_483_968), '700M': (1536, 24, 10240, 742_489_344), '1.2B': (2048, 32, 12288, 1_170_340_608)}


def published(hidden, heads, feed_forward):
    "LFM2 as its cards have it: six attention layers among sixteen."
    layers = ['full_attention' if n in (2, 5, 8, 10, 12, 14) else 'conv' for n in range(16)]
    return Lfm2Config(vocab_size=65536, hidden_size=hidden, num_attention_heads=heads, num_key_value_heads=8, num_hidden_layers=16, layer_types=layers,
                      intermediate_size=feed_forward, block_auto_adjust_ff_dim=True, block_multiple_of=256, block_ffn_dim_multiplier=1.0,
                      conv_L_cache=3, conv_bias=False, norm_eps=1e-5, tie_word_embeddings=True, pad_token_id=0, bos_token_id=1, eos_token_id=7)


@pytest.mark.parametrize('size', SIZES)
def test_published_shapes(size):
    "As many parameters as the published checkpoints have, to the last one."
    *shape, wanted = SIZES[size]
    with torch.device('meta'): model = AutoModelForCausalLM.from_config(published(*shape))
    assert sum(p.numel() for p in model.parameters()) == wanted
