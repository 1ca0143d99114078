"""A live module and arrays in Python: trained, compared, costed; its run folder serves every verb."""

import json
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import insitu
from insitu.cli import main
from insitu.data import load
from insitu.errors import ConfigError, DataError
from insitu.experiment.config import CompareConfig, RunConfig
from insitu.experiment.pretrained import started
from insitu.network.torch.capture import capture


def net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))


@pytest.fixture(scope="module")
def arrays():
    data = load("digits", limit_train=96)
    return data.train.x, data.train.y


def test_a_pretrained_module_becomes_a_self_tested_c_project_that_learns_on(tmp_path, arrays, capsys):
    module, out = net(), tmp_path / "run"
    before = {name: value.clone() for name, value in module.state_dict().items()}
    run = insitu.train(
        module, arrays, rule="bp", precision="edge-latent-free-8", batch=1, epochs=1, lr=0.01, out=out
    )
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    trained = run.module()
    assert isinstance(trained, nn.Sequential)
    for name, value in trained.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), run.params[name])
    assert not torch.equal(trained.state_dict()["3.weight"], before["3.weight"])
    assert main(["export", "c", str(out), "-o", str(tmp_path / "c"), "--quiet"]) == 0
    if shutil.which("make") and shutil.which("cc"):
        made = subprocess.run(
            ["make", "-C", str(tmp_path / "c"), "test"], capture_output=True, text=True, check=True
        )
        assert "all equal" in made.stdout
    assert main(["cost", str(out), "--json"]) == 0
    assert main(["check", str(out), "--backend", "c"]) == 0
    assert main(["show", "step", str(out), "--quiet"]) == 0
    capsys.readouterr()


def test_batches_of_a_loader_are_the_arrays(arrays):
    x, y = map(torch.from_numpy, arrays)
    batches = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=32)
    how = {"rule": "dfa", "epochs": 1, "lr": 0.05}
    one, two = insitu.train(net(), arrays, **how), insitu.train(net(), batches, **how)
    assert one.curve.test_loss == two.curve.test_loss
    with pytest.raises(DataError, match="neither a name, nor arrays"):
        insitu.train(net(), 3)


def test_a_live_module_is_compared_and_costed(arrays):
    results = insitu.compare(net(), arrays, rules=["bp", "dfa"], seeds=1, epochs=1)
    assert [row.rule for row in results.rows] == ["bp", "dfa"]
    bill = insitu.cost(net(), input_shape=(1, 8, 8), rule="bp", batch=32)
    assert bill.peak_bytes == results.rows[0].peak_bytes.total
    with pytest.raises(ConfigError, match="pass input_shape"):
        insitu.cost(net())


def test_a_configuration_takes_its_folder_or_its_data_beside_it(tmp_path):
    config = RunConfig(data="digits", network="mlp-64-16-10", rule="bp", epochs=1, limit_train=32)
    assert insitu.train(config, tmp_path / "a").folder == tmp_path / "a"
    assert insitu.train(config, str(tmp_path / "b")).folder == tmp_path / "b"
    assert insitu.train(config, load("digits", limit_train=32)).folder is None
    with pytest.raises(ConfigError, match="no loaded data set"):
        insitu.train(config, (np.zeros((2, 64)), np.zeros(2)))
    with pytest.raises(ConfigError, match="a CompareConfig says it"):
        insitu.compare(
            CompareConfig(data="digits", networks=["mlp-64-16-10"], rules=[{"rule": "bp"}]), epochs=3
        )


def test_a_file_of_arrays_that_describes_no_network_is_refused(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    assert main(["cost", str(tmp_path / "a.npz")]) == 2
    assert "holds arrays, but no layers" in capsys.readouterr().err


def test_an_onnx_file_is_a_network_in_the_verbs(tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    helper, weight = onnx.helper, np.ones((10, 64), np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)],
        "dense",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 64])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 10])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    path = str(tmp_path / "model.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    assert main(["cost", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["network"] == path
    few = ["--epochs", "1", "--set", "limit_train=32", "--quiet", "--out", str(tmp_path / "run")]
    assert main(["train", "--data", "digits", "--network", path, *few]) == 0


def sensors() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv1d(3, 4, 5, stride=2),
        nn.BatchNorm1d(4),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Flatten(),
        nn.Linear(24, 4),
    )


@pytest.mark.filterwarnings("ignore:.*is taken for windows:insitu.errors.InsituWarning")
def test_a_network_over_sequences_learns_in_integers_from_arrays_of_channels(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(80) % 4
    x = rng.normal(size=(4, 3, 29))[y] + 0.3 * rng.normal(size=(80, 3, 29))
    how = {"precision": "edge-latent-free-8", "batch": 1, "epochs": 1, "lr": 0.002}
    run = insitu.train(
        sensors(), (x.astype(np.float32), y), network_options={"norm": "fold"}, out=tmp_path, **how
    )
    assert run.params["0.weight"].shape == (4, 3, 1, 5)
    assert main(["check", str(tmp_path), "--backend", "c", "--quiet"]) == 0
    trained = insitu.train(sensors(), (x.astype(np.float32), y), epochs=1).module()
    assert trained.get_submodule("0").weight.shape == (4, 3, 5)
    assert insitu.cost(sensors(), input_shape=(3, 29)).peak_bytes > 0


def test_a_state_dict_of_sequences_is_a_start(tmp_path):
    module, path = sensors(), tmp_path / "module.pt"
    torch.save(module.state_dict(), path)
    net = capture(module, torch.zeros(2, 3, 29))
    fresh = replace(net, params={name: 0 * array for name, array in net.params.items()})
    found, rest = started(fresh, str(path))
    assert all(np.array_equal(found.params[name], net.params[name]) for name in net.params)
    assert {*rest} == {"1.num_batches_tracked"}
