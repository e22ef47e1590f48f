"""Peer of `benchmarks/env.py`: JaxMARL's SMAX, a simpler battle of the same units written for accelerators.

Started by `env.py` in an interpreter that has jaxmarl and need not have mast_edge. Argument: the map. Reads a
number of seconds per line, plays about that long, and answers each line with a JSON object.

Played as JaxMARL's own speed.py plays it, its fastest form: vmapped over the battles and compiled with
`lax.scan`, 64 steps a call, against its scripted enemies; observations, world state and available actions in
every step; one thread. Compilation is not counted. Drawing the random legal actions is: it is inside the
compiled loop, and a small part of it.
"""

import os

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["JAX_PLATFORMS"] = "cpu"

import json
import sys
import time
from typing import Any

N_ENVS = 32
STEPS_PER_CALL = 64


def player(map_name: str) -> tuple[Any, Any]:
    """The compiled call, and what it is first called with."""
    import jax
    import jax.numpy as jnp
    from jaxmarl import make
    from jaxmarl.environments.smax import map_name_to_scenario

    env = make("HeuristicEnemySMAX", scenario=map_name_to_scenario(map_name))

    def step(carry: Any, _: None) -> tuple[Any, None]:
        key, state, _, avail = carry
        key, acting, stepping = jax.random.split(key, 3)
        keys = jax.random.split(acting, len(env.agents))
        actions = {
            agent: jnp.argmax(jax.random.uniform(draw, avail[agent].shape) + avail[agent], axis=-1)
            for agent, draw in zip(env.agents, keys, strict=True)
        }
        shown, state, *_ = jax.vmap(env.step)(jax.random.split(stepping, N_ENVS), state, actions)
        return (key, state, shown, jax.vmap(env.get_avail_actions)(state)), None

    @jax.jit
    def play(carry: Any) -> Any:
        return jax.lax.scan(step, carry, None, length=STEPS_PER_CALL)[0]

    key = jax.random.PRNGKey(0)
    shown, state = jax.vmap(env.reset)(jax.random.split(key, N_ENVS))
    return play, (key, state, shown, jax.vmap(env.get_avail_actions)(state))


def main() -> None:
    """Answers lines until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # jaxmarl greets on standard output
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # none for XLA's helpers, which spin
    import jax

    play, carry = player(sys.argv[1])
    for _ in range(3):  # twice it compiles: for the first carry, and for what the call returns
        carry = jax.block_until_ready(play(carry))
    print(json.dumps({"peer": f"jax {jax.__version__}"}), file=answers, flush=True)
    for line in sys.stdin:
        cpu, wall, steps = time.process_time(), time.perf_counter(), 0
        while time.process_time() - cpu < float(line):
            carry = jax.block_until_ready(play(carry))
            steps += N_ENVS * STEPS_PER_CALL
        taken = {"steps": steps, "cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        print(json.dumps(taken), file=answers, flush=True)


if __name__ == "__main__":
    main()
