"""What a GPU gives 01 and 05: products in FP8 against bf16 at Command A's true width, a slice of its layers, and a training step of the true LFM2 shapes.
Plain torch, so that it runs where nothing else is installed; no weights are read. Use: python bench/gpu.py [OUT.json] [--small]
--small: small widths, on a CPU too, to see that it works; its times mean nothing."""
import json
import sys
import time

import torch
import torch.nn.functional as F
import torch.utils.checkpoint

HIDDEN, INNER, HEADS, KV = 12288, 36864, 96, 8 # of Command A: with 64 layers and 256,000 tokens 111 billion parameters, checked below
SHAPES = {'350M': (1024, 16, 4608), '700M': (1536, 24, 6912), '1.2B': (2048, 32, 8192)} # of LFM2: hidden, heads, inner
PARAMETERS = {'350M': 354_483_968, '700M': 742_489_344, '1.2B': 1_170_340_608}
ATTENTION, VOCABULARY, HEAD = (2, 5, 8, 10, 12, 14), 65536, 64 # of all three: which of 16 layers attend, tokens, width of a head
ROWS = 16, 16_384 # of a step of 05 on one GPU, and their tokens: batch_tokens and max_length of the recipes
FP8, LARGEST = torch.float8_e4m3fn, 448.0
LAYERS, ROOM = 8, .6 # of a slice at most, and what of the free memory its weights may take


def seconds(work, device, times=20):
    "The median of several runs; on a GPU by its own clock."
    for _ in range(3): work()
    taken = []
    for _ in range(times):
        if device == 'cuda':
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record(); work(); end.record(); torch.cuda.synchronize()
            taken.append(start.elapsed_time(end)/1000)
        else: start = time.perf_counter(); work(); taken.append(time.perf_counter()-start)
    return sorted(taken)[len(taken)//2]


def quantised(x):
    "A matrix in FP8, a scale for each row: of activations each token, of weights (out, in) each channel."
    scale = x.abs().amax(1, keepdim=True).float().clamp(min=1e-12)/LARGEST
    return (x/scale).clamp(-LARGEST, LARGEST).to(FP8), scale


def entering(x, weight):
    "Activations as a product with this weight takes them: once quantised they serve several."
    return quantised(x) if isinstance(weight, tuple) else x


def product(x, weight):
    "x @ weight.T of what has entered: in FP8 where the weight is a pair (values, scales), else in bf16."
    if not isinstance(weight, tuple): return x @ weight.t()
    (values, scales), (a, s) = weight, x
    # sums are kept as vLLM's kernels keep them: fast, which changes the last bits of what FP8 has rounded already
    if a.device.type == 'cuda': return torch._scaled_mm(a, values.t(), scale_a=s, scale_b=scales.t(), out_dtype=torch.bfloat16, use_fast_accum=True)
    return ((a.float() @ values.float().t())*s*scales.t()).to(torch.bfloat16)


def alone(x, weight):
    "One product, quantising included."
    return product(entering(x, weight), weight)


def block(x, w, heads, kv):
    "A layer of Command A: attention and feed-forward side by side, from one normalised input; products that share it are one, as vLLM has them."
    n, h = x.shape
    d = h//heads
    y = entering(F.layer_norm(x, (h,)), w['qkv'])
    q, k, v = (t.view(n, -1, d).transpose(0, 1)[None] for t in product(y, w['qkv']).split([h, kv*d, kv*d], 1))
    attended = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)[0].transpose(0, 1).reshape(n, h)
    gate, up = product(y, w['gate_up']).chunk(2, 1)
    return x + alone(attended, w['o']) + alone(F.silu(gate)*up, w['down'])


def layer_weights(h, inner, kv_width, device):
    "Random weights of a layer, in bf16."
    shapes = dict(qkv=(h+2*kv_width, h), o=(h, h), gate_up=(2*inner, h), down=(h, inner))
    return {name: torch.randn(s, device=device, dtype=torch.bfloat16)/s[1]**.5 for name, s in shapes.items()}


