"""A host leaves the cluster in the middle: the others make what it had begun, and the tokens are the same."""

import threading

import pytest

from ray_runs import handles_in
from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from tiny import tiny_lm

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow

PARAMS = SamplingParams(max_tokens=60, n=2, seed=5, ignore_eos=True)
PROMPTS = [[5 + i, 6, 7, 8] for i in range(16)]
KEYS = [str(i) for i in range(16)]


@pytest.fixture
def two_nodes():
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 100_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **small})
    second = cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster, second
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.filterwarnings("ignore")
def test_a_node_that_goes_takes_a_generator_and_no_sample(two_nodes, tmp_path):
    cluster, second = two_nodes
    with handles_in(ray, tmp_path, generators=2, cpus=1.0) as handles:
        generators = handles.generator(tiny_lm(), 4)
        nodes = {m.last.node for m in generators.members.all}
        said = []
        generators.members.say = said.append
        assert len(nodes) == 2
        gone = threading.Timer(0.3, cluster.remove_node, (second,))
        gone.start()
        while not said:  # some of these come before it goes, one is in the middle of it
            made = generators.generate(PROMPTS, PARAMS, KEYS)
        gone.join()
    assert "generator 2 of 2" in said[0] or "generator 1 of 2" in said[0]
    assert "its machine left the cluster" in said[0]
    alone = Engine(tiny_lm(), max_batch=4).generate(PROMPTS, PARAMS, KEYS)
    assert [[c.ids for c in several] for several in made] == [[c.ids for c in several] for several in alone]
