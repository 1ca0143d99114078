"""Where the public data sets can be downloaded, and the SHA-256 that each file must have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RemoteFile:
    """One download: its name on the mirror, its hash and size, and the folder (below the root) it belongs in.

    members: for an archive, the (name, sha256, bytes) of the files to take out of it; empty for a plain file.
    """

    name: str
    sha256: str
    size_bytes: int
    folder: str
    members: tuple[tuple[str, str, int], ...] = ()


@dataclass(frozen=True)
class Remote:
    """The files of a data set and the mirrors (base addresses) to try in this order."""

    bases: tuple[str, ...]
    files: tuple[RemoteFile, ...]


_CIFAR_BATCH_BYTES = 30_730_000
_CIFAR_BATCHES = (
    (
        "data_batch_1.bin",
        "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        _CIFAR_BATCH_BYTES,
    ),
    (
        "data_batch_2.bin",
        "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        _CIFAR_BATCH_BYTES,
    ),
    (
        "data_batch_3.bin",
        "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        _CIFAR_BATCH_BYTES,
    ),
    (
        "data_batch_4.bin",
        "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        _CIFAR_BATCH_BYTES,
    ),
    (
        "data_batch_5.bin",
        "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        _CIFAR_BATCH_BYTES,
    ),
    (
        "test_batch.bin",
        "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
        _CIFAR_BATCH_BYTES,
    ),
)

REMOTES: dict[str, Remote] = {
    "mnist": Remote(
        bases=(
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ),
        files=(
            RemoteFile(
                "train-images-idx3-ubyte.gz",
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                9_912_422,
                "MNIST/raw",
            ),
            RemoteFile(
                "train-labels-idx1-ubyte.gz",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                28_881,
                "MNIST/raw",
            ),
            RemoteFile(
                "t10k-images-idx3-ubyte.gz",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                1_648_877,
                "MNIST/raw",
            ),
            RemoteFile(
                "t10k-labels-idx1-ubyte.gz",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                4_542,
                "MNIST/raw",
            ),
        ),
    ),
    "fashion-mnist": Remote(
        bases=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",),
        files=(
            RemoteFile(
                "train-images-idx3-ubyte.gz",
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                26_421_880,
                "FashionMNIST/raw",
            ),
            RemoteFile(
                "train-labels-idx1-ubyte.gz",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                29_515,
                "FashionMNIST/raw",
            ),
            RemoteFile(
                "t10k-images-idx3-ubyte.gz",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                4_422_102,
                "FashionMNIST/raw",
            ),
            RemoteFile(
                "t10k-labels-idx1-ubyte.gz",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                5_148,
                "FashionMNIST/raw",
            ),
        ),
    ),
    "cifar10": Remote(
        bases=("https://www.cs.toronto.edu/~kriz",),
        files=(
            RemoteFile(
                "cifar-10-binary.tar.gz",
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                170_052_171,
                "cifar-10-batches-bin",
                _CIFAR_BATCHES,
            ),
        ),
    ),
}
