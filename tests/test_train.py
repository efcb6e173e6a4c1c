"Training that is killed, resumed, stopped early, spread over processes; and what it learns from."
import json
import multiprocessing
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
import pytest
import torch
from safetensors.torch import load_file
from trl.chat_template_utils import gemma_chat_template
import hala
from hala.core import train
from hala.core.engine import load
from hala.core.recipe import HalaError, Scratch, Training
from hala.core.world import dialogue, toy

TRAINING = Training(learning_rate=5e-3, epochs=4, batch_tokens=512, max_length=128, eval_steps=4, patience=9)
HELD = 9 # in three packed rows: two processes cannot share them evenly
ROWS = [{'messages': dialogue(f'What is number {i}?', f'It is {i*7%60}.')} for i in range(60)]


def weights(folder):
    return (Path(folder)/'model'/'model.safetensors').read_bytes()


def run(out, training=TRAINING, rows=ROWS, processes=1, **more):
    model, tokenizer = toy()
    return train.fit(model, tokenizer, rows, ROWS[:HELD], out, training, processes=processes, **more)


def killed(out, training, where, step):
    "In a process of its own: train, and be killed at `where` of `step`."
    torch.set_num_threads(1)
    owner = train.Watch if hasattr(train.Watch, where) else train
    own = getattr(owner, where)
    def last(*args, **kwargs):
        state = args[2] if owner is train.Watch else args[0].state
        if state.global_step == step: os.kill(os.getpid(), signal.SIGKILL)
        return own(*args, **kwargs)
    setattr(owner, where, last)
    run(out, training)


@pytest.fixture(scope='module')
def processes():
    "Real processes, started from one that has imported everything."
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['hala.core.train'])
    return context


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    out = tmp_path_factory.mktemp('unbroken')
    return out, run(out)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def resume(processes, out, training, where, step):
    child = processes.Process(target=killed, args=(out, training, where, step))
    child.start(); child.join(60)
    assert child.exitcode == -signal.SIGKILL and not (out/'model').exists()
    return run(out, training)


@pytest.mark.parametrize('where, step, newest', [('on_step_end', 3, None), ('on_step_end', 7, 4), ('on_save', 8, 4), ('on_evaluate', 8, 4)])
def test_a_killed_run_ends_at_the_same_bits(tmp_path, processes, unbroken, where, step, newest):
    "Before the first checkpoint, between two, while the second is being written, and before it."
    other, done = unbroken
    again = resume(processes, tmp_path, TRAINING, where, step)
    assert weights(tmp_path) == weights(other)
    assert (tmp_path/'curve.json').read_bytes() == (other/'curve.json').read_bytes()
    assert replace(again, seconds=0, tokens_per_second=0) == replace(done, seconds=0, tokens_per_second=0)


def test_half_a_checkpoint_is_not_resumed_from(tmp_path):
    for step, whole in ((4, True), (8, True), (12, False)):
        (tmp_path/f'checkpoint-{step}').mkdir()
        if whole: (tmp_path/f'checkpoint-{step}'/'whole').touch()
    assert train.newest(tmp_path).name == 'checkpoint-8'
    assert train.newest(tmp_path/'none') is None


def test_a_run_that_had_stopped_early_stays_stopped(tmp_path, processes):
    "Killed between its last checkpoint and its result."
    early = replace(TRAINING, learning_rate=0.3, patience=1, epochs=20)
    done = run(tmp_path/'unbroken', early)
    assert done.best_step < done.steps < 40
    again = resume(processes, tmp_path/'resumed', early, '_save', done.steps)
    assert (again.steps, again.best_step) == (done.steps, done.best_step)
    assert weights(tmp_path/'resumed') == weights(tmp_path/'unbroken')


def test_the_best_weights_are_kept(tmp_path):
    done = run(tmp_path, replace(TRAINING, learning_rate=0.3, patience=1, epochs=20))
    best = tmp_path/'checkpoints'/f'checkpoint-{done.best_step}'/'model.safetensors'
    assert best.read_bytes() == weights(tmp_path)
    losses = [p['validation_loss'] for p in json.loads((tmp_path/'curve.json').read_text())]
    assert done.validation_loss == min(loss for loss in losses if loss is not None)


