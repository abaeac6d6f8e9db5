import pytest

from ray_runs import workers
from shoestring.cluster.ray_start import ray_at
from shoestring.errors import BadInput

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
