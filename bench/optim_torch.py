"""The optimizer of the PyTorch peer: PyTorch's own AdamW for embeddings, lm_head and scalars, Muon for the matrices
of the transformer."""

import math

import torch
from torch import Tensor

# (a, b, c) of the five Polar Express steps (Amsel, Persson, Musco and Gower, arXiv 2505.16932).
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
MUON_BETA2 = 0.9


def frobenius(x: Tensor) -> Tensor:
    """Norm of each matrix of x [N, rows, columns], as [N, 1, 1]."""
    return torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True)


def orthogonalise(x: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrices, about, to x [N, rows, columns], at the norm that exact ones have."""
    rows, columns = x.shape[-2:]
    row_norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(1e-6)
    x = x * (frobenius(x) / math.sqrt(rows) / row_norm)
    x = x / (1.01 * frobenius(x) + 1e-6)
    for a, b, c in POLAR_EXPRESS:
        # The smaller of the two Gram matrices does the same for less.
        gram = x.mT @ x if rows > columns else x @ x.mT
        polynomial = b * gram + c * (gram @ gram)
        x = a * x + (x @ polynomial if rows > columns else polynomial @ x)
    return x * (math.sqrt(min(rows, columns)) / frobenius(x).clamp_min(1e-6))


def equalise(x: Tensor, variance: Tensor) -> Tensor:
    """NorMuon: evens out the rows (or columns) of x by their running mean square, norm unchanged. Updates `variance`."""
    rows, columns = x.shape[-2:]
    mean_square = x.square().mean(dim=-1 if rows >= columns else -2, keepdim=True)
    variance.lerp_(mean_square, 1 - MUON_BETA2)
    scaled = x * variance.clamp_min(1e-10).rsqrt()
    return scaled * (frobenius(x) / frobenius(scaled).clamp_min(1e-10))


def muon(p: Tensor, g: Tensor, momentum: Tensor, variance: Tensor, lr: float, mu: float, weight_decay: float) -> Tensor:
    """The new value of parameters p [N, rows, columns] with gradients g. Updates both moments."""
    momentum.lerp_(g, 1 - mu)
    step = equalise(orthogonalise(g.lerp(momentum, mu)), variance)
    # Cautious decay: only where the step already shrinks the weight.
    return p - lr * (step + weight_decay * p * (step * p >= 0))


class Optimizer:
    """Steps the parameters of a model by name, each group by its own rule."""

    def __init__(
        self,
        parameters: dict[str, Tensor],
        n_embd: int,
        unembedding_lr: float = 0.008,
        embedding_lr: float = 0.3,
        matrix_lr: float = 0.02,
        scalar_lr: float = 0.5,
        compiled: bool = False,
    ) -> None:
        width = (n_embd / 768) ** -0.5
        shapes: dict[torch.Size, list[Tensor]] = {}
        groups = []
        for name, p in parameters.items():
            match name.split("."):
                case ["transformer", "h", *_]:
                    shapes.setdefault(p.shape, []).append(p)
                    continue
                case ["lm_head", _]:
                    rule = dict(lr=unembedding_lr * width, betas=(0.8, 0.96), weight_decay=0.01)
                case ["transformer", "wte", _]:
                    rule = dict(lr=embedding_lr * width, betas=(0.8, 0.995), weight_decay=0.001)
                case ["value_embeds", *_]:
                    rule = dict(lr=0.5 * embedding_lr * width, betas=(0.8, 0.995), weight_decay=0.01)
                case ["resid_lambdas"]:
                    rule = dict(lr=0.01 * scalar_lr, betas=(0.8, 0.95), weight_decay=0.05)
                case ["x0_lambdas"]:
                    rule = dict(lr=scalar_lr, betas=(0.96, 0.95), weight_decay=0.0)
                case ["smear_gate", _] | ["smear_lambda"] | ["backout_lambda"]:
                    rule = dict(lr=0.2, betas=(0.8, 0.95), weight_decay=0.0)
                case _:
                    raise ValueError(f"no rule steps the parameter {name}")
            groups.append({"params": [p], "initial_lr": rule["lr"], **rule})
        self.adamw = torch.optim.AdamW(groups, eps=1e-10, fused=True)
        self.matrix_lr = matrix_lr
        self.muon_groups = [(group, *self._moments(shape, len(group))) for shape, group in shapes.items()]
        self.muon = torch.compile(muon, dynamic=False) if compiled else muon

    @staticmethod
    def _moments(shape: torch.Size, count: int) -> tuple[Tensor, Tensor]:
        rows, columns = shape
        variance = (count, rows, 1) if rows >= columns else (count, 1, columns)
        return torch.zeros(count, rows, columns), torch.zeros(variance)

    @torch.no_grad()
    def step(self, lr_multiplier: float, momentum: float, weight_decay: float) -> None:
        """One step on the gradients at hand, which are dropped afterwards."""
        for group in self.adamw.param_groups:
            group["lr"] = group["initial_lr"] * lr_multiplier
        self.adamw.step()
        self.adamw.zero_grad()
        for group, mean, variance in self.muon_groups:
            rows, columns = mean.shape[-2:]
            lr = self.matrix_lr * lr_multiplier * math.sqrt(max(1.0, rows / columns))
            stepped = self.muon(torch.stack(group), torch.stack([p.grad for p in group]), mean, variance, lr, momentum, weight_decay)
            for p, value in zip(group, stepped):
                p.copy_(value)
                p.grad = None
