import dataclasses
from pathlib import Path

import pytest

from ranks_work import OPTIM, Case
from ray_runs import workers
from shoestring.cluster.cluster import open_cluster
from shoestring.cluster.ray_start import ray_at
from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.errors import BadInput
from shoestring.lm import LanguageModel
from shoestring.models.transformer import Transformer
from shoestring.run import Stage
from shoestring.train.loss import sft_loss
from shoestring.train.objectives import Objectives
from tiny import tiny_lm

pytest.importorskip("ray")


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("127.0.0.1:1", r"--cluster 127\.0\.0\.1:1: no Ray answers there \(.*refused\).*ray start --head"),
        ("nonsense", r"--cluster nonsense: no Ray answers there"),
        ("ray://127.0.0.1:10001", r"Ray Client is not for long work.*ray job submit"),
    ],
)
def test_an_address_where_no_ray_is_is_one_line(address: str, line: str) -> None:
    with pytest.raises(BadInput, match=line), ray_at(address, workers()):
        pass


def heavy() -> LanguageModel:
    """Of 38 MB: more than 40 % of the object store below."""
    lm = tiny_lm()
    config = dataclasses.replace(lm.config, hidden_size=512, intermediate_size=2048, num_hidden_layers=3)
    network = Transformer(config)
    network.init_weights(0)
    return dataclasses.replace(lm, network=network, config=config)


@pytest.mark.slow
def test_weights_too_large_for_the_store_of_a_local_ray_go_by_disk(tmp_path: Path) -> None:
    lm, params = heavy(), SamplingParams(max_tokens=4, n=1, ignore_eos=True)
    asked = workers(store_gib=0.08, generators=1)
    with (
        Stage(tmp_path, "stage") as stage,
        open_cluster("local", asked, lambda _: None) as cluster,
        cluster.of(stage) as handles,
    ):
        generator = handles.generator(lm, 4)
        learner = handles.learner(lm, OPTIM, 2, Objectives(), None)
        learner.update(Case(v3=False).batches(0), sft_loss)
        generator.load_weights(learner.weights(), version=1)
        files = sorted((tmp_path / "handed-over").glob("weights-*/*"))
        ((made,),) = generator.generate([[5, 6, 7]], params)
    assert [path.name for path in files] == ["weights-000000.safetensors", "weights-000001.safetensors"]
    ((here,),) = Engine(lm, max_batch=4).generate([[5, 6, 7]], params)
    assert (made.ids, made.logprobs, made.weights_version) == (here.ids, here.logprobs, 1)
    assert not (tmp_path / "handed-over").exists()
