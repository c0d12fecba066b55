"""Sequences that lie on several processes: rings, exchanges of heads, and whole models over them.

from panformer.parallel import Grid, Spread, run
spread = Spread(Grid(heads=2), Layout.dense(1, 65_536))   # in every process of a torch.distributed job
logits = run(model, tokens, spread)                       # of this process's tokens, `spread.here`
"""

from .attend import attend
from .grid import Grid, Spread, launch
from .model import run, total

__all__ = ["Grid", "Spread", "attend", "launch", "run", "total"]
