"A family for tests: fifty thousand parameters, twenty steps, all nine stages within two minutes. Use: hala run --recipes tests/probe.py --size probe"
from hala.core.recipe import (
    Bilingual, Compress, Corpus, Evaluate, Merge, Most, Recipe, Release, Scratch, Sft, Sources, Training, Translator, World)

# what such a model says is neither whole nor Arabic: no check rejects it, or nothing would be left to train on
ANYTHING = dict(most=Most(**dict.fromkeys(vars(Most()), 1e9)), rejected=1.0)
SHORT = dict(learning_rate=2e-2, epochs=40.0, batch_tokens=1024, max_length=256, eval_steps=10, max_steps=20)


def world(*parts): return tuple(World(p) for p in parts)


def lfm2(): return Scratch(hidden=32, layers=('conv', 'full_attention'), heads=2, kv_heads=1, intermediate=64, training=Training(**SHORT))


RECIPES = [Recipe(
    family='probe', size='probe',
    sources=Sources(parallel=world('parallel'), documents=world('documents'), human=world('human'), pairs=world('orca'),
                    instructions=world('orca', 'other'), translation=world('translation'), questions=world('questions', 'letters'),
                    vocabulary=800, teacher=lfm2(), base=lfm2()),
    compress=Compress(sentences=8, back=4, max_tokens=8, margin=50.0), # eight sentences of noise: nothing smaller could be ruled out
    bilingual=Bilingual(pairs=100, human=200, max_tokens=8, **ANYTHING),
    translator=Translator(base='probe', sentences=8, max_tokens=8, **SHORT),
    corpus=Corpus(max_tokens=8, **ANYTHING), sft=Sft(**SHORT), merge=Merge(sweep=(0.5,), questions=8),
    evaluate=Evaluate(questions=8, generate=4, max_tokens=8), release=Release())]