def apart(a, b):
    "How far two results are apart, as a share of the first."
    return ((a.float()-b.float()).norm()/a.float().norm()).item()


def fused(work, device, *examples):
    "The same work in fewer kernels, where a GPU can do that and it gives the same; and what became of it. Examples are of every kind that will come."
    if device == 'cpu': return work, 'eager: a CPU'
    torch._dynamo.config.recompile_limit = 64 # beyond it torch goes on unfused, and says nothing
    made = torch.compile(work)
    try: worst = max(apart(work(*e), made(*e)) for e in examples)
    except Exception as e: return work, f'eager: {type(e).__name__}: {str(e)[:200]}'
    return (made, 'torch.compile') if worst < .05 else (work, f'eager: fused it is off by {worst:.3f}')


def beside(what, run, plain, rounded, device, most=.1):
    "A piece of work in bf16 and in FP8: times, ratio, and how far they are apart, at most `most`."
    error = apart(run(plain), run(rounded))
    assert error < most, f'{what} in FP8 is off by {error:.3f}'
    a, b = seconds(lambda: run(plain), device), seconds(lambda: run(rounded), device)
    return {f'{what}_bf16': a, f'{what}_fp8': b, f'{what}_ratio': a/b, f'{what}_error': error}


def slice_of(h, inner, kv_width, device, small):
    "As many layers as there is memory for, in bf16 and in FP8."
    each = 3*(2*h*h + 2*kv_width*h + 3*h*inner) # bytes: two for a number in bf16, one in FP8
    count = 2 if small else max(1, min(LAYERS, int(ROOM*torch.cuda.mem_get_info()[0]/each)))
    plain = [layer_weights(h, inner, kv_width, device) for _ in range(count)]
    return plain, [{name: quantised(w) for name, w in layer.items()} for layer in plain]


