"The open pipeline behind Arabic-centric language models."
__version__ = "0.1.0"

import os as _os

# Before torch is loaded: threads that spin while they wait for each other starve a machine of few cores as soon as anything else runs on it. A short
# spin keeps most of the speed of an idle machine: training ran at 6500 tokens/s with it, 4600 without any; beside one busy process 3300, against 400
# with a spin of 50,000.
_os.environ.setdefault('GOMP_SPINCOUNT', '1000')

def open(size, # of any family, e.g. '3M'
         runs='', name='main' # where runs live, and which one
        ): # hala.core.reading.Reading
    "A finished run: `r = hala.open(size='3M'); r.translate('…'); r.ask('…'); r.corpus.sample(5)`."
    from .core.reading import open_run # here, so that `import hala` stays quick
    return open_run(size, runs, name)
