"Samples packed into one row must not see each other, in any architecture that is trained here."
import random
import pytest
import torch
import torch.nn.functional as F
from transformers import (
    Cohere2Config, Cohere2ForCausalLM, Gemma2Config, Gemma2ForCausalLM, Lfm2Config, Lfm2ForCausalLM, LlamaConfig, LlamaForCausalLM,
    Qwen2Config, Qwen2ForCausalLM)
import transformers.models.lfm2.modeling_lfm2 as lfm2
from hala.core import train
from hala.core.recipe import Training
from hala.core.world import dialogue, toy

COMMON = dict(vocab_size=300, hidden_size=32, intermediate_size=64, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256)
WINDOW = dict(num_hidden_layers=3, head_dim=8, sliding_window=8, layer_types=['sliding_attention', 'full_attention', 'sliding_attention'])
MODELS = {
    'lfm2': (Lfm2ForCausalLM, Lfm2Config,
             dict(num_hidden_layers=4, layer_types=['conv', 'full_attention']*2, conv_dim=32, block_dim=32, block_auto_adjust_ff_dim=False)),
    'llama': (LlamaForCausalLM, LlamaConfig, dict(num_hidden_layers=2)),
    'qwen2': (Qwen2ForCausalLM, Qwen2Config, dict(num_hidden_layers=2)),
    'gemma2': (Gemma2ForCausalLM, Gemma2Config, WINDOW),
    'cohere2': (Cohere2ForCausalLM, Cohere2Config, WINDOW),
}


def build(name):
    "A tiny model with weights of a trained one's size: in a new one's next to nothing leaks."
    cls, config, more = MODELS[name]
    torch.manual_seed(0)
    model = cls(config(**COMMON, **more, pad_token_id=0, bos_token_id=1, eos_token_id=2)).eval()
    for p in model.parameters():
        if p.dim() > 1: p.data *= 4
    return model


def samples(lengths=(20, 3, 31, 1, 12), seed=0):
    draw = random.Random(seed)
    return [[draw.randrange(5, 300) for _ in range(n)] for n in lengths]


def stock_conv(x, weight, bias=None, activation=None, seq_idx=None):
    return train._stock_conv(x, weight, bias, activation)


@pytest.mark.parametrize('name', MODELS)
def test_packed_logits_are_those_of_each_sample(name):
    assert train.packing_error(build(name), samples()) <= 1e-5


@pytest.mark.parametrize('heads', ['sdpa', 'eager'])
def test_masked_attention_keeps_samples_apart_too(heads, monkeypatch):
    "What is used on a GPU: the convolution of ours, the attention of transformers."
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    model = build('lfm2'); model.set_attn_implementation(heads)
    assert train.packing_error(model, samples()) <= 1e-5


def test_the_measure_sees_a_leak(monkeypatch):
    monkeypatch.setattr(train, 'packed_conv', stock_conv)
    assert train.packing_error(build('lfm2'), samples()) > 1e-2


def test_a_neighbour_changes_nothing():
    "Exactly nothing: not one bit of the convolution's output."
    torch.manual_seed(0)
    x, weight, bias = torch.randn(1, 8, 30), torch.randn(8, 3), torch.randn(8)
    where = torch.tensor([[0]*11 + [1] + [2]*18])
    other = x.clone(); other[..., :11] = torch.randn(1, 8, 11)
    a, b = (train.packed_conv(v, weight, bias, seq_idx=where) for v in (x, other))
    assert torch.equal(a[..., 11:], b[..., 11:]) and not torch.equal(a[..., :11], b[..., :11])
    for lo, hi in ((0, 11), (11, 12), (12, 30)):
        assert (a[..., lo:hi] - train._stock_conv(x[..., lo:hi], weight, bias)).abs().max() <= 1e-5


def test_generation_is_stock():
    "Left padding and a cache: the same bits with the replacement installed as without."
    model = build('lfm2')
    ids = torch.tensor([[0]*6 + s for s in samples((14,))] + samples((20,), seed=1)); mask = (ids != 0).long()
    with torch.no_grad():
        out = {}
        for name, conv in (('stock', train._stock_conv), ('ours', train.packed_conv)):
            lfm2.causal_conv1d_fn = conv
            new = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=8, do_sample=False,
                                 output_logits=True, return_dict_in_generate=True)
            out[name] = new.sequences, torch.stack(new.logits)
    assert all(torch.equal(a, b) for a, b in zip(*out.values(), strict=True))