def fp8(device, small):
    "Products and a slice of layers, bf16 against FP8, quantising included; both are fused, or neither is."
    h, inner, heads, kv = (256, 768, 4, 2) if small else (HIDDEN, INNER, HEADS, KV)
    plain, rounded = slice_of(h, inner, h//heads*kv, device, small)
    some = [(torch.randn(n, h, device=device, dtype=torch.bfloat16), of[0]) for n in (16, 64, 1) for of in (plain, rounded)] # two sizes and one alone
    one, how_one = fused(alone, device, *((x, w['gate_up']) for x, w in some))
    layer, how = fused(block, device, *((x, w, heads, kv) for x, w in some))
    def through(x, layers):
        for w in layers: x = layer(x, w, heads, kv)
        return x
    def row(batch):
        x = torch.randn(batch, h, device=device, dtype=torch.bfloat16)
        found = dict(batch=batch, **beside('product', lambda layers: one(x, layers[0]['gate_up']), plain, rounded, device),
                     **beside('slice', lambda layers: through(x, layers), plain, rounded, device, .2)) # what each layer rounds adds up
        print(json.dumps(found), flush=True)
        return found
    rows = [row(batch) for batch in ((1, 16, 64) if small else (1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096))]
    return dict(layers=len(plain), product_by=how_one, slice_by=how, rows=rows)


class Lfm2(torch.nn.Module):
    "LFM2 as its paper has it, with PyTorch's own operations."
    def __init__(self, hidden, heads, inner, layers=16, vocabulary=VOCABULARY):
        super().__init__()
        self.heads, self.embed = heads, torch.nn.Embedding(vocabulary, hidden)
        def linear(a, b): return torch.nn.Linear(a, b, bias=False)
        def layer(n):
            kv = 8*hidden//heads
            attention = dict(q=linear(hidden, hidden), k=linear(hidden, kv), v=linear(hidden, kv), o=linear(hidden, hidden),
                             qn=torch.nn.RMSNorm(hidden//heads), kn=torch.nn.RMSNorm(hidden//heads))
            wide = torch.nn.Conv1d(hidden, hidden, 3, groups=hidden, padding=2, bias=False)
            conv = dict(into=linear(hidden, 3*hidden), conv=wide, out=linear(hidden, hidden))
            both = dict(n1=torch.nn.RMSNorm(hidden), n2=torch.nn.RMSNorm(hidden), w1=linear(hidden, inner), w3=linear(hidden, inner), w2=linear(inner, hidden))
            return torch.nn.ModuleDict(both | (attention if n in ATTENTION else conv))
        self.layers, self.norm = torch.nn.ModuleList(map(layer, range(layers))), torch.nn.RMSNorm(hidden)

    def mix(self, m, x):
        b, n, h = x.shape
        if 'conv' in m:
            gate, out, y = m['into'](x).chunk(3, -1)
            return m['out'](out*m['conv']((gate*y).transpose(1, 2))[..., :n].transpose(1, 2))
        q, k, v = (m[name](x).view(b, n, -1, h//self.heads) for name in 'qkv')
        q, k = m['qn'](q), m['kn'](k)
        y = F.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v)), is_causal=True, enable_gqa=True)
        return m['o'](y.transpose(1, 2).reshape(b, n, h))

    def one(self, m, x):
        x = x + self.mix(m, m['n1'](x))
        y = m['n2'](x)
        return x + m['w2'](F.silu(m['w1'](y))*m['w3'](y))

    def forward(self, ids):
        x = self.embed(ids)
        for m in self.layers: x = torch.utils.checkpoint.checkpoint(self.one, m, x, use_reentrant=False)
        return self.norm(x)

    def loss(self, ids):
        "Summed over the tokens of a row, the head a piece at a time: 05 never has the logits of a whole row either."
        def piece(x, wanted): return F.cross_entropy((x @ self.embed.weight.t()).float(), wanted, reduction='sum')
        pieces = zip(self(ids[:, :-1])[0].split(2048), ids[0, 1:].split(2048), strict=True)
        return sum(torch.utils.checkpoint.checkpoint(piece, *p, use_reentrant=False) for p in pieces)


def steps(size, shape, device, small):
    """Tokens/s and memory of a step as 05 takes it: float32 weights, gradients and moments (AdamW), products in bf16, activations computed twice, one row of
    its length at a time. Two things are simpler: rotations are left out, and a row is one sample where 05 has several in it, apart from each other."""
    with torch.device(device): model = Lfm2(*shape, **(dict(layers=3, vocabulary=512) if small else {}))
    count = sum(p.numel() for p in model.parameters())
    assert small or count == PARAMETERS[size], (size, count)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    optimizer, (rows, length) = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=device == 'cuda'), (2, 64) if small else ROWS
    ids = torch.randint(0, 512, (rows, length+1), device=device)
    def step():
        for row in ids.split(1):
            with torch.autocast(device, torch.bfloat16): loss = model.loss(row)/(rows*length)
            loss.backward()
        optimizer.step(); optimizer.zero_grad()
    if device == 'cuda': torch.cuda.reset_peak_memory_stats()
    taken = seconds(step, device, 5)
    memory = torch.cuda.max_memory_allocated()/2**30 if device == 'cuda' else None
    found = dict(size=size, parameters=count, rows=rows, length=length, tokens_per_second=rows*length/taken, memory_gib=memory)
    print(json.dumps(found), flush=True)
    return found


def main(out='', *options):
    "Both, into one JSON."
    small = '--small' in (out, *options)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if device == 'cpu' and not small: sys.exit('no GPU here: python bench/gpu.py --small shows that it works')
    per_layer = 2*HIDDEN*HIDDEN + 2*HIDDEN*(HIDDEN//HEADS*KV) + 3*HIDDEN*INNER
    assert round((64*per_layer + 256_000*HIDDEN)/1e9) == 111
    name = torch.cuda.get_device_name() if device == 'cuda' else 'CPU, small widths: not a measurement'
    shapes = {'small': (128, 16, 256)} if small else SHAPES
    training = [steps(s, shape, device, small) for s, shape in shapes.items()] # first, while the memory is empty
    said = dict(device=name, torch=torch.__version__, training=training, fp8=fp8(device, small))
    if out and out != '--small':
        with open(out, 'w') as f: json.dump(said, f, indent=1)


if __name__ == '__main__': main(*sys.argv[1:])
