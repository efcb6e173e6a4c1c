"The open pipeline behind Arabic-centric language models."
__version__ = "0.1.0"

import os as _os

# Before torch is loaded: threads that wait for each other by spinning starve everything else on a small machine. Products of the size used here
# ran at 70 instead of 29 GFLOP/s on two otherwise idle cores, and at 60 instead of 9 beside one busy process.
_os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
