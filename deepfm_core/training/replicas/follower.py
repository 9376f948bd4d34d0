"""A process that follows in a fit (`local.py` starts it): `python -m deepfm_core.training.replicas.follower`.

What it is to do comes as JSON on its standard input.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from deepfm_core.encoding.encoded_table import Layout
from deepfm_core.encoding.sharding import open_shards
from deepfm_core.spec.run import fit_from, model_from
from deepfm_core.training.replicas.exchange import Replicas
from deepfm_core.training.replicas.local import HOST, join_group
from deepfm_core.training.replicas.team import follow, step_with
from deepfm_core.training.state import FitState

_REACHED = timedelta(seconds=60)
"""How long the leader is looked for; one that has ended meanwhile is never there."""


def main() -> None:
    """Join the group, and follow until its leader lets go."""
    told = json.load(sys.stdin)
    torch.set_num_threads(told["threads"])
    torch.set_flush_denormal(True)
    store = TCPStore(HOST, told["port"], None, is_master=False, timeout=_REACHED)
    layout = Layout.from_dict(told["layout"])
    parts, _ = open_shards(Path(told["shards"]), layout, told["window"])
    replicas, spec = Replicas(told["rank"], told["size"]), fit_from(told["fit"])
    state = FitState.new(layout, model_from(told["model"]), spec, told["seed"], step_with(replicas), told["device"])
    store.set(f"ready-{replicas.rank}", "")
    join_group(store, replicas.rank, replicas.size)
    follow(spec, parts["train"], parts["valid"], state, replicas)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