def test_what_is_written(unbroken):
    out, done = unbroken
    config, generation = (json.loads((out/'model'/name).read_text()) for name in ('config.json', 'generation_config.json'))
    _, tokenizer = toy()
    assert config['use_cache'] and generation['eos_token_id'] in (tokenizer.eos_token_id, [tokenizer.eos_token_id])
    assert (out/'model'/'chat_template.jinja').read_text() == tokenizer.chat_template
    assert len(list((out/'checkpoints').glob('checkpoint-*'))) <= 2
    last = json.loads((out/'curve.json').read_text())[-1]
    assert set(last) == {'step', 'loss', 'validation_loss', 'learning_rate', 'tokens'} and (last['step'], last['tokens']) == (done.steps, done.tokens)


@pytest.fixture(scope='module')
def half(tmp_path_factory):
    "A base as they are published: in bfloat16."
    folder = tmp_path_factory.mktemp('half')
    model, tokenizer = toy()
    model.bfloat16().save_pretrained(folder); tokenizer.save_pretrained(folder)
    return folder


GENTLE = replace(TRAINING, learning_rate=2e-5, epochs=2) # of most weights the last bit in bfloat16 is worth more


def tuned(base, out, as_on='cpu', training=GENTLE):
    "What 03 and 05 do with a base; on a GPU it comes as it is stored."
    model, tokenizer = load(base)
    if as_on == 'gpu': model.to(train.stored_dtype(base))
    return train.fit(model, tokenizer, ROWS, ROWS[:HELD], out, training, dtype=train.stored_dtype(base))


@pytest.fixture
def autocast(monkeypatch):
    "As on a GPU: products in bfloat16; what the linear layers gave is noted, and what the weights were."
    seen, config, step = set(), train.SFTConfig, train.PackedTrainer.training_step
    def look(self, model, *args, **kwargs):
        hook = next(m for m in model.modules() if isinstance(m, torch.nn.Linear)).register_forward_hook(lambda m, i, out: seen.add(('product', out.dtype)))
        loss = step(self, model, *args, **kwargs)
        hook.remove()
        seen.update(('weight', p.dtype) for p in model.parameters())
        seen.update(('gradient', p.grad.dtype) for p in model.parameters() if p.grad is not None)
        return loss
    monkeypatch.setattr(train, 'SFTConfig', lambda **settings: config(**settings | dict(bf16=True)))
    monkeypatch.setattr(train.PackedTrainer, 'training_step', look)
    return seen


def test_a_half_base_is_trained_in_float32(half, tmp_path, autocast):
    "Weights and gradients in float32 under products in bfloat16; the checkpoints too; the model as its base is."
    done = tuned(half, tmp_path, 'gpu')
    assert autocast == {('product', torch.bfloat16), ('weight', torch.float32), ('gradient', torch.float32)}
    base, last = load_file(half/'model.safetensors'), load_file(tmp_path/'checkpoints'/f'checkpoint-{done.best_step}'/'model.safetensors')
    model, config = load_file(tmp_path/'model'/'model.safetensors'), json.loads((tmp_path/'model'/'config.json').read_text())
    assert {w.dtype for w in last.values()} == {torch.float32} and {w.dtype for w in model.values()} == {torch.bfloat16} and config['dtype'] == 'bfloat16'
    assert model.keys() == base.keys() and all(torch.equal(model[k], last[k].bfloat16()) for k in base)
    wide = [k for k in base if base[k].dim() > 1]
    def still(weights): return sum((weights[k] == base[k]).sum().item() for k in wide)/sum(base[k].numel() for k in wide)
    assert still({k: base[k].float() + (last[k]-base[k].float())/done.steps for k in wide}) < .1 # a step moves them
    assert still({k: (base[k].float() + (last[k]-base[k].float())/done.steps).bfloat16() for k in wide}) > .5 # and would be lost on most


