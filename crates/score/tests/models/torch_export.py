"""Exports the models of PyTorch, by its own exporter. The rows and what comes of them are made by make.py, whose packages want another numpy than this torch:

    apt-get install -y python3-torch      # for the distribution's own Python
    python3 torch_export.py && target/venv/bin/python make.py torch

Weights are those that torch draws for a seed. Each has an open first dimension, that of rows; so a torch of another release writes other files of the same meaning.
"""

import io
from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).parent
FEATURES = 6
CARRIERS = 5
STEPS = 8


class Embedding(nn.Module):
    """A category beside numbers."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(CARRIERS, 4)
        self.layers = nn.Sequential(nn.Linear(4 + FEATURES, 8), nn.Tanh(), nn.Linear(8, 3), nn.Softmax(dim=1))

    def forward(self, carrier, x):
        return self.layers(torch.cat([self.embedding(carrier), x], dim=1))


class Heads(nn.Module):
    """Several outputs of one trunk."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(FEATURES, 16), nn.SiLU(), nn.LayerNorm(16))
        self.late, self.minutes = nn.Linear(16, 1), nn.Linear(16, 1)

    def forward(self, x):
        trunk = self.trunk(x)
        return torch.sigmoid(self.late(trunk)), nn.functional.softplus(self.minutes(trunk)).squeeze(1)


class Towers(nn.Module):
    """A user beside an item: the cosine of what two nets make of them."""

    def __init__(self):
        super().__init__()
        self.user, self.item = nn.Linear(FEATURES, 8), nn.Linear(4, 8)

    def forward(self, user, item):
        user, item = (nn.functional.normalize(tower(x), dim=1) for tower, x in [(self.user, user), (self.item, item)])
        return (user * item).sum(dim=1, keepdim=True)


class Recurrent(nn.Module):
    """The last steps of something, one after the other."""

    def __init__(self, kind):
        super().__init__()
        self.layer, self.head = kind(3, 8, batch_first=True), nn.Linear(8, 1)

    def forward(self, steps):
        return torch.sigmoid(self.head(self.layer(steps)[0][:, -1]))


class Attention(nn.Module):
    """The same by attention, with a mask of steps that are not there."""

    def __init__(self):
        super().__init__()
        self.embed, self.qkv, self.out = nn.Linear(3, 8), nn.Linear(8, 24), nn.Linear(8, 8)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 1)

    def forward(self, steps):
        x = self.embed(steps)
        q, k, v = (part.reshape(-1, STEPS, 2, 4).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        absent = (steps.abs().sum(dim=-1) == 0)[:, None, None, :]
        weights = torch.softmax((q @ k.transpose(-1, -2) / 2).masked_fill(absent, -1e9), dim=-1)
        x = self.norm(x + self.out((weights @ v).transpose(1, 2).reshape(-1, STEPS, 8)))
        return torch.sigmoid(self.head(x.mean(dim=1)))


class Convolution(nn.Module):
    """A list of numbers, of which the neighbours matter."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(3, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(6, 1))

    def forward(self, steps):
        return self.layers(steps.transpose(1, 2))


def deep():
    """With what trained nets have between their layers."""
    model = nn.Sequential(nn.Linear(FEATURES, 16), nn.BatchNorm1d(16), nn.GELU(), nn.Dropout(0.2), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.LeakyReLU(0.1), nn.Linear(8, 3), nn.LogSoftmax(dim=1))
    with torch.no_grad():
        # Statistics as of some training.
        for _ in range(20):
            model(torch.randn(64, FEATURES) * 3)
    return model


def mlp():
    return nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1), nn.Sigmoid())


x = ("x", torch.zeros(2, FEATURES))
steps = ("steps", torch.zeros(2, STEPS, 3))
MODELS = {
    "torch_mlp": (mlp, [x], ["probability"]),
    "torch_mlp_double": (lambda: mlp().double(), [("x", torch.zeros(2, FEATURES).double())], ["probability"]),
    "torch_embedding": (Embedding, [("carrier", torch.zeros(2, dtype=torch.int64)), x], ["probabilities"]),
    "torch_deep": (deep, [x], ["log_probabilities"]),
    "torch_heads": (Heads, [x], ["late", "minutes"]),
    "torch_towers": (Towers, [("user", torch.zeros(2, FEATURES)), ("item", torch.zeros(2, 4))], ["cosine"]),
    "torch_lstm": (lambda: Recurrent(nn.LSTM), [steps], ["probability"]),
    "torch_gru": (lambda: Recurrent(nn.GRU), [steps], ["probability"]),
    "torch_attention": (Attention, [steps], ["probability"]),
    "torch_convolution": (Convolution, [steps], ["score"]),
}

if __name__ == "__main__":
    for seed, (name, (make, inputs, outputs)) in enumerate(MODELS.items()):
        torch.manual_seed(seed)
        model, names, written = make().eval(), [name for name, _ in inputs], io.BytesIO()
        open_rows = {port: {0: "batch"} for port in names + outputs}
        torch.onnx.export(model, tuple(rows for _, rows in inputs), written, input_names=names, output_names=outputs, dynamic_axes=open_rows, opset_version=17)
        (HERE / f"{name}.onnx").write_bytes(written.getvalue())
        print(f"{name}: {len(written.getvalue())} bytes by torch {torch.__version__}")