def test_attention_is_given_back():
    model = build('lfm2')
    before = model.config._attn_implementation
    with train.samples_apart(model): pass
    assert model.config._attn_implementation == before


def one_step(out, tokenizer, rows, training):
    """How far one step of `fit` is from one step on the same samples, each alone: the largest difference of a gradient, and of a weight.

    Every gradient is compared. Adam makes a whole step of a gradient however small, so a weight whose gradient is rounding (below 1e-9 of up to
    1e-1) may go either way: of the weights these, a handful at most, are left to the comparison of gradients."""
    (model, _), (alone, _) = toy(), toy()
    for m in (model, alone):
        for p in m.parameters():
            if p.dim() > 1: p.data *= 5
    packed = {}
    for p in model.parameters(): p.register_post_accumulate_grad_hook(lambda p: packed.update({p: p.grad.clone()}))
    done = train.fit(model, tokenizer, rows, rows[:2], out, training)
    assert done.steps == 1 and done.dropped == 0
    optimizer = torch.optim.AdamW(alone.parameters(), lr=training.learning_rate, weight_decay=0.0)
    tokenised = train.tokenise(tokenizer, rows)
    learned = sum(x != -100 for _, labels in tokenised for x in labels[1:])
    for ids, labels in tokenised:
        logits = alone(torch.tensor([ids]), use_cache=False).logits[0, :-1]
        (F.cross_entropy(logits, torch.tensor(labels[1:]), reduction='sum')/learned).backward()
    single = [p.grad.clone() for p in alone.parameters()]
    torch.nn.utils.clip_grad_norm_(alone.parameters(), training.max_grad_norm)
    optimizer.step()
    assert sum(((g != 0) & (g.abs() < 1e-9)).sum().item() for g in single) < 10
    gradients = [(packed[p]-g).abs().max().item() for p, g in zip(model.parameters(), single, strict=True)]
    weights = [(p-q).abs()[(g == 0) | (g.abs() >= 1e-9)].max().item()
               for p, q, g in zip(model.parameters(), alone.parameters(), single, strict=True)]
    return max(gradients), max(weights)


def test_one_step_packed_is_one_step_unpacked(tmp_path, monkeypatch):
    _, tokenizer = toy()
    rows = [{'messages': dialogue(f'What is number {i}?', f'It is {i*3%10}.')} for i in range(16)]
    training = Training(learning_rate=1e-3, epochs=1, batch_tokens=1024, max_length=1024, warmup=0.0)
    gradient, weight = one_step(tmp_path/'ours', tokenizer, rows, training)
    assert gradient <= 1e-6 and weight <= 1e-5
    monkeypatch.setattr(train, 'packed_conv', stock_conv)
    gradient, weight = one_step(tmp_path/'stock', tokenizer, rows, training)
    assert gradient > 1e-4 and weight > 1e-4


def test_packing_off_takes_the_same_steps(tmp_path):
    "The same samples in the same steps, each for itself: the weights differ by rounding only."
    rows = [{'messages': dialogue(f'Name number {i}.', f'The name is {i*7%60}.')} for i in range(60)]
    found = []
    for packing in (True, False):
        model, tokenizer = toy()
        settings = Training(learning_rate=1e-3, epochs=1, batch_tokens=256, max_length=128, eval_steps=2, max_steps=4, packing=packing)
        done = train.fit(model, tokenizer, rows[:54], rows[54:], tmp_path/str(packing), settings)
        found.append((done.validation_loss, [p.detach() for p in model.parameters()]))
    (one, a), (other, b) = found
    assert one == pytest.approx(other, abs=1e-4) and all(torch.allclose(x, y, atol=1e-3) for x, y in zip(a, b, strict=True))
    fresh = list(toy()[0].parameters())
    assert max((x-y).abs().max() for x, y in zip(a, fresh, strict=True)) > 2e-3 # they did learn