def test_a_half_base_resumes_at_the_same_bits(half, tmp_path):
    "On a CPU, where it is loaded in float32."
    done = tuned(half, tmp_path)
    first = weights(tmp_path)
    assert {w.dtype for w in load_file(tmp_path/'model'/'model.safetensors').values()} == {torch.bfloat16}
    shutil.rmtree(tmp_path/'model'); shutil.rmtree(train.newest(tmp_path/'checkpoints'))
    assert 0 < int(train.newest(tmp_path/'checkpoints').name.split('-')[1]) < done.steps
    tuned(half, tmp_path)
    assert weights(tmp_path) == first


def test_updates_beside_a_half_base_are_whole(half, tmp_path, autocast):
    tuned(half, tmp_path, 'gpu', replace(GENTLE, lora=2, learning_rate=1e-2))
    assert ('gradient', torch.float32) in autocast and ('gradient', torch.bfloat16) not in autocast and ('weight', torch.bfloat16) in autocast
    base, model = (load_file(f/'model.safetensors') for f in (half, tmp_path/'model'))
    assert {w.dtype for w in model.values()} == {torch.bfloat16} and any(not torch.equal(model[k], base[k]) for k in base)


def test_long_rows_are_dropped_and_counted(tmp_path):
    long = [{'messages': dialogue('What?', 'word '*200)}]*3
    assert run(tmp_path, replace(TRAINING, epochs=1), rows=ROWS+long).dropped == 3
    with pytest.raises(HalaError, match='max_length'): run(tmp_path/'none', rows=long)


ODD = [[dict(role='user', content='Who?')], [dict(role='user', content='Who?'), *dialogue('What?', 'This.')], dialogue('What?', 'This.')[1:],
       [dict(role='system', content='Be brief.'), dict(role='assistant', content='Yes.')], [*dialogue('What?', 'This.'), dict(role='tool', content='7')], []]

TURNS = ("{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
         "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}") # nobody marked the answers, and it takes any order


@pytest.mark.parametrize('template, refused', [('lfm2', []), ('gemma', [1, 2, 3, 4, 5]), ('turns', [])])
def test_odd_rows_are_left_out_and_counted(template, refused, tmp_path):
    "Unanswered, or in an order that a template refuses: those around them are learned as if they were not there."
    model, tokenizer = toy()
    if template == 'gemma': tokenizer.chat_template = gemma_chat_template
    if template == 'turns': tokenizer.chat_template = TURNS
    rows, odd = ROWS[:20], [{'messages': m} for m in ODD]
    found = train.tokenise(tokenizer, [*rows[:10], *odd, *rows[10:]])
    assert found[:10]+found[10+len(odd):] == train.tokenise(tokenizer, rows)
    assert [i for i, s in enumerate(found[10:10+len(odd)]) if s == train.REFUSED] == refused and found[10] == train.UNANSWERED
    left = sum(isinstance(s, str) for s in found)
    done = train.fit(model, tokenizer, [*odd, *rows], ROWS[:HELD]+odd, tmp_path/'some', replace(TRAINING, max_steps=1, epochs=1))
    assert (done.rows, done.dropped, sum(done.rejected.values())) == (len(rows)+len(odd), left, left) and done.rejected.get(train.REFUSED, 0) == len(refused)
    with pytest.raises(HalaError, match=f'^none of 3 rows can be learned from .*: 3 {train.UNANSWERED}$'):
        train.fit(model, tokenizer, odd[:1]*3, ROWS[:HELD], tmp_path/'none', TRAINING)


def test_odd_rows_stand_in_the_manifest(tmp_path, monkeypatch):
    "By reason, beside those that are too long."
    job = SimpleNamespace(out=tmp_path, recipe=SimpleNamespace(sft=replace(TRAINING, epochs=1)))
    rows = ROWS + [{'messages': ODD[0]}]*2 + [{'messages': dialogue('What?', 'word '*200)}]*3
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    said = train.train_stage('hala.sft', job, lambda job: run(job.out, job.recipe.sft, rows))
    assert said['rows'] == {'in': 65, 'kept': 60, 'rejected': {'longer than max_length': 3, train.UNANSWERED: 2}}


def test_loss_covers_the_assistant_and_its_end():
    _, tokenizer = toy()
    talk = dialogue('What is it?', 'A city.') + dialogue('وما هي؟', 'مدينة.')
    [(ids, labels)] = train.tokenise(tokenizer, [{'messages': talk}])
    assert [tokenizer.decode([i]) for i in ids].count('<|startoftext|>') == 1
    learned, spans = [x != -100 for x in labels], []
    for i, on in enumerate(learned):
        if on and (i == 0 or not learned[i-1]): spans.append([])
        if on: spans[-1].append(ids[i])
    assert [tokenizer.decode(s) for s in spans] == ['A city.<|im_end|>', 'مدينة.<|im_end|>']
    assert all(label in (-100, i) for i, label in zip(ids, labels, strict=True))
    [(whole, learned)] = train.tokenise(tokenizer, [{'messages': talk}], 'all')
    assert whole == learned and whole[:len(ids)] == ids and tokenizer.decode(whole[len(ids):]) == '\n'  # what nothing learned depends on is not read
    assert train.tokenise(tokenizer, [{'messages': talk[:1]}]) == [train.UNANSWERED]


def test_rows_of_both_kinds_keep_their_order():
    _, tokenizer = toy()
    rows = [{'text': 'one'}, ROWS[0], {'text': 'two'}]
    texts = [tokenizer.decode(ids) for ids, _ in train.tokenise(tokenizer, rows)]
    assert texts[0] == '<|startoftext|>one<|im_end|>' and texts[2] == '<|startoftext|>two<|im_end|>' and 'number 0' in texts[1]


def test_validation_loss_is_the_mean_over_tokens(tmp_path):
    "However the rows are packed."
    few = replace(TRAINING, learning_rate=0.0, epochs=0.5)
    losses = [run(tmp_path/str(n), replace(few, max_length=n)).validation_loss for n in (64, 128, 512)]
    assert max(losses) - min(losses) < 1e-5


def test_a_loss_that_is_no_number_is_an_error(tmp_path):
    with pytest.raises(HalaError, match='learning_rate'): run(tmp_path, replace(TRAINING, learning_rate=1e30, max_grad_norm=1e30))


def test_scratch_is_drawn_by_its_seed():
    _, tokenizer = toy()
    base = Scratch(hidden=32, layers=('conv', 'full_attention'), heads=2, kv_heads=1, intermediate=64, training=TRAINING)
    a, b, c = (train.scratch(base, tokenizer, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(a[k], b[k]) for k in a) and not all(torch.equal(a[k], c[k]) for k in a)


WORKER = '''
import json, os, sys, torch
torch.set_num_threads(1)
from pathlib import Path
from test_train import TRAINING, run, train
seen, step = set(), train.PackedTrainer.training_step
def look(self, model, *args, **kwargs):
    seen.add((self.accelerator.num_processes, type(model).__name__))
    return step(self, model, *args, **kwargs)
train.PackedTrainer.training_step = look
read, tokenise = [], train.tokenise
def count(tokenizer, rows, *args):
    read.append(len(rows))
    return tokenise(tokenizer, rows, *args)
train.tokenise = count
run(sys.argv[1], processes=int(sys.argv[2]))
rank = os.environ.get('RANK', 0)
Path(sys.argv[1], f'seen{rank}.json').write_text(json.dumps(sorted(seen)))
Path(sys.argv[1], f'read{rank}.json').write_text(json.dumps(sum(read)))
'''


@pytest.fixture
def modules(tmp_path, monkeypatch):
    "A folder whose modules a child can run."
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(map(str, (tmp_path, Path(__file__).parent, Path(hala.__file__).parents[1]))))
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    return tmp_path


def test_two_processes_are_one_with_twice_the_accumulation(modules, unbroken):
    "And only the first of them reads the rows."
    (modules/'worker.py').write_text(WORKER)
    _, tokenizer = toy()
    assert len(train.pack(train.tokenise(tokenizer, ROWS[:HELD]), TRAINING.max_length, 1, modules/'packed.arrow')[0]) % 2
    train.launch('worker', [modules/'out', 2], 2, lambda line: None)
    for rank in (0, 1): assert json.loads((modules/'out'/f'seen{rank}.json').read_text()) == [[2, 'DistributedDataParallel']]
    assert [json.loads((modules/'out'/f'read{rank}.json').read_text()) for rank in (0, 1)] == [len(ROWS)+HELD, 0]
    one, two = (json.loads((folder/'curve.json').read_text()) for folder in (unbroken[0], modules/'out'))
    assert [p['step'] for p in one] == [p['step'] for p in two] and [p['tokens'] for p in one] == [p['tokens'] for p in two]
    for a, b in zip(one, two, strict=True):
        for name in ('loss', 'validation_loss'): assert a[name] is None and b[name] is None or abs(a[name]-b[name]) <= 1e-5


def test_fewer_processes_than_asked_for_is_an_error(tmp_path):
    with pytest.raises(HalaError, match='2 processes were asked for, 1 run'): run(tmp_path, processes=2)


@pytest.mark.parametrize('cards, rows, started', [(0, 16, 1), (2, 1, 1), (6, 16, 4), (8, 16, 8)])
def test_as_many_processes_as_can_share_a_step(cards, rows, started, monkeypatch, tmp_path, capsys):
    "Without being asked; what is started is told so, and what trains here is one."
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: cards)
    for name in ('HALA_PROCESSES', 'WORLD_SIZE'): monkeypatch.delenv(name, raising=False)
    job, begun = SimpleNamespace(out=tmp_path, arguments=(), recipe=SimpleNamespace(sft=replace(TRAINING, batch_tokens=rows*128))), []
    def end(*args, **kwargs):
        begun.append(args[2] if args[2:] else train.processes_wanted())
        raise HalaError('begun')
    monkeypatch.setattr(train, 'launch', end)
    with pytest.raises(HalaError, match='begun'): train.train_stage('hala.sft', job, end)
    assert begun == [started] and (f'{started} of {cards} GPUs' in capsys.readouterr().out) == (cards > 1)
    monkeypatch.setenv('WORLD_SIZE', '4')
    assert train.processes_wanted() == 4
    monkeypatch.setenv('HALA_PROCESSES', '3')
    assert train.processes_wanted() == train.processes_for(job.recipe.sft) == 3


def test_one_process_takes_one_of_several_cards(tmp_path, monkeypatch):
    "As stage 00 trains; Trainer would wrap the model for all that it sees."
    config = train.SFTConfig
    def several(**settings):
        made = config(**settings)
        made._n_gpu = 8
        return made
    monkeypatch.setattr(train, 'SFTConfig', several)
    assert run(tmp_path, replace(TRAINING, max_steps=2)).steps == 2


def test_low_rank_updates_are_not_sharded(tmp_path):
    "Said before anything is read; one process shards nothing, and takes both."
    with pytest.raises(HalaError, match='lora=2 and shard=True do not go together on 2 processes'):
        run(tmp_path, replace(TRAINING, lora=2, shard=True), rows=lambda: pytest.fail('rows were read'), processes=2)
    assert run(tmp_path, replace(TRAINING, lora=2, shard=True, max_steps=2)).steps == 2


def test_launch_raises_with_the_last_words(modules):
    (modules/'broken.py').write_text("print('fine so far', flush=True)\nfrom hala.core.recipe import HalaError\nraise HalaError('no rows in text')\n")
    for processes in (1, 2):
        lines = []
        with pytest.raises(HalaError) as error: train.launch('broken', [], processes, lines.append)
        assert str(error.value) == 'broken failed: no rows in text' and 'fine so far' in ' '.join(lines)
